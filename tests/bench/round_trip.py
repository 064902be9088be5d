"""Round trips over several paths, packet by packet in turn.

A whole `ping` on one path after the other does not compare them: what a round trip through userspace takes depends on
how the machine happens to wake its processes at that moment, and two runs differ by more than the paths do. So one
process holds a socket in each place and sends one echo request on each path in turn, each when the one before is
answered. As in `ping`, the clock starts before the request is sent and ends when the kernel gets the reply.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from slicer.kernel.echo import checksum

REQUEST, REPLY = 8, 0
"""ICMP types (RFC 792)."""
PAYLOAD = bytes(56)
"""After the ICMP header: a message of 64 bytes."""
IDENTIFIER = 0x51CE
SO_TIMESTAMPNS = 35
"""Linux: when the kernel got a packet, as a timespec of CLOCK_REALTIME, comes with it (socket(7))."""
WAIT_S = 1.0
_OPENER = """
import socket, sys
opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"."], [opened.fileno()])
"""


class Trip:
    """One path: a raw socket where it begins, connected to the address where it ends."""

    def __init__(self, opened: socket.socket, address: str) -> None:
        self._socket = opened
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        opened.settimeout(WAIT_S)
        opened.connect((address, 0))

    def once(self, sequence: int) -> float | None:
        """Microseconds from a request to its reply; None if none came within WAIT_S."""
        request = encode(sequence)
        start = time.time_ns()
        self._socket.send(request)
        try:
            while True:
                packet, extra, _, _ = self._socket.recvmsg(2048, socket.CMSG_SPACE(16))
                if is_reply(packet, sequence):
                    seconds, nanoseconds = struct.unpack("=qq", extra[0][2])
                    return float(seconds * 1_000_000_000 + nanoseconds - start) / 1000
        except TimeoutError:
            return None


@contextmanager
def opened(argv: Sequence[str], address: str) -> Iterator[Trip]:
    """A path from where `argv`, the beginning of a command line, runs programs, to `address`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [*argv, sys.executable, "-c", _OPENER, str(theirs.fileno())]
        subprocess.run(words, pass_fds=[theirs.fileno()], check=True)
        _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
    with socket.socket(fileno=descriptor) as found:
        yield Trip(found, address)


def encode(sequence: int) -> bytes:
    """An echo request; sequence numbers have 16 bits."""
    head = struct.pack("!BBHHH", REQUEST, 0, 0, IDENTIFIER, sequence & 0xFFFF)
    return head[:2] + struct.pack("!H", checksum(head + PAYLOAD)) + head[4:] + PAYLOAD


def is_reply(packet: bytes, sequence: int) -> bool:
    """Whether an IPv4 packet is the reply to that request."""
    kind, _, _, identifier, number = struct.unpack_from("!BBHHH", packet, (packet[0] & 0x0F) * 4)
    return (kind, identifier, number) == (REPLY, IDENTIFIER, sequence & 0xFFFF)
