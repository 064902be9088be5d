"""Starts the real programs on a lab's machines and lets them join with real one-use tokens.

hub: slicer-controller --role hub ──token──▶ <c>-cp: slicer-controller --role member ──token──▶ <c>-n<k>: slicer-agent
                                                                                   └─token──▶ <c>-cp: slicer-dns
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from slicer.kernel.netns import socket_in
from slicer.lab import machines, rest, state
from slicer.lab.layout import CONTROLLER_PORT, POD_CIDR, SERVICE_CIDR, Layout, Machine, Role
from slicer.model.errors import InvalidError, UnavailableError

STATE = "/var/lib/slicer"
CONTROLLER_STATE, DNS_STATE = f"{STATE}/controller", f"{STATE}/dns"
PROGRAMS = {Role.HUB: ("hub",), Role.CONTROL: ("member", "dns"), Role.NODE: ("agent",), Role.INTERNET: ()}
"""Which programs run on a machine, in the order of their start."""

Progress = Callable[[str], None]


def start_all(layout: Layout, progress: Progress) -> None:
    """Start and join everything, level by level; returns when every agent and DNS server has its view."""
    hub = layout.machine(Role.HUB.value)
    progress("starting the hub")
    start(layout, hub, "hub")
    wait_ready(layout, hub, "hub")
    write_context(layout)
    controls = [layout.of_cluster(cluster)[0] for cluster in layout.clusters]
    progress(f"clusters join: {', '.join(layout.clusters)}")
    _side_by_side(controls, lambda machine: _join_cluster(layout, hub, machine))
    nodes = [machine for cluster in layout.clusters for machine in layout.of_cluster(cluster)]
    progress(f"nodes and DNS servers join: {', '.join(m.name for m in nodes)}")
    _side_by_side(nodes, lambda machine: _join_node(layout, machine))
    progress("waiting for every part to be ready")
    for machine in nodes:
        wait_ready(layout, machine, PROGRAMS[machine.role][-1])


def start_on(layout: Layout, machine: Machine) -> None:
    """Start a machine's programs again, from what they have on their disk."""
    for program in PROGRAMS[machine.role]:
        start(layout, machine, program)
        wait_ready(layout, machine, program)


def start(layout: Layout, machine: Machine, program: str) -> None:
    """Start one program (`hub`, `member`, `dns`, `agent`) of a machine."""
    if program not in PROGRAMS[machine.role]:
        known = ", ".join(PROGRAMS[machine.role]) or "none"
        raise InvalidError(f"machine {machine.name} has no program {program!r}; it has {known}")
    directory = layout.directory_of(machine)
    if program == "agent":
        _install_plugin(directory)
    machines.start_unit(directory, program, _command(layout, machine, program), env=environment())


def wait_ready(layout: Layout, machine: Machine, program: str) -> None:
    """Wait until a program serves; UnavailableError with the end of its log if it ends or takes too long."""
    directory = layout.directory_of(machine)
    deadline = time.monotonic() + machines.PATIENCE_S
    while time.monotonic() < deadline:
        unit = next(unit for unit in machines.units(directory) if unit["name"] == program)
        if unit["pid"] is None:
            break
        if _is_ready(layout, machine, program):
            return
        time.sleep(0.02)
    log = machines.tail(directory / "logs" / f"{program}.log")
    raise UnavailableError(f"{machine.name}: {program} did not become ready; its log ends with:\n{log}")


def environment() -> dict[str, str]:
    """What the programs get to see: paths, nothing of the caller's session."""
    path = [
        str(Path(sys.executable).parent),
        str(_tools()),
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
    ]
    return {"PATH": ":".join([*path, "/sbin", "/bin"]), "HOME": "/root", "LANG": "C.UTF-8"}


def _tools() -> Path:
    """Where `make setup` puts the programs that it builds."""
    return Path(__file__).resolve().parents[2] / ".tools" / "bin"


def write_context(layout: Layout) -> None:
    """Write `slicectl.yaml`: where hub and members are, and the namespace from which they can be reached."""
    hub, internet = layout.machine(Role.HUB.value), layout.machine(Role.INTERNET.value)
    for name in ("ca.pem", "admin.token"):
        state.replace(layout.directory / name, (_credentials(layout, hub) / name).read_text())
    netns = f"/proc/{machines.require(layout.directory_of(internet)).pid}/ns/net"
    lines = [f"current-context: {layout.name}", "contexts:"]
    lines += _render_context(layout.name, hub, layout.directory, netns)
    for cluster in layout.clusters:
        member = layout.of_cluster(cluster)[0]
        lines += _render_context(f"{layout.name}/{cluster}", member, _credentials(layout, member), netns)
    state.replace(layout.directory / "slicectl.yaml", "\n".join(lines) + "\n")


def _credentials(layout: Layout, controller: Machine) -> Path:
    """Where a controller has its CA and its administrator's token."""
    return layout.directory_of(controller) / "state" / "controller"


def _render_context(name: str, controller: Machine, credentials: Path, netns: str) -> list[str]:
    context = {"server": controller.url, "ca": credentials / "ca.pem", "token-file": credentials / "admin.token"}
    return [f"- name: {name}", *(f"  {key}: {value}" for key, value in {**context, "netns": netns}.items())]


def _join_cluster(layout: Layout, hub: Machine, control: Machine) -> None:
    _put_token(layout, control, "token", rest.join_token(layout, hub, "cluster", control.cluster))
    start(layout, control, "member")
    wait_ready(layout, control, "member")


def _join_node(layout: Layout, machine: Machine) -> None:
    control = layout.of_cluster(machine.cluster)[0]
    kind = "node" if machine.role is Role.NODE else "dns"
    _put_token(layout, machine, f"{kind}-token", rest.join_token(layout, control, kind, machine.name))
    start(layout, machine, "agent" if machine.role is Role.NODE else "dns")


def _put_token(layout: Layout, machine: Machine, name: str, token: str) -> None:
    state.replace(layout.directory_of(machine) / "state" / name, token)


def _command(layout: Layout, machine: Machine, program: str) -> list[str]:
    """The command lines of ARCHITECTURE.md."""
    address = str(machine.addresses[0])
    listen = ["--listen", f"{address}:{CONTROLLER_PORT}", "--advertise", machine.url]
    match program:
        case "hub":
            return ["slicer-controller", "--role", "hub", "--state", CONTROLLER_STATE, *listen]
        case "member":
            own = ["--cluster", machine.cluster, "--cidr", str(POD_CIDR), "--cidr", str(SERVICE_CIDR)]
            underlay = [f"--cidr={node.addresses[0]}/32" for node in layout.of_cluster(machine.cluster)]
            join = ["--join-token-file", f"{STATE}/token"]
            return [
                "slicer-controller",
                "--role",
                "member",
                "--state",
                CONTROLLER_STATE,
                *listen,
                *own,
                *underlay,
                *join,
            ]
        case "dns":
            join = ["--join-token-file", f"{STATE}/dns-token"]
            return ["slicer-dns", "--state", DNS_STATE, "--listen", f"{address}:53", *join]
        case _:
            where = [part for a in machine.addresses for part in ("--address", str(a))]
            more = ["--join-token-file", f"{STATE}/node-token", *layout.agent_options]
            return ["slicer-agent", "--state", STATE, "--run", "/run/slicer", "--node", machine.name, *where, *more]


def _is_ready(layout: Layout, machine: Machine, program: str) -> bool:
    directory = layout.directory_of(machine)
    match program:
        case "hub" | "member":
            return rest.is_ready(layout, machine)
        case "dns":
            return _dns_answers(directory, str(machine.addresses[0]))
        case _:
            return _accepts(Path(f"/proc/{machines.require(directory).pid}/root/run/slicer/cni.sock"))


def _accepts(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        return True
    return False


def _dns_answers(directory: Path, address: str) -> bool:
    """Whether the server has its view: until then it answers SERVFAIL (2). Asked: slice.local. SOA."""
    question = struct.pack(">6H", 0x5C1C, 0, 1, 0, 0, 0) + b"\x05slice\x05local\x00" + struct.pack(">2H", 6, 1)
    netns = f"/proc/{machines.require(directory).pid}/ns/net"
    with suppress(OSError), socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.5)
        asker.connect((address, 53))
        asker.send(question)
        return asker.recv(512)[3] & 0x0F != 2
    return False


def _install_plugin(directory: Path) -> None:
    """Run the plugin's own installer on the node."""
    program = _tools() / "slicer-cni"
    kind = ("--executable", str(program)) if program.exists() else ("--interpreter", _interpreter())
    argv = [sys.executable, "-m", "slicer_cni.install", *kind]
    done = machines.run_in(machines.require(directory), argv)
    if done.returncode != 0:
        raise UnavailableError(f"{directory.name}: the CNI plugin's installer failed: {done.stderr.strip()}")


def _interpreter() -> str:
    """The system's Python where it is new enough (it starts quickest), else the one that runs the lab."""
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    if system and subprocess.run([system, "-c", check], check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return system
    return sys.executable


def _side_by_side(wanted: Sequence[Machine], do: Callable[[Machine], None]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(do, wanted))
