"""ICMP and ICMPv6 echo inside a namespace: what probes and `slicectl ping` send. One socket a namespace and family.

Sources: RFC 792 (echo, echo reply), RFC 4443 section 4 (the same for IPv6; the kernel makes its checksum).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from slicer.kernel import netns
from slicer.kernel.polling import readable
from slicer.model.names import Address

_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_SOL_RAW, _ICMP_FILTER = 255, 1  # linux/icmp.h
_ICMPV6_FILTER = 1  # linux/icmpv6.h
_PAYLOAD = b"slicer probe " * 3
"""With the headers less than any path MTU that could carry traffic at all."""


class Echo:
    """A raw socket in one namespace for one family. `send` and `receive` never block."""

    def __init__(self, path: Path | str, version: int, source: Address | None = None) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
        self._version = version
        self._id = secrets.randbelow(1 << 16)
        self._socket = netns.socket_in(path, family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setblocking(False)
        self._hear_replies_only()
        if source is not None:
            self._socket.bind((str(source), 0))

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Give the socket back, and its hold on the namespace."""
        self._socket.close()

    def send(self, target: Address, sequence: int) -> None:
        """One echo request; OSError when there is no way (that is an answer, too)."""
        head = struct.pack("!BBHHH", _REQUEST[self._version], 0, 0, self._id, sequence & 0xFFFF)
        packet = head + _PAYLOAD
        if self._version == 4:
            packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
        self._socket.sendto(packet, (str(target), 0))

    def receive(self) -> Iterator[tuple[Address, int]]:
        """(who answered, sequence) of each reply to this socket's requests that has arrived."""
        while True:
            try:
                data, address = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            if self._version == 4:
                data = data[(data[0] & 0x0F) * 4 :]
            if len(data) < 8 or data[0] != _REPLY[self._version]:
                continue
            identifier, sequence = struct.unpack_from("!HH", data, 4)
            if identifier == self._id:
                yield ipaddress.ip_address(address[0].partition("%")[0]), sequence

    def _hear_replies_only(self) -> None:
        """A set bit blocks a type; without the filter every packet of the namespace would wake us."""
        if self._version == 4:
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF & ~(1 << _REPLY[4])))
            return
        blocked = [0xFFFFFFFF] * 8
        blocked[_REPLY[6] >> 5] &= ~(1 << (_REPLY[6] & 31)) & 0xFFFFFFFF
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *blocked))


def ping(
    path: Path | str, source: Address, target: Address, *, count: int, interval_s: float = 0.2, wait_s: float = 2.0
) -> list[int]:
    """Send `count` echo requests and return the round trips in microseconds of those that were answered, in order.

    OSError when nothing can be sent at all: no namespace, no route.
    """
    echo = Echo(path, target.version, source)
    sent_at: dict[int, float] = {}
    rtts: dict[int, int] = {}
    try:
        for sequence in range(1, count + 1):
            sent_at[sequence] = time.monotonic()
            echo.send(target, sequence)
            deadline = sent_at[sequence] + (interval_s if sequence < count else wait_s)
            while (left_s := deadline - time.monotonic()) > 0 and (sequence < count or len(rtts) < count):
                _collect(echo, left_s, sent_at, rtts)
    finally:
        echo.close()
    return [rtts[sequence] for sequence in sorted(rtts)]


def _collect(echo: Echo, wait_s: float, sent_at: dict[int, float], rtts: dict[int, int]) -> None:
    readable([echo], wait_s)
    now = time.monotonic()
    for _, sequence in echo.receive():
        if sequence in sent_at:
            rtts.setdefault(sequence, int((now - sent_at[sequence]) * 1e6))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
