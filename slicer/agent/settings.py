"""What an agent is told on its command line, checked."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slicer.client.joining import ServiceJoin, add_join_arguments, parse_join
from slicer.kernel.underlay import mtu_of
from slicer.model.names import Address, check_range, check_subdomain, check_zone, parse_address
from slicer.plan.dataplane_topology import DEFAULT_UNDERLAY_MTU
from slicer.plan.probing import Pace

STATE = Path("/var/lib/slicer")
RUN = Path("/run/slicer")
MTU_UNTOLD = DEFAULT_UNDERLAY_MTU
"""bytes: a larger underlay is used only where somebody says so, since other clusters may lie beyond a smaller one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The agent's settings."""

    state: Path
    run: Path
    node: str
    addresses: tuple[Address, ...]
    outside_addresses: tuple[Address, ...] = ()
    join_token_file: Path | None = None
    service_join: ServiceJoin | None = None
    wireguard: str = "auto"
    port_base: int = 51820
    underlay_mtu: int = DEFAULT_UNDERLAY_MTU
    uplink_bps: int | None = None
    gateway: bool = True
    prefer_gateway: bool = False
    zone: str = ""
    cri_sockets: tuple[Path, ...] = ()
    """Where the container runtime may listen; empty where sandboxes are files (the lab)."""
    pace: Pace = field(default_factory=Pace)
    failover: bool = True

    def __post_init__(self) -> None:
        check_subdomain("node name", self.node)
        check_range("port base", self.port_base, 1, 65535)
        check_range("underlay MTU", self.underlay_mtu, 1280, 65535)
        if self.zone:
            check_zone(self.zone)

    @property
    def sandboxes(self) -> Path:
        """Directory of the running pods' sandboxes."""
        return self.run / "sandboxes"


def parse_settings(given: argparse.Namespace) -> Settings:
    """The settings in a parsed command line; InvalidError names what is wrong."""
    addresses = tuple(parse_address("--address", text) for texts in given.address for text in texts.split(","))
    return Settings(
        state=given.state,
        run=given.run,
        node=given.node,
        addresses=addresses,
        outside_addresses=tuple(parse_address("--outside-address", text) for text in given.outside_address),
        join_token_file=given.join_token_file,
        service_join=parse_join(given),
        wireguard=given.wireguard,
        port_base=given.port_base,
        underlay_mtu=given.underlay_mtu or min(mtu_of(addresses[0]) or MTU_UNTOLD, MTU_UNTOLD),
        uplink_bps=given.uplink_bps,
        gateway=not given.no_gateway,
        prefer_gateway=given.prefer_gateway,
        zone=given.zone,
        cri_sockets=tuple(given.cri_socket),
        pace=Pace(interval_s=given.probe_interval_ms / 1000, losses=given.probe_losses),
        failover=not given.no_failover,
    )


def parser() -> argparse.ArgumentParser:
    """The command line of `slicer-agent`."""
    top = argparse.ArgumentParser(prog="slicer-agent", description="The Slicer agent of one node.")
    top.add_argument("--state", type=Path, default=STATE, help="what outlives a restart (default %(default)s)")
    top.add_argument("--run", type=Path, default=RUN, help="sockets, sandboxes (default %(default)s)")
    top.add_argument("--node", default="", help="name of this node")
    top.add_argument(
        "--address",
        action="append",
        default=[],
        help="underlay address; the first is VXLAN's; repeatable, or with commas",
    )
    top.add_argument("--outside-address", action="append", default=[], help="where other clusters reach it; repeatable")
    top.add_argument("--join-token-file", type=Path, help="only needed for the first start")
    add_join_arguments(top)
    top.add_argument("--wireguard", choices=("auto", "kernel", "wireguard-go"), default="auto")
    top.add_argument("--port-base", type=int, default=51820, help="first UDP port of the tunnels (default %(default)s)")
    _add_underlay(top)
    _add_role(top)
    top.add_argument(
        "--cri-socket",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="the container runtime's socket, which tells the running pods; repeatable, the first that exists is used",
    )
    top.add_argument("--probe-interval-ms", type=int, default=100, help="of gateways and tunnels (default %(default)s)")
    top.add_argument("--probe-losses", type=int, default=3, help="lost probes that take one out (default %(default)s)")
    top.add_argument("--no-failover", action="store_true", help="probe and answer, but take nothing out of the paths")
    top.add_argument(
        "--host-mounts",
        type=Path,
        metavar="PATH",
        help="in a container: the host's mount namespace (/proc/1/ns/mnt), for what must outlive the container",
    )
    commands = top.add_subparsers(dest="command", metavar="cleanup")
    cleanup = commands.add_parser("cleanup", help="remove everything of ours from the kernel and end all attachments")
    cleanup.add_argument("--purge", action="store_true", help="also forget identity, keys and view")
    return top


def _add_underlay(top: argparse.ArgumentParser) -> None:
    """What the network below carries."""
    top.add_argument(
        "--underlay-mtu",
        type=int,
        help=f"bytes (default: that of the interface with the first address, {MTU_UNTOLD} at most)",
    )
    top.add_argument("--uplink-bps", type=int, help="what all slices together may send to other clusters, bit/s")


def _add_role(top: argparse.ArgumentParser) -> None:
    """Whether the node is to be a gateway, and which others fail together with it."""
    gateway = top.add_mutually_exclusive_group()
    gateway.add_argument(
        "--no-gateway", action="store_true", help="never carry the cluster's traffic to other clusters"
    )
    gateway.add_argument("--prefer-gateway", action="store_true", help="carry it before nodes that do not say this")
    top.add_argument("--zone", default="", help="what fails together; gateways are spread over zones")


def parse_command_line(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; argparse ends the process with exit code 2 when it is wrong."""
    top = parser()
    given = top.parse_args(argv)
    if given.command is None and not (given.node and given.address):
        top.error("--node and --address are needed")
    return given


def vtep_mac(state: Path) -> str:
    """The MAC address of this node's VXLAN devices: random at first start, the same ever after."""
    path = state / "vtep-mac"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        mac = "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))
        temporary = path.with_name(".vtep-mac")
        temporary.write_text(mac + "\n")
        temporary.rename(path)
        return mac
