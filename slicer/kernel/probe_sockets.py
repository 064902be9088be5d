"""The sockets of the prober: UDP in our namespaces, and link events of the tunnel namespaces.

A socket keeps its namespace alive: one whose namespace was removed or made anew is closed at the next `follow`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from struct import unpack_from

from slicer.kernel import netns
from slicer.kernel.netlink import link_events, link_name
from slicer.model.names import Address
from slicer.plan.probe_targets import Spot
from slicer.plan.probing import PROBE_PORT

_NEWLINK, _DELLINK = 16, 17
_IFF_UP = 0x1
_MESSAGE_BYTES = 2048
_FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_parsed = lru_cache(1024)(ipaddress.ip_address)
_text: Callable[[Address], str] = lru_cache(1024)(str)
"""A probe an address and tenth of a second: reading and writing them anew would be a tenth of an idle agent's work."""


class ProbeSocket:
    """Bound to one address; sends to and hears from PROBE_PORT. Nothing here blocks."""

    def __init__(self, spot: Spot) -> None:
        path = netns.path_of(spot.ns)
        self.spot = spot
        self.inode = path.stat().st_ino
        family = socket.AF_INET if spot.address.version == 4 else socket.AF_INET6
        self._socket = netns.socket_in(path, family, socket.SOCK_DGRAM | _FLAGS)
        try:
            self._socket.bind((str(spot.address), PROBE_PORT))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For epoll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let go of the namespace."""
        self._socket.close()

    def send(self, data: bytes, target: Address) -> None:
        """One datagram; what the kernel refuses is as good as lost."""
        with suppress(OSError):
            self._socket.sendto(data, (_text(target), PROBE_PORT))

    def receive(self) -> Iterator[tuple[bytes, Address]]:
        """All that has arrived, with its sender; ports other than the probes' own are not heard."""
        while True:
            try:
                data, sender = self._socket.recvfrom(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram, given once
            if sender[1] == PROBE_PORT:
                yield data, _parsed(sender[0])


class LinkEvents:
    """Tells which devices of one namespace went away or down."""

    def __init__(self, ns: str) -> None:
        path = netns.path_of(ns)
        self.ns = ns
        self.inode = path.stat().st_ino
        self._socket = link_events(path)

    def fileno(self) -> int:
        """For epoll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let go of the namespace."""
        self._socket.close()

    def lost(self) -> set[str]:
        """Names of the devices that went away or down since the last call."""
        found: set[str] = set()
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError:
                continue  # ENOBUFS: some events are gone; the probes tell as well
            length, kind = unpack_from("=IH", data)
            (flags,) = unpack_from("=I", data, 24)  # header 16, then ifinfomsg: family, type, index, flags
            if kind == _DELLINK or (kind == _NEWLINK and not flags & _IFF_UP):
                found.add(link_name(data[:length]))


class Sockets:
    """All of one node's, made and closed as the plan and the namespaces ask."""

    def __init__(self) -> None:
        self._open: dict[Spot | str, ProbeSocket | LinkEvents] = {}

    def follow(self, spots: Iterable[Spot], namespaces: Iterable[str]) -> None:
        """Have a socket for each spot and each namespace of tunnels, as far as they exist yet."""
        wanted: dict[Spot | str, None] = dict.fromkeys((*spots, *namespaces))
        for key, held in list(self._open.items()):
            if key not in wanted or held.inode != _inode(_ns(key)):
                held.close()
                del self._open[key]
        for key in wanted:
            if key not in self._open:
                with suppress(OSError):  # no namespace or no address yet: tried again at the next call
                    self._open[key] = LinkEvents(key) if isinstance(key, str) else ProbeSocket(key)

    def all(self) -> list[ProbeSocket | LinkEvents]:
        """What is to be listened to."""
        return list(self._open.values())

    def at(self, spot: Spot) -> ProbeSocket | None:
        """The socket of a spot; None while it cannot be."""
        found = self._open.get(spot)
        return found if isinstance(found, ProbeSocket) else None

    def close(self) -> None:
        """All of them."""
        for held in self._open.values():
            held.close()
        self._open.clear()


def _ns(key: Spot | str) -> str:
    return key if isinstance(key, str) else key.ns


def _inode(ns: str) -> int:
    path = netns.path_of(ns)
    try:
        return path.stat().st_ino if netns.exists(path) else 0
    except FileNotFoundError:
        return 0
