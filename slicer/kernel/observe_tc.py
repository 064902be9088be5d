"""Qdiscs, classes and filters of one namespace, in the plan's types; what the data plane does not use is not seen."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator

from slicer.kernel.netlink import Netlink, attributes, text, u32
from slicer.model.names import Prefix
from slicer.plan.dataplane_values import Filter, HtbClass, Item, Qdisc

_GETQDISC, _GETTCLASS, _GETTFILTER = 38, 42, 46
_ROOT, _CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
_PLACES = {"1:": 0x10000, "ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
"""Where filters hang, as numbers."""
_KINDS = frozenset({"htb", "tbf", "pfifo", "fq_codel", "clsact"})
_PROTOCOLS = {0x0003: "all", 0x0800: "ip", 0x86DD: "ipv6"}
_OFFSETS = {"ip": (4, 12, 16), "ipv6": (16, 8, 24)}
"""By protocol: bytes of an address, and where source and destination lie in the header."""


def observe_tc(route: Netlink, ns: str, devices: dict[int, str]) -> Iterator[Item]:
    """Everything of ours on these devices (index to name)."""
    for payload in route.dump(_GETQDISC, bytes(20)):
        _, index, handle, _, _ = _header(payload)
        found = attributes(payload, 20)
        kind = text(found[1])
        if index not in devices or not handle or kind not in _KINDS:
            continue
        yield _qdisc(ns, devices[index], payload, found)
        if kind == "htb":
            yield from _classes(route, ns, index, devices)
            yield from _filters(route, ns, index, devices, "1:")
        elif kind == "clsact":
            yield from _filters(route, ns, index, devices, "ingress")
            yield from _filters(route, ns, index, devices, "egress")


def _header(payload: bytes) -> tuple[int, int, int, int, int]:
    family, index, handle, parent, info = struct.unpack_from("=BxxxiIII", payload)
    return family, index, handle, parent, info


def _request(index: int, parent: int) -> bytes:
    return struct.pack("=BxxxiIII", 0, index, 0, parent, 0)


def _qdisc(ns: str, dev: str, payload: bytes, found: dict[int, bytes]) -> Qdisc:
    _, _, handle, parent, _ = _header(payload)
    kind, options = text(found[1]), found.get(2, b"")
    place = {_ROOT: "root", _CLSACT: "clsact"}.get(parent) or _classid(parent)
    major = f"{handle >> 16:x}:"
    if kind == "htb":
        return Qdisc(ns=ns, dev=dev, parent=place, handle=major, kind=kind, default=u32(attributes(options)[2][8:12]))
    if kind == "tbf":
        found = attributes(options)
        rate = _rate(found[1][:12], found.get(4))
        return Qdisc(ns=ns, dev=dev, parent=place, handle=major, kind=kind, rate_bps=rate)
    limit = u32(options) if kind == "pfifo" else 0
    return Qdisc(ns=ns, dev=dev, parent=place, handle=major, kind=kind, limit=limit)


def _rate(ratespec: bytes, rate64: bytes | None) -> int:
    """bit/s. Rates of 2^32 bytes a second and more stand in an attribute of their own."""
    return 8 * (int.from_bytes(rate64[:8], sys.byteorder) if rate64 else u32(ratespec[8:12]))


def _classid(number: int) -> str:
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def _classes(route: Netlink, ns: str, index: int, devices: dict[int, str]) -> Iterator[HtbClass]:
    for payload in route.dump(_GETTCLASS, _request(index, 0)):
        _, _, handle, parent, _ = _header(payload)
        found = attributes(payload, 20)
        if text(found[1]) != "htb":
            continue
        options = attributes(found[2])
        parameters = options[1]
        yield HtbClass(
            ns=ns,
            dev=devices[index],
            parent="root" if parent == _ROOT else _classid(parent),
            classid=_classid(handle),
            rate_bps=_rate(parameters[:12], options.get(6)),
            ceil_bps=_rate(parameters[12:24], options.get(7)),
            prio=u32(parameters[40:44]),
        )


def _filters(route: Netlink, ns: str, index: int, devices: dict[int, str], place: str) -> Iterator[Filter]:
    for payload in route.dump(_GETTFILTER, _request(index, _PLACES[place])):
        _, _, _, _, info = _header(payload)
        found = attributes(payload, 20)
        options = attributes(found.get(2, b""))
        if text(found[1]) != "u32" or 5 not in options:
            continue  # hash tables, which u32 makes by itself
        protocol = _PROTOCOLS.get(socket.ntohs(info & 0xFFFF), "other")
        src, dst = _match(protocol, options[5])
        yield Filter(
            ns=ns,
            dev=devices[index],
            parent=place,
            pref=info >> 16,
            protocol=protocol,
            src=src,
            dst=dst,
            flowid=_classid(u32(options[1])) if 1 in options and u32(options[1]) else "",
            redirect=devices.get(_redirect(options.get(7, b"")), ""),
        )


def _redirect(action: bytes) -> int:
    """Index of the device to which a mirred action redirects; 0 if there is none."""
    first = attributes(action).get(1)
    if first is None:
        return 0
    found = attributes(first)
    parameters = attributes(found[2]).get(2, b"") if text(found[1]) == "mirred" else b""
    return u32(parameters[24:28]) if parameters else 0


def _match(protocol: str, selector: bytes) -> tuple[Prefix | None, Prefix | None]:
    """Source and destination prefix of a u32 selector: words of 32 bits with a mask."""
    if protocol not in _OFFSETS:
        return None, None
    size, source, destination = _OFFSETS[protocol]
    words = {}
    for at in range(16, 16 + 16 * selector[2], 16):
        mask, value, offset = selector[at : at + 4], selector[at + 4 : at + 8], u32(selector[at + 8 : at + 12])
        words[offset] = (mask, value)
    return _prefix(words, source, size), _prefix(words, destination, size)


def _prefix(words: dict[int, tuple[bytes, bytes]], start: int, size: int) -> Prefix | None:
    parts = [words.get(offset, (bytes(4), bytes(4))) for offset in range(start, start + size, 4)]
    length = int.from_bytes(b"".join(mask for mask, _ in parts), "big").bit_count()
    if not length:
        return None
    return ipaddress.ip_network((b"".join(value for _, value in parts), length))
