"""Changes to the kernel as the commands that an operator would type; `ip` and `tc` ones are run exactly as written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import singledispatch

from slicer.plan.dataplane_values import (
    ROUTE_PROTOCOL,
    TABLE_NAME,
    Fdb,
    Filter,
    HtbClass,
    Item,
    Link,
    LinkAddress,
    Namespace,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Route,
    Rule,
    Sysctl,
    Table,
    WgDevice,
    WgPeer,
)
from slicer.plan.lanes import lane_letter

QUANTUM_BYTES = 60_000
"""What a class may send in its turn when several of one priority borrow: equal turns, so that what nobody was promised
is shared evenly (HTB's own choice, by guarantee, gives it to who has most). About one offloaded packet."""


class Verb(StrEnum):
    """What a change does to its object."""

    PUT = "put"
    """Make it, or make it so."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One command. `ns` is where it runs: "" is the host's namespace."""

    verb: Verb
    item: Item
    ns: str
    tool: str
    """ip, ip -6, tc, bridge, sysctl, nft, wg, netns (`ip netns`), wireguard (device made by the back end)."""
    text: str

    def __str__(self) -> str:
        match self.tool:
            case "netns":
                return f"ip netns {self.text}"
            case "sysctl" | "nft" | "wg":
                return f"ip netns exec {self.ns} {self.tool} {self.text}"
            case "wireguard":
                return f"ip {self.text}"
        return f"{self.tool}{f' -n {self.ns}' if self.ns else ''} {self.text}"


def put(item: Item, observed: Item | None = None) -> list[Change]:
    """The commands that make `item` so, given what is there under its key (None: nothing)."""
    return [Change(verb=Verb.PUT, item=item, ns=ns, tool=tool, text=text) for ns, tool, text in _put(item, observed)]


def delete(item: Item) -> list[Change]:
    """The command that removes `item`; none for what goes with something else."""
    line = _delete(item)
    return [Change(verb=Verb.DELETE, item=item, ns=line[0], tool=line[1], text=line[2])] if line else []


LONE_WEIGHT = 255
"""Of a lone member beside its spare's 1: of 128 buckets the spare's share rounds to none."""
Line = tuple[str, str, str]
"""Namespace, tool, text."""


@singledispatch
def _put(item: Item, _observed: Item | None) -> list[Line]:
    raise TypeError(f"no command for {item!r}")


@singledispatch
def _delete(item: Item) -> Line | None:
    raise TypeError(f"no command for {item!r}")


@_put.register
def _(item: Namespace, _observed: Item | None) -> list[Line]:
    return [("", "netns", f"add {item.ns}")]


@_delete.register
def _(item: Namespace) -> Line:
    return ("", "netns", f"delete {item.ns}")


@_put.register
def _(item: Table, _observed: Item | None) -> list[Line]:
    return [(item.ns, "nft", f"-f - # table inet {TABLE_NAME}, plan {item.digest}")]


@_delete.register
def _(item: Table) -> Line:
    return (item.ns, "nft", f"delete table inet {TABLE_NAME}")


@_put.register
def _(item: Sysctl, _observed: Item | None) -> list[Line]:
    return [(item.ns, "sysctl", f"-w {item.name}={item.value}")]


@_delete.register
def _(item: Sysctl) -> None:
    """A setting without a wish stays as it is: it ends with its namespace."""


@_put.register
def _(item: Link, observed: Item | None) -> list[Line]:
    if isinstance(observed, Link) and (item.kind, item.vxlan) == (observed.kind, observed.vxlan):
        return _change_link(item, observed)
    gone = [line] if observed and (line := _delete(observed)) else []
    made = _make_link(item)
    fresh = Link(ns=item.ns, name=item.name, kind=item.kind, mtu=item.mtu, mac=item.mac, up=False, vxlan=item.vxlan)
    return [*gone, *made, *_change_link(item, fresh)]


def _make_link(item: Link) -> list[Line]:
    """New devices are born in their namespace: moving one there would hold the node's lock on all links for 20 ms."""
    mac = f" address {item.mac}" if item.mac else ""
    start = f"link add name {item.name} netns {item.ns} mtu {item.mtu}{mac} type {item.kind}"
    if item.kind == "wireguard":
        return [("", "wireguard", start)]
    if item.vxlan is not None:
        v = item.vxlan
        return [(v.socket_ns, "ip", f"{start} id {v.vni} local {v.local} dstport {v.port} nolearning")]
    if item.kind == "veth" and item.peer[1]:
        return [("", "ip", f"{start} peer name {item.peer[1]} netns {item.peer[0]}")]
    return [("", "ip", start)] if item.kind == "ifb" else []


def _change_link(item: Link, observed: Link) -> list[Line]:
    words = []
    if item.mtu != observed.mtu:
        words.append(f"mtu {item.mtu}")
    if item.mac and item.mac != observed.mac:
        words.append(f"address {item.mac}")
    if item.up != observed.up:
        words.append("up" if item.up else "down")
    if item.kind == "veth" and not item.peer[1] and words == ["up"]:
        # A far end was made by the near one, with whatever the kernel chose.
        words = [f"mtu {item.mtu}", f"address {item.mac}", "up"]
    return [(item.ns, "ip", f"link set dev {item.name} {' '.join(words)}")] if words else []


@_delete.register
def _(item: Link) -> Line | None:
    if item.kind == "loopback":
        return None
    if item.kind == "wireguard":
        return ("", "wireguard", f"-n {item.ns} link delete {item.name}")
    return (item.ns, "ip", f"link delete dev {item.name}")


def key_name(tunnel: tuple[int, int, int, int]) -> str:
    """Name of the file that holds the private key of (tunnel set, index, generation, lane)."""
    number, index, generation, lane = tunnel
    name = f"{number}-{index}{lane_letter(lane)}"
    return f"{name}-{generation}.key" if generation else f"{name}.key"


@_put.register
def _(item: WgDevice, _observed: Item | None) -> list[Line]:
    key = f"keys/{key_name(item.tunnel)}"
    return [(item.ns, "wg", f"set {item.name} private-key {key} listen-port {item.port}")]


@_delete.register
def _(item: WgDevice) -> None:
    """Goes with its link."""


@_put.register
def _(item: WgPeer, _observed: Item | None) -> list[Line]:
    endpoint = f" endpoint {render_endpoint(item.endpoint)}" if item.endpoint else ""
    allowed = ",".join(str(prefix) for prefix in item.allowed_ips)
    text = (
        f"set {item.dev} peer {item.public_key}{endpoint} persistent-keepalive {item.keepalive_s} allowed-ips {allowed}"
    )
    return [(item.ns, "wg", text)]


@_delete.register
def _(item: WgPeer) -> Line:
    return (item.ns, "wg", f"set {item.dev} peer {item.public_key} remove")


def render_endpoint(endpoint: tuple[object, int]) -> str:
    """`address:port`, IPv6 in brackets, as WireGuard writes it."""
    address, port = endpoint
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


@_put.register
def _(item: LinkAddress, _observed: Item | None) -> list[Line]:
    # The kernel's own route to an IPv6 address of full length would hide the router address behind the trunk.
    text = f"address replace {item.address}/{item.address.max_prefixlen} dev {item.dev} noprefixroute"
    return [(item.ns, "ip", text)]


@_delete.register
def _(item: LinkAddress) -> Line:
    return (item.ns, "ip", f"address delete {item.address}/{item.address.max_prefixlen} dev {item.dev}")


@_put.register
def _(item: Neighbour, _observed: Item | None) -> list[Line]:
    return [(item.ns, "ip", f"neighbour replace {item.address} lladdr {item.mac} dev {item.dev} nud permanent")]


@_delete.register
def _(item: Neighbour) -> Line:
    return (item.ns, "ip", f"neighbour delete {item.address} dev {item.dev}")


@_put.register
def _(item: Fdb, _observed: Item | None) -> list[Line]:
    return [(item.ns, "bridge", f"fdb replace {item.mac} dev {item.dev} dst {item.dst} self permanent")]


@_delete.register
def _(item: Fdb) -> Line:
    return (item.ns, "bridge", f"fdb delete {item.mac} dev {item.dev} dst {item.dst} self")


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip -6"


@_put.register
def _(item: Nexthop, _observed: Item | None) -> list[Line]:
    via = f" via {item.via}" if item.via else ""
    onlink = " onlink" if item.via else ""
    text = f"nexthop replace id {item.id}{via} dev {item.dev}{onlink} proto {ROUTE_PROTOCOL}"
    return [(item.ns, _ip(item.version), text)]


@_delete.register
def _(item: Nexthop) -> Line:
    return (item.ns, "ip", f"nexthop delete id {item.id}")


def shares(group: NexthopGroup) -> list[tuple[int, int]]:
    """All entries of a group with their weights."""
    if group.spare:
        return [*((member, LONE_WEIGHT) for member in group.members), (group.spare, 1)]
    return list(zip(group.members, group.weights or (1,) * len(group.members), strict=True))


@_put.register
def _(item: NexthopGroup, observed: Item | None) -> list[Line]:
    gone = []
    if isinstance(observed, NexthopGroup) and observed.buckets != item.buckets:
        gone = [(item.ns, "ip", f"nexthop delete id {item.id}")]
    even = not item.spare and not item.weights
    members = "/".join(str(member) if even else f"{member},{weight}" for member, weight in shares(item))
    kind = f"type resilient buckets {item.buckets} idle_timer {item.idle_s}"
    return [*gone, (item.ns, "ip", f"nexthop replace id {item.id} group {members} {kind} proto {ROUTE_PROTOCOL}")]


@_delete.register
def _(item: NexthopGroup) -> Line:
    return (item.ns, "ip", f"nexthop delete id {item.id}")


@_put.register
def _(item: Rule, observed: Item | None) -> list[Line]:
    gone = [(item.ns, _ip(item.version), f"rule delete pref {item.priority}")] if observed else []
    to = f" to {item.dst}" if item.dst else ""
    return [*gone, (item.ns, _ip(item.version), f"rule add pref {item.priority}{to} lookup {item.table}")]


@_delete.register
def _(item: Rule) -> Line:
    return (item.ns, _ip(item.version), f"rule delete pref {item.priority}")


@_put.register
def _(item: Route, _observed: Item | None) -> list[Line]:
    if not item.nexthop and not item.dev:
        text = f"route replace unreachable {item.dst} proto {ROUTE_PROTOCOL}"
        return [(item.ns, _ip(item.dst.version), text)]
    if item.nexthop:
        way = f"nhid {item.nexthop}"
    else:
        way = f"via {item.via} dev {item.dev} onlink" if item.via else f"dev {item.dev}"
    # Linux forwards IPv6 by the device's MTU unless that of the route is locked.
    lock = " lock" if item.dst.version == 6 else ""
    mtu = f" mtu{lock} {item.mtu}" if item.mtu else ""
    return [(item.ns, _ip(item.dst.version), f"route replace {item.dst} {way}{mtu} proto {ROUTE_PROTOCOL}")]


@_delete.register
def _(item: Route) -> Line:
    return (item.ns, _ip(item.dst.version), f"route delete {item.dst} proto {ROUTE_PROTOCOL}")


@_put.register
def _(item: Qdisc, observed: Item | None) -> list[Line]:
    gone = []
    if isinstance(observed, Qdisc) and (observed.kind, observed.handle) != (item.kind, item.handle):
        gone = [_delete_qdisc(observed)]
    verb = "change" if isinstance(observed, Qdisc) and not gone else "add"
    place = "clsact" if item.kind == "clsact" else f"{_place(item.parent)} handle {item.handle} {item.kind}"
    return [*gone, (item.ns, "tc", f"qdisc {verb} dev {item.dev} {place}{_qdisc_options(item)}")]


def _qdisc_options(item: Qdisc) -> str:
    match item.kind:
        case "htb":
            return f" default {item.default:x}" if item.default else ""
        case "tbf":
            burst = item.burst_bytes or burst_bytes(item.rate_bps)
            return f" rate {item.rate_bps}bit burst {burst} latency 50ms"
        case "pfifo":
            return f" limit {item.limit}"
    return ""


def _place(parent: str) -> str:
    return parent if parent in {"root", "clsact"} else f"parent {parent}"


def _delete_qdisc(item: Qdisc) -> Line:
    return (item.ns, "tc", f"qdisc delete dev {item.dev} {_place(item.parent)}")


@_delete.register
def _(item: Qdisc) -> Line:
    return _delete_qdisc(item)


def burst_bytes(rate_bps: int) -> int:
    """10 ms at `rate_bps`, and no less than two full packets: what a class may send at once."""
    return max(rate_bps // 8 // 100, 3200)


@_put.register
def _(item: HtbClass, _observed: Item | None) -> list[Line]:
    burst = item.burst_bytes or burst_bytes(item.rate_bps)
    text = (
        f"class replace dev {item.dev} {_place(item.parent)} classid {item.classid}"
        f" htb rate {item.rate_bps}bit ceil {item.ceil_bps}bit burst {burst} cburst {burst_bytes(item.ceil_bps)}"
        f" prio {item.prio} quantum {QUANTUM_BYTES}"
    )
    return [(item.ns, "tc", text)]


@_delete.register
def _(item: HtbClass) -> Line:
    return (item.ns, "tc", f"class delete dev {item.dev} classid {item.classid}")


@_put.register
def _(item: Filter, observed: Item | None) -> list[Line]:
    gone = [_delete_filter(observed)] if isinstance(observed, Filter) else []
    match = "match u32 0 0"
    if item.src or item.dst:
        family = {"ip": "ip", "ipv6": "ip6"}[item.protocol]
        ends = (("src", item.src), ("dst", item.dst))
        match = " ".join(f"match {family} {end} {prefix}" for end, prefix in ends if prefix)
    to = f"flowid {item.flowid}" if item.flowid else f"action mirred egress redirect dev {item.redirect}"
    place = f"dev {item.dev} {_side(item)} protocol {item.protocol} pref {item.pref}"
    return [*gone, (item.ns, "tc", f"filter add {place} u32 {match} {to}")]


def _side(item: Filter) -> str:
    return item.parent if item.parent in {"ingress", "egress"} else f"parent {item.parent}"


def _delete_filter(item: Filter) -> Line:
    return (item.ns, "tc", f"filter delete dev {item.dev} {_side(item)} pref {item.pref}")


@_delete.register
def _(item: Filter) -> Line:
    return _delete_filter(item)
