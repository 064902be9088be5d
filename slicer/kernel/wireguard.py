"""The seam to WireGuard: four verbs, two back ends (kernel, wireguard-go), one contract test for both.

A device is born with its UDP socket in the host's namespace and lives in a tunnel namespace or the mesh. Private keys
go in and never come out: `read` tells the public key that belongs to the device's private key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from slicer.model.names import Address, Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A private key in base64 that does not print itself."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A device: the namespace that it lives in, and its name, which is unique on the node."""

    ns: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """A peer as the device has it."""

    public_key: str
    endpoint: tuple[Address, int] | None
    allowed_ips: tuple[Prefix, ...]
    """Sorted by family and address."""
    keepalive_s: int
    handshake_at_s: int | None
    """Unix time of the last handshake; None while there has been none."""
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """A device as it is; `public_key` is empty while it has no private key."""

    public_key: str
    port: int
    peers: tuple[PeerState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWish:
    """A peer as it shall be: replaces its endpoint, keepalive and allowed addresses; `remove` takes it away."""

    public_key: str
    endpoint: tuple[Address, int] | None = None
    allowed_ips: tuple[Prefix, ...] = ()
    keepalive_s: int = 0
    remove: bool = False


class WireGuard(Protocol):
    """A back end. Every method raises OSError if the kernel or the daemon refuses."""

    name: str
    """`kernel` or `wireguard-go`."""

    def create(self, device: Place, mtu: int) -> None:
        """Make the device, down, without key and peers."""

    def delete(self, device: Place) -> None:
        """Remove the device and what serves it; nothing happens if it is gone."""

    def read(self, device: Place) -> DeviceState | None:
        """What the device is; None if nothing serves it (it is then to be made anew)."""

    def set_key(self, device: Place, key: Secret, port: int) -> None:
        """Give the device its private key and its UDP port."""

    def set_peers(self, device: Place, peers: tuple[PeerWish, ...]) -> None:
        """Change these peers and no others; sessions of peers that stay are kept."""


def by_family(prefix: Prefix) -> tuple[int, int, int]:
    """The order of allowed addresses in plans and readings."""
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)
