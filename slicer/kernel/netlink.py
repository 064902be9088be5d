"""Netlink in a hundred lines: build messages, dump tables, walk attributes. Reading a node takes milliseconds this way.

A socket belongs to the namespace in which it was made and may be used from any thread, one at a time.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from slicer.kernel import netns

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
F_REQUEST, F_ACK, F_DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without the flags "nested" and "network byte order"
_RECEIVE_BYTES = 1 << 16
_RTMGRP_LINK = 1
_IFLA_IFNAME = 3
_GETNSID, _NETNSA_NSID, _NETNSA_FD = 90, 1, 3
_LINK_HEADERS = 32
"""nlmsghdr 16, ifinfomsg 16."""


def link_events(namespace: Path) -> socket.socket:
    """A socket, never waiting, that hears of every link of a namespace that comes, goes or changes."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    made = netns.socket_in(namespace, socket.AF_NETLINK, kind)
    made.bind((0, _RTMGRP_LINK))
    return made


def link_name(message: bytes) -> str:
    """The interface name in an RTM_NEWLINK or RTM_DELLINK; empty if there is none."""
    return text(attributes(message, _LINK_HEADERS).get(_IFLA_IFNAME, b""))


class Netlink:
    """A netlink socket; every method raises OSError with the kernel's errno."""

    def __init__(self, protocol: int, namespace: Path | None = None) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        if namespace is None:
            self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        else:
            self._socket = netns.socket_in(namespace, socket.AF_NETLINK, kind, protocol)
        self._sequence = 0

    def close(self) -> None:
        """A namespace lives as long as a socket in it."""
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The payloads of all objects that the kernel lists; again if they changed meanwhile."""
        while True:
            self._send(kind, F_REQUEST | F_DUMP, body)
            found, interrupted = [], False
            for _, flags, payload in self._replies():
                interrupted |= bool(flags & _DUMP_INTERRUPTED)
                found.append(payload)
            if not interrupted:
                return found

    def get(self, kind: int, body: bytes) -> bytes:
        """The payload of one object."""
        self._send(kind, F_REQUEST, body)
        data = self._socket.recv(_RECEIVE_BYTES)
        _, kind, _, _, _ = _HEADER.unpack_from(data)
        _raise_error(kind, data[_HEADER.size :])
        return data[_HEADER.size :]

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """Ask for a change and wait for its acknowledgement."""
        self._send(kind, F_REQUEST | F_ACK | flags, body)
        data = self._socket.recv(_RECEIVE_BYTES)
        _raise_error(_HEADER.unpack_from(data)[1], data[_HEADER.size :])

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)

    def _replies(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and payload of each message up to the end of a dump."""
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            offset = 0
            while offset < len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                payload = data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue  # the rest of a dump that failed half way
                if kind == _DONE:
                    return
                _raise_error(kind, payload)
                yield kind, flags, payload


def namespace_id(netlink: Netlink, other: Path) -> int:
    """The number by which the socket's namespace knows another one; 0xffffffff while it has none."""
    with open(other, "rb") as handle:
        body = bytes(4) + attribute(_NETNSA_FD, handle.fileno().to_bytes(4, sys.byteorder))
        return u32(attributes(netlink.get(_GETNSID, body), 4)[_NETNSA_NSID])


def _raise_error(kind: int, payload: bytes) -> None:
    if kind == _ERROR:
        code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
        if code:
            raise OSError(code, f"netlink: {os.strerror(code)}")


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; of a repeated type the last."""
    found: dict[int, bytes] = {}
    end, unpack = len(data) - 4, _ATTRIBUTE.unpack_from
    while offset <= end:
        length, kind = unpack(data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute with its padding."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length & 3)


def u16(value: bytes) -> int:
    """A number in the machine's byte order."""
    return int.from_bytes(value[:2], sys.byteorder)


def u32(value: bytes) -> int:
    """A number in the machine's byte order."""
    return int.from_bytes(value[:4], sys.byteorder)


def text(value: bytes) -> str:
    """A string that ends in a zero byte."""
    return value.split(b"\0", 1)[0].decode()
