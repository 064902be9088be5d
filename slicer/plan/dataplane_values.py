"""What the data plane of one node is made of: one frozen value for each kernel object that carries our mark.

The planner makes them, the observer reads them back from the kernel, the diff compares the two; nothing else is needed.
`ns` names the network namespace. Every value has a `key`, which says *which* object it is; the other fields say *how*
it is. Lists in a NodePlan are sorted, so that two plans with the same content are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Protocol

from slicer.model.names import Address, Prefix
from slicer.plan.sorting import sort_key

ROUTE_PROTOCOL = 83
"""rtm_protocol of our routes and nexthops ('S'); free in /etc/iproute2/rt_protos."""
TABLE_NAME = "slicer"
"""Our nftables table (family inet) in each of our namespaces."""


class Item(Protocol):
    """A kernel object in one namespace."""

    @property
    def ns(self) -> str:
        """Name of the network namespace."""

    @property
    def key(self) -> tuple[object, ...]:
        """Which object of its kind this is, on the whole node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A named network namespace."""

    ns: str

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A kernel setting of one namespace; an `optional` one may not exist in older kernels."""

    ns: str
    name: str
    """As a path below /proc/sys: `net/ipv4/ip_forward`."""
    value: str
    optional: bool = field(default=False, compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """What cannot be changed in a VXLAN device once it is made. Its UDP socket is in `socket_ns`; empty: the host's."""

    vni: int
    port: int
    local: Address
    socket_ns: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network device. `mac` empty means that any will do."""

    ns: str
    name: str
    kind: str
    """loopback, veth, vxlan, ifb or wireguard."""
    mtu: int
    mac: str = ""
    up: bool = True
    vxlan: Vxlan | None = None
    peer: tuple[str, str] = field(default=("", ""), compare=False)
    """veth: namespace and name of the other end, in the end that is made first; ("", "") in the other."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAddress:
    """An address of full length on a device."""

    ns: str
    dev: str
    address: Address

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A permanent neighbour entry."""

    ns: str
    dev: str
    address: Address
    mac: str

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdb:
    """A VXLAN forwarding entry: frames to `mac` go to the underlay address `dst`."""

    ns: str
    dev: str
    mac: str
    dst: Address

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.mac)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nexthop:
    """A nexthop object: a device, and a next hop on it if `via` is given."""

    ns: str
    id: int
    version: int
    dev: str
    via: Address | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NexthopGroup:
    """A resilient group of nexthop objects, sorted by id.

    A group of one entry bypasses its buckets (they do not count as used, so that a second member would take busy flows
    away at once). So a lone member has a `spare` beside it: another object that leads the same way, of so little
    weight that no bucket is its own: none moves when a real second member comes.
    """

    ns: str
    id: int
    members: tuple[int, ...]
    weights: tuple[int, ...] = ()
    """Of each member, 1 to 254; empty where all have the same."""
    spare: int = 0
    buckets: int
    idle_s: int
    """A bucket that was idle this long may move to another member."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A routing rule: at `priority`, look into `table`; for everything, or only for packets to `dst`."""

    ns: str
    version: int
    priority: int
    table: int
    dst: Prefix | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.version, self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route in the main table: by `nexthop` (an object or group), or `dev` and perhaps `via`; else unreachable."""

    ns: str
    dst: Prefix
    dev: str = ""
    via: Address | None = None
    nexthop: int = 0
    mtu: int = 0
    """bytes; 0 leaves it to the device. IPv4 routes of one nexthop share it unless each of them says one."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Our nftables table of one namespace. Equal digests mean the same rules, untouched since they were loaded."""

    ns: str
    digest: str
    text: str = field(default="", compare=False)
    """Statements inside `table inet slicer { … }`."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qdisc:
    """A queueing discipline: `root`, a leaf of a class (`1:10`) or `clsact`. Numbers are kind-specific."""

    ns: str
    dev: str
    parent: str
    handle: str
    """Major number in hex with a colon: `1:`."""
    kind: str
    """htb, tbf, pfifo, fq_codel or clsact."""
    default: int = 0
    """htb: minor number of the class for packets that no filter chose; 0 lets them pass unshaped."""
    rate_bps: int = 0
    """tbf only."""
    burst_bytes: int = field(default=0, compare=False)
    """tbf only; the kernel keeps it as a time, rounded, so that it is not compared."""
    limit: int = 0
    """pfifo: packets."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class HtbClass:
    """An HTB class: what it is promised, what it may borrow, and in which order it is served."""

    ns: str
    dev: str
    parent: str
    classid: str
    rate_bps: int
    ceil_bps: int
    prio: int = 0
    burst_bytes: int = field(default=0, compare=False)
    """0: what suits the rate. Not compared, as in Qdisc."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.classid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A u32 filter on source and destination: into a class (`flowid`), or to another device (`redirect`)."""

    ns: str
    dev: str
    parent: str
    """`1:` for the classes of an HTB; `ingress` or `egress` of a clsact."""
    pref: int
    protocol: str
    """all, ip or ipv6."""
    src: Prefix | None = None
    dst: Prefix | None = None
    flowid: str = ""
    redirect: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.parent, self.pref)


@dataclass(frozen=True, slots=True, kw_only=True)
class WgDevice:
    """Identity of a WireGuard device; its private key lies on the node's disk under (set, index, generation, lane)."""

    ns: str
    name: str
    port: int
    public_key: str
    tunnel: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class WgPeer:
    """A peer of a WireGuard device."""

    ns: str
    dev: str
    public_key: str
    endpoint: tuple[Address, int] | None
    """Address and port; None in an observed peer means that it has none yet."""
    allowed_ips: tuple[Prefix, ...]
    keepalive_s: int
    alive: bool = field(default=False, compare=False)
    """Observed only: there is a session, so the endpoint is where the peer really is (it may have roamed)."""

    @property
    def key(self) -> tuple[object, ...]:
        return (self.ns, self.dev, self.public_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """Everything of ours on one node, desired or observed; each list is sorted by key.

    The lists stand in the order in which they are added: packet filter before devices, handshakes early, routes late.
    """

    namespaces: tuple[Namespace, ...] = ()
    tables: tuple[Table, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    links: tuple[Link, ...] = ()
    wg_devices: tuple[WgDevice, ...] = ()
    wg_peers: tuple[WgPeer, ...] = ()
    addresses: tuple[LinkAddress, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[Fdb, ...] = ()
    nexthops: tuple[Nexthop, ...] = ()
    groups: tuple[NexthopGroup, ...] = ()
    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    qdiscs: tuple[Qdisc, ...] = ()
    classes: tuple[HtbClass, ...] = ()
    filters: tuple[Filter, ...] = ()

    def items(self) -> tuple[Item, ...]:
        """All values, kind by kind."""
        return tuple(item for kind in fields(self) for item in getattr(self, kind.name))


_FIELD_OF: dict[type, str] = {
    Namespace: "namespaces",
    Sysctl: "sysctls",
    Link: "links",
    WgDevice: "wg_devices",
    LinkAddress: "addresses",
    Neighbour: "neighbours",
    Fdb: "fdb",
    Nexthop: "nexthops",
    NexthopGroup: "groups",
    Table: "tables",
    Rule: "rules",
    Route: "routes",
    Qdisc: "qdiscs",
    HtbClass: "classes",
    Filter: "filters",
    WgPeer: "wg_peers",
}


def list_of(item: Item) -> str:
    """Name of the list in which a plan keeps this value."""
    return _FIELD_OF[type(item)]


def plan_of(items: Iterable[Item]) -> NodePlan:
    """The plan that holds `items`, each in its list, sorted; of two with the same key the last counts."""
    lists: dict[str, dict[tuple[object, ...], Item]] = {}
    for item in items:
        lists.setdefault(_FIELD_OF[type(item)], {})[item.key] = item
    return _plan({name: sorted(found.values(), key=order) for name, found in lists.items()})


def collect(items: Iterable[Item]) -> NodePlan:
    """The same for what was observed, in the order of the observation: sorting it would cost more than reading it."""
    lists: dict[str, list[Item]] = {}
    for item in items:
        lists.setdefault(_FIELD_OF[type(item)], []).append(item)
    return _plan(lists)


def _plan(lists: dict[str, list[Item]]) -> NodePlan:
    return NodePlan(**{name: tuple(found) for name, found in lists.items()})  # type: ignore[arg-type]


def order(item: Item) -> tuple[str, ...]:
    """What values of one kind are sorted by: their key, numbers as numbers, IPv4 before IPv6."""
    return sort_key(item.key)
