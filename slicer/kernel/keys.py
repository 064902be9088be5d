"""WireGuard private keys of this node: made here, kept in files only root can read, never sent anywhere.

`keys/<set>-<index>[<letter of the lane>][-<generation>].key` holds the key, `tunnels.json` the ports; both stay as long
as the tunnel is wanted, so that peers find the node again after a restart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from wireguard_tools.wireguard_key import WireguardKey

from slicer.kernel.wireguard import Secret
from slicer.model.errors import ExhaustedError
from slicer.plan.dataplane_commands import key_name
from slicer.plan.dataplane_topology import LocalTunnel

Tunnel = tuple[int, int, int, int]
"""(tunnel set, index, generation, lane)."""

_LAST_PORT = 65535


class Keys:
    """The node's keys and ports below `state_dir`; ports are given out from `port_base` up."""

    def __init__(self, state_dir: Path, port_base: int) -> None:
        self._directory = state_dir / "keys"
        self._ports_file = state_dir / "tunnels.json"
        self._port_base = port_base
        self._known: dict[str, str] = {}

    def ensure(self, wanted: Iterable[Tunnel]) -> tuple[LocalTunnel, ...]:
        """A key and a port for each wanted tunnel, sorted; those that exist are not touched."""
        ports = self._read_ports()
        before = dict(ports)
        for tunnel in sorted(wanted):
            self._ensure_key(tunnel)
            ports.setdefault(tunnel, self._free_port(ports))
        if ports != before:
            self._write_ports(ports)
        return tuple(
            LocalTunnel(
                tunnel_set=tunnel[0],
                index=tunnel[1],
                generation=tunnel[2],
                lane=tunnel[3],
                port=ports[tunnel],
                public_key=self._public(tunnel),
            )
            for tunnel in sorted(set(wanted))
        )

    def all(self) -> tuple[Tunnel, ...]:
        """All tunnels that have a port."""
        return tuple(sorted(self._read_ports()))

    def keep(self, wanted: Iterable[Tunnel]) -> tuple[Tunnel, ...]:
        """Delete the keys of all tunnels but these, and free their ports; the tunnels that lost theirs."""
        kept = {key_name(tunnel) for tunnel in wanted}
        for path in self._directory.glob("*.key"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        ports = self._read_ports()
        gone = tuple(sorted(tunnel for tunnel in ports if key_name(tunnel) not in kept))
        if gone:
            self._write_ports({tunnel: port for tunnel, port in ports.items() if tunnel not in gone})
        return gone

    def private(self, tunnel: Tunnel) -> Secret:
        """The private key of a tunnel; OSError if there is none."""
        return Secret(text=self._path(tunnel).read_text().strip())

    def public_of(self, key: Secret) -> str:
        """The public key that belongs to `key`. Kept, because the arithmetic takes a millisecond."""
        if key.text not in self._known:
            self._known[key.text] = str(WireguardKey(key.text).public_key())
        return self._known[key.text]

    def _public(self, tunnel: Tunnel) -> str:
        return self.public_of(self.private(tunnel))

    def _path(self, tunnel: Tunnel) -> Path:
        return self._directory / key_name(tunnel)

    def _ensure_key(self, tunnel: Tunnel) -> None:
        if not self._path(tunnel).exists():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(self._path(tunnel), f"{WireguardKey.generate()}\n")

    def _free_port(self, ports: dict[Tunnel, int]) -> int:
        for port in range(self._port_base, _LAST_PORT + 1):
            if port not in ports.values():
                return port
        raise ExhaustedError(f"no UDP port is free between {self._port_base} and {_LAST_PORT} for another tunnel")

    def _read_ports(self) -> dict[Tunnel, int]:
        try:
            text = self._ports_file.read_text()
        except FileNotFoundError:
            return {}
        return {_tunnel(number, index, *rest): port for number, index, port, *rest in json.loads(text)}

    def _write_ports(self, ports: dict[Tunnel, int]) -> None:
        _write(self._ports_file, json.dumps([_row(tunnel, port) for tunnel, port in sorted(ports.items())]))


def _tunnel(number: int, index: int, generation: int = 0, lane: int = 0) -> Tunnel:
    return (number, index, generation, lane)


def _row(tunnel: Tunnel, port: int) -> tuple[int, ...]:
    """As it was before there were lanes, where there is one only."""
    number, index, generation, lane = tunnel
    row = (number, index, port, generation)
    return (*row, lane) if lane else row


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and readable by root only from the first moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
