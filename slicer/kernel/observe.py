"""What of ours is in the kernel, in the plan's own types.

Only namespaces called `s-…`, `t-…` and `m-nodes` are looked into, and in them only what the data plane makes: routes
and nexthops with our protocol number, permanent neighbours, devices with our names. Everything else is not seen at all.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.kernel import netns
from slicer.kernel.netlink import NETLINK_ROUTE, Netlink, attributes, namespace_id, text, u16, u32
from slicer.kernel.observe_tc import observe_tc
from slicer.model.names import Address
from slicer.plan.dataplane_commands import LONE_WEIGHT
from slicer.plan.dataplane_values import (
    ROUTE_PROTOCOL,
    Fdb,
    Item,
    Link,
    LinkAddress,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Route,
    Rule,
    Sysctl,
    Vxlan,
)
from slicer.plan.mesh import MESH_NS

_LINK_NETNSID = 37
_GETLINK, _GETADDR, _GETROUTE, _GETNEIGH, _GETRULE, _GETNEXTHOP = 18, 22, 26, 30, 34, 106
_AF_BRIDGE = 7
_MAIN = 254
_UNREACHABLE = 7
_PERMANENT = 0x80
_UP = 0x1
_HZ = 100
"""Nexthop timers travel in clock_t, hundredths of a second."""
_KINDS = {"tun": "wireguard"}
"""A device of wireguard-go is a TUN to the kernel."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of one namespace: the name by which the other tables are told."""

    index: int
    name: str
    kind: str


class NamespaceReader:
    """Reads one namespace over a socket that is kept open."""

    def __init__(self, name: str) -> None:
        path = netns.path_of(name)
        self.ns = name
        self.inode = path.stat().st_ino
        self._route = Netlink(NETLINK_ROUTE, path)

    def close(self) -> None:
        self._route.close()

    def is_current(self) -> bool:
        """Whether the name still means the namespace that was opened."""
        path = netns.path_of(self.ns)
        return netns.exists(path) and path.stat().st_ino == self.inode

    def read(self) -> tuple[list[Item], frozenset[str]]:
        """All of ours but sysctls, nft tables and WireGuard's own state; and the pods' host ends."""
        links = self._route.dump(_GETLINK, bytes(16))
        devices = {device.index: device for device in map(_device, links)}
        items: list[Item] = [link for payload in links if (link := self._link(payload))]
        items += self._addresses(devices)
        items += self._neighbours(devices)
        items += self._nexthops(devices)
        items += self._rules()
        items += self._routes(devices)
        items += observe_tc(self._route, self.ns, {i: d.name for i, d in devices.items() if _shaped(d.name)})
        return items, frozenset(d.name for d in devices.values() if _is_pod(d))

    def _link(self, payload: bytes) -> Link | None:
        device, found = _device(payload), attributes(payload, 16)
        if not _is_ours(device.name):
            return None
        return Link(
            ns=self.ns,
            name=device.name,
            kind=device.kind,
            mtu=u32(found[4]),
            mac=found.get(1, b"").hex(":") if device.kind in {"veth", "vxlan"} else "",
            up=bool(struct.unpack_from("=I", payload, 8)[0] & _UP),
            vxlan=self._vxlan(found) if device.kind == "vxlan" else None,
        )

    def _vxlan(self, found: dict[int, bytes]) -> Vxlan:
        data = attributes(attributes(found[18])[2])
        local = data.get(4) or data.get(17) or bytes(4)
        return Vxlan(
            vni=u32(data[1]),
            port=int.from_bytes(data[15], "big"),
            local=_address(local),
            socket_ns=self._name_of(u32(found[_LINK_NETNSID])) if _LINK_NETNSID in found else self.ns,
        )

    def _name_of(self, number: int) -> str:
        """The namespace that has this number here: the host's (empty), the mesh's, or another, whatever its name."""
        if number == namespace_id(self._route, Path("/proc/thread-self/ns/net")):
            return ""
        mesh = netns.path_of(MESH_NS)
        is_mesh = netns.exists(mesh) and number == namespace_id(self._route, mesh)
        return MESH_NS if is_mesh else f"netnsid {number}"

    def _addresses(self, devices: dict[int, Device]) -> Iterator[LinkAddress]:
        for payload in self._route.dump(_GETADDR, bytes(8)):
            _, _, _, scope, index = struct.unpack_from("=BBBBI", payload)
            device, found = devices.get(index), attributes(payload, 8)
            if scope == 0 and device is not None and _is_ours(device.name):
                yield LinkAddress(ns=self.ns, dev=device.name, address=_address(found.get(2) or found[1]))

    def _neighbours(self, devices: dict[int, Device]) -> Iterator[Item]:
        for family in (socket.AF_INET, socket.AF_INET6, _AF_BRIDGE):
            for payload in self._route.dump(_GETNEIGH, struct.pack("=BBHiHBB", family, 0, 0, 0, 0, 0, 0)):
                _, _, _, index, state, _, _ = struct.unpack_from("=BBHiHBB", payload)
                device = devices.get(index)
                if device is None or not state & _PERMANENT:
                    continue
                found = attributes(payload, 12)
                if 1 not in found or 2 not in found:
                    continue
                address, mac = _address(found[1]), found[2].hex(":")
                if family == _AF_BRIDGE:
                    yield Fdb(ns=self.ns, dev=device.name, mac=mac, dst=address)
                else:
                    yield Neighbour(ns=self.ns, dev=device.name, address=address, mac=mac)

    def _nexthops(self, devices: dict[int, Device]) -> Iterator[Item]:
        for payload in self._route.dump(_GETNEXTHOP, bytes(8)):
            family, _, protocol, _, _ = struct.unpack_from("=BBBBI", payload)
            if protocol != ROUTE_PROTOCOL:
                continue
            found = attributes(payload, 8)
            if 2 in found:
                yield _group(self.ns, found)
            elif 5 in found and u32(found[5]) in devices:
                yield Nexthop(
                    ns=self.ns,
                    id=u32(found[1]),
                    version=4 if family == socket.AF_INET else 6,
                    dev=devices[u32(found[5])].name,
                    via=_address(found[6]) if 6 in found else None,
                )

    def _rules(self) -> Iterator[Rule]:
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            for payload in self._route.dump(_GETRULE, struct.pack("=BBBBBBBBI", family, *[0] * 8)):
                found = attributes(payload, 12)
                priority = u32(found[6]) if 6 in found else 0
                dst = ipaddress.ip_network((found[1], payload[1])) if 1 in found else None
                table = u32(found.get(15, payload[4:5]))
                yield Rule(ns=self.ns, version=version, priority=priority, table=table, dst=dst)

    def _routes(self, devices: dict[int, Device]) -> Iterator[Route]:
        for family in (socket.AF_INET, socket.AF_INET6):
            for payload in self._route.dump(_GETROUTE, struct.pack("=BBBBBBBBI", family, *[0] * 8)):
                length, table, protocol = payload[1], payload[4], payload[5]
                if protocol != ROUTE_PROTOCOL or table != _MAIN:
                    continue
                found = attributes(payload, 12)
                dst = ipaddress.ip_network((found.get(1, bytes(4 if family == socket.AF_INET else 16)), length))
                if payload[7] == _UNREACHABLE:
                    yield Route(ns=self.ns, dst=dst)
                elif 30 in found:
                    mtu = attributes(found[8]).get(2) if 8 in found else None
                    yield Route(ns=self.ns, dst=dst, nexthop=u32(found[30]), mtu=u32(mtu) if mtu else 0)
                elif 4 in found and u32(found[4]) in devices:
                    via = _address(found[5]) if 5 in found else None
                    yield Route(ns=self.ns, dst=dst, dev=devices[u32(found[4])].name, via=via)


def read_sysctls(ns: str, wanted: Sequence[Sysctl]) -> list[Sysctl]:
    """The settings as they are; an optional one that this kernel does not have counts as wished."""
    found = []
    with netns.entered(netns.path_of(ns)):
        for sysctl in wanted:
            try:
                value = _read_setting(f"/proc/sys/{sysctl.name}")
            except OSError:
                if not sysctl.optional:
                    continue
                value = sysctl.value
            found.append(Sysctl(ns=ns, name=sysctl.name, value=value, optional=sysctl.optional))
    return found


def _read_setting(path: str) -> str:
    """A slice has about forty, read at each look: as a `Path` and a text file each would take six times as long."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 4096).decode().strip()
    finally:
        os.close(file)


def _device(payload: bytes) -> Device:
    (index,) = struct.unpack_from("=i", payload, 4)
    found = attributes(payload, 16)
    kind = text(attributes(found[18]).get(1, b"")) if 18 in found else "loopback"
    return Device(index=index, name=text(found[3]), kind=_KINDS.get(kind, kind))


def _is_ours(name: str) -> bool:
    """Names that the planner gives; fallback devices that modules put into new namespaces are not ours."""
    return name in {"lo", "vx0", "ifb0"} or name.startswith(("tk", "w"))


def _is_pod(device: Device) -> bool:
    return device.kind == "veth" and device.name.startswith("p")


def _shaped(name: str) -> bool:
    return name == "ifb0" or name.startswith(("w", "p"))


def _group(ns: str, found: dict[int, bytes]) -> NexthopGroup:
    # struct nexthop_grp: id, weight - 1, reserved
    weights = {u32(found[2][i : i + 4]): found[2][i + 4] + 1 for i in range(0, len(found[2]), 8)}
    lone = LONE_WEIGHT in weights.values()
    spare = next((member for member, weight in weights.items() if lone and weight == 1), 0)
    resilient = attributes(found[12]) if 12 in found else {}
    members = tuple(sorted(weights.keys() - {spare}))
    even = len({weights[member] for member in members}) == 1
    return NexthopGroup(
        ns=ns,
        id=u32(found[1]),
        members=members,
        weights=() if even else tuple(weights[member] for member in members),
        spare=spare,
        buckets=u16(resilient[1]) if 1 in resilient else 0,
        idle_s=u32(resilient[2]) // _HZ if 2 in resilient else 0,
    )


def _address(data: bytes) -> Address:
    return ipaddress.ip_address(data)
