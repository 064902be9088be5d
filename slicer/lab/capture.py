"""Listens on the wire: every frame that enters a network namespace while a `listening` block runs.

For the demo and the tests, which show what can be read there and what cannot. No tcpdump needed.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from slicer.kernel.netns import socket_in
from slicer.model.names import Address

_ETH_P_ALL = 0x0003
_FRAME_MAX = 1 << 16
_BUFFER = 64 << 20
"""Bytes of receive buffer: nothing may be lost, or "not seen" would prove nothing."""
_PACKET_STATISTICS = 6
_SO_RCVBUFFORCE = 33
UDP = 17
WIREGUARD_TYPES = (1, 2, 3, 4)
"""Handshake initiation, response, cookie, transport data: the first byte, and three zero bytes after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One IP packet as it was on the wire."""

    source: Address
    destination: Address
    protocol: int
    ports: tuple[int, int] = (0, 0)
    """Source and destination, for TCP and UDP."""
    payload: bytes
    """After the UDP header; after the IP header for all else."""

    @property
    def is_wireguard(self) -> bool:
        """Whether this is a WireGuard message."""
        head = self.payload[:4]
        return self.protocol == UDP and len(head) == 4 and head[0] in WIREGUARD_TYPES and head[1:] == b"\0\0\0"


@dataclass(slots=True)
class Heard:
    """What was heard; complete once the block has ended."""

    frames: list[bytes] = field(default_factory=list)
    lost: int = 0
    """Frames that the kernel could not hand over. Not 0 means that absence proves nothing."""

    def packets(self, wanted: Callable[[Packet], bool] = lambda _: True) -> list[Packet]:
        """The IP packets for which `wanted` holds, in order."""
        parsed = (parse_frame(frame) for frame in self.frames)
        return [packet for packet in parsed if packet is not None and wanted(packet)]

    def holding(self, text: bytes) -> int:
        """In how many frames `text` can be read."""
        return sum(text in frame for frame in self.frames)


@contextmanager
def listening(netns: Path | str, interface: str = "") -> Iterator[Heard]:
    """Hear what comes in on one interface, or on all; what goes out is not heard (on a bridge it came in before)."""
    heard = Heard()
    stop, stopper = socket.socketpair()
    with socket_in(netns, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as ear, stop, stopper:
        ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        if interface:
            ear.bind((interface, _ETH_P_ALL))
        thread = threading.Thread(target=_hear, args=(ear, stop, heard), name="capture")
        thread.start()
        try:
            yield heard
        finally:
            stopper.close()
            thread.join()
            statistics = ear.getsockopt(263, _PACKET_STATISTICS, 8)  # SOL_PACKET
            heard.lost = int.from_bytes(statistics[4:8], "little")


def parse_frame(frame: bytes) -> Packet | None:
    """The IP packet in an Ethernet frame; None for anything else."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        source, destination = ipaddress.IPv4Address(packet[12:16]), ipaddress.IPv4Address(packet[16:20])
        return _parse_transport(source, destination, packet[9], packet[4 * (packet[0] & 15) :])
    if kind == b"\x86\xdd" and len(packet) >= 40:
        source6, destination6 = ipaddress.IPv6Address(packet[8:24]), ipaddress.IPv6Address(packet[24:40])
        return _parse_transport(source6, destination6, packet[6], packet[40:])
    return None


def _parse_transport(source: Address, destination: Address, protocol: int, rest: bytes) -> Packet:
    ports = (int.from_bytes(rest[:2]), int.from_bytes(rest[2:4])) if protocol in {6, UDP} else (0, 0)
    payload = rest[8:] if protocol == UDP else rest
    return Packet(source=source, destination=destination, protocol=protocol, ports=ports, payload=payload)


def _hear(ear: socket.socket, stop: socket.socket, heard: Heard) -> None:
    while True:
        ready, _, _ = select.select([ear, stop], [], [])
        if ear in ready:
            frame, address = ear.recvfrom(_FRAME_MAX)
            if address[2] != socket.PACKET_OUTGOING:
                heard.frames.append(frame)
        elif stop in ready:
            return
