"""Route netlink written by hand: message bytes, one socket a namespace, batches with one acknowledgement, dumps.

Only for what must be quick (the attach path) or small (reading a pod's namespace); the data plane uses pyroute2.
A batch is one sendmsg: the kernel works it off before it returns, reports each message that failed, and acknowledges
the last. Sources: rtnetlink(7), netlink(7), linux/if_link.h, linux/rtnetlink.h, linux/neighbour.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.kernel import netns

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
REQUEST, ACK, DUMP = 1, 4, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_BUFFER_BYTES = 1 << 17
_SO_NETNS_COOKIE = 71


class KernelError(OSError):
    """The kernel refused one message of a batch; `index` says which (0 is the first)."""

    def __init__(self, code: int, what: str, index: int) -> None:
        super().__init__(code, f"{os.strerror(code)} ({what})")
        self.index = index


@dataclass(frozen=True, slots=True)
class Message:
    """One request without its header; `what` names it in errors."""

    type: int
    flags: int
    body: bytes
    what: str


def u8(value: int) -> bytes:
    """One byte."""
    return struct.pack("=B", value)


def u16(value: int) -> bytes:
    """Two bytes, the machine's order."""
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    """Four bytes, the machine's order."""
    return struct.pack("=I", value)


def text(value: str) -> bytes:
    """A string with its final zero."""
    return value.encode() + b"\0"


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a MAC address in text."""
    return bytes.fromhex(mac.replace(":", ""))


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute (struct rtattr), padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | 0x8000, b"".join(parts))


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by kind, without the flags in it; of equal ones the last."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


class Channel:
    """One route netlink socket in one namespace; usable from any thread, one batch at a time."""

    def __init__(self, path: Path | str) -> None:
        self._socket = netns.socket_in(path, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._lock = threading.Lock()
        self._sequence = 0

    @property
    def cookie(self) -> int:
        """The kernel's number of the namespace, never used twice (SO_NETNS_COOKIE, Linux 5.14)."""
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)

    def close(self) -> None:
        """Give the socket back (and its hold on the namespace)."""
        self._socket.close()

    def run(self, messages: Sequence[Message]) -> list[KernelError]:
        """Send all messages at once; the errors of those that failed. The others have taken effect."""
        with self._lock:
            first = self._sequence + 1
            self._sequence += len(messages)
            self._socket.send(b"".join(self._packet(m, first + i, messages) for i, m in enumerate(messages)))
            return self._answers(messages, first)

    def apply(self, messages: Sequence[Message]) -> None:
        """Send all messages at once; the first error is raised."""
        errors = self.run(messages)
        if errors:
            raise errors[0]

    def _packet(self, message: Message, sequence: int, batch: Sequence[Message]) -> bytes:
        flags = message.flags | REQUEST | (ACK if message is batch[-1] else 0)
        return _HEADER.pack(16 + len(message.body), message.type, flags, sequence, 0) + message.body

    def _answers(self, messages: Sequence[Message], first: int) -> list[KernelError]:
        errors: list[KernelError] = []
        while True:
            for kind, sequence, body in _split(self._socket.recv(_BUFFER_BYTES)):
                if kind != _ERROR or sequence < first:
                    continue
                code = -struct.unpack_from("=i", body)[0]
                index = sequence - first
                if code:
                    errors.append(KernelError(code, messages[index].what, index))
                if index == len(messages) - 1:
                    return errors

    def dump(self, type_: int, family: int = 0, header_bytes: int = 16) -> Iterator[tuple[bytes, dict[int, bytes]]]:
        """Each object of a kind as (fixed header, attributes); asked for and read whole before the first is given."""
        with self._lock:
            self._sequence += 1
            body = struct.pack("=B", family).ljust(header_bytes, b"\0")
            self._socket.send(_HEADER.pack(16 + len(body), type_, REQUEST | DUMP, self._sequence, 0) + body)
            bodies = list(self._dumped(self._sequence))
        for answer in bodies:
            yield answer[:header_bytes], parse_attributes(answer[header_bytes:])

    def _dumped(self, wanted: int) -> Iterator[bytes]:
        while True:
            for kind, sequence, body in _split(self._socket.recv(_BUFFER_BYTES)):
                if sequence != wanted:
                    continue
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise KernelError(-struct.unpack_from("=i", body)[0] or errno.EIO, "dump", 0)
                yield body


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The (type, sequence, body) of each message in one datagram."""
    while len(data) >= 16:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data)
        yield kind, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]
