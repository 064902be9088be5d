"""What is really in a namespace: its links, addresses, routes and neighbours, as values. Changes nothing.

Callers: CNI CHECK, the choice of a free interface name, the primary addresses of a pod, the leak sweep.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from pathlib import Path

from slicer.kernel import netns
from slicer.kernel.rtnl import GETADDR, GETLINK, GETNEIGH, GETROUTE, Channel
from slicer.model.names import Address, Prefix

GETQDISC = 38
_IFF_UP = 1
_SCOPE_UNIVERSE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One network interface."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The contents of one network namespace."""

    cookie: int
    links: tuple[Link, ...]
    addresses: tuple[tuple[int, Address, bool], ...]
    """(interface index, address, whether it is global)."""
    routes: tuple[tuple[int, Prefix, Address | None], ...]
    """(interface index, destination, next hop) of the main table; multipath routes are left out."""
    neighbours: tuple[tuple[int, Address, str], ...]

    def link(self, name: str) -> Link | None:
        """The link of this name."""
        return next((link for link in self.links if link.name == name), None)

    def addresses_of(self, index: int) -> set[Address]:
        """The addresses of one link."""
        return {address for holder, address, _ in self.addresses if holder == index}

    def routes_of(self, index: int) -> set[tuple[Prefix, Address | None]]:
        """(destination, next hop) of the routes over one link."""
        return {(prefix, hop) for holder, prefix, hop in self.routes if holder == index}


def cookie_of(path: str) -> int | None:
    """The number of the namespace at `path`; None if there is none."""
    if not netns.exists(Path(path)):
        return None
    try:
        channel = Channel(path)
    except OSError:
        return None
    try:
        return channel.cookie
    finally:
        channel.close()


def observe(path: str | Path) -> Contents:
    """Read the namespace at `path`; OSError if there is none."""
    channel = Channel(path)
    try:
        return Contents(
            cookie=channel.cookie,
            links=tuple(_links(channel)),
            addresses=tuple(_addresses(channel)),
            routes=tuple(_routes(channel)),
            neighbours=tuple(_neighbours(channel)),
        )
    finally:
        channel.close()


def links(path: str | Path) -> tuple[Link, ...]:
    """Only the links of the namespace at `path`."""
    channel = Channel(path)
    try:
        return tuple(_links(channel))
    finally:
        channel.close()


def qdiscs(path: str | Path, index: int) -> set[str]:
    """Kinds of the queueing disciplines on one link (`noqueue` is what a veth has by itself)."""
    channel = Channel(path)
    try:
        found = list(channel.dump(GETQDISC, header_bytes=20))
    finally:
        channel.close()
    return {
        attributes[1].rstrip(b"\0").decode()
        for header, attributes in found
        if struct.unpack_from("=i", header, 4)[0] == index and 1 in attributes
    }


def _links(channel: Channel) -> list[Link]:
    found = []
    for header, attributes in channel.dump(GETLINK):
        index, flags = struct.unpack_from("=iI", header, 4)
        found.append(
            Link(
                index=index,
                name=attributes[3].rstrip(b"\0").decode(),
                mac=attributes.get(1, b"").hex(":"),
                mtu=struct.unpack("=I", attributes[4])[0],
                up=bool(flags & _IFF_UP),
                group=struct.unpack("=I", attributes.get(27, b"\0\0\0\0"))[0],
            )
        )
    return found


def _addresses(channel: Channel) -> list[tuple[int, Address, bool]]:
    found = []
    for header, attributes in channel.dump(GETADDR, header_bytes=8):
        _, _, _, scope, index = struct.unpack("=4BI", header)
        packed = attributes.get(2, attributes.get(1))  # IFA_LOCAL where there is one, else IFA_ADDRESS
        if packed is not None:
            found.append((index, ipaddress.ip_address(packed), scope == _SCOPE_UNIVERSE))
    return found


def _routes(channel: Channel) -> list[tuple[int, Prefix, Address | None]]:
    found = []
    for header, attributes in channel.dump(GETROUTE, header_bytes=12):
        family, length, _, _, table = struct.unpack_from("=5B", header)
        if table != 254 or 4 not in attributes:
            continue
        zero = b"\0" * (4 if family == 2 else 16)
        prefix = ipaddress.ip_network((attributes.get(1, zero), length))
        hop = ipaddress.ip_address(attributes[5]) if 5 in attributes else None
        found.append((struct.unpack("=I", attributes[4])[0], prefix, hop))
    return found


def _neighbours(channel: Channel) -> list[tuple[int, Address, str]]:
    found = []
    for header, attributes in channel.dump(GETNEIGH, header_bytes=12):
        if 1 in attributes and 2 in attributes:
            index = struct.unpack_from("=i", header, 4)[0]
            found.append((index, ipaddress.ip_address(attributes[1]), attributes[2].hex(":")))
    return found
