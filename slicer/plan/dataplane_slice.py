"""The slice namespace of one node: pods' routes, VXLAN to other nodes, the way to other clusters, the packet filter."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from slicer.model.attachments import Attachment
from slicer.model.names import Address, Prefix
from slicer.plan.dataplane_topology import (
    VXLAN_OVERHEAD,
    HostRoute,
    LocalState,
    Remote,
    SliceHere,
    pod_mtu,
    tunnel_mtu,
    tunnel_ns,
)
from slicer.plan.dataplane_topology import Neighbour as Node
from slicer.plan.dataplane_values import (
    Fdb,
    Item,
    Link,
    LinkAddress,
    Namespace,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Route,
    Rule,
    Sysctl,
    Table,
    Vxlan,
)
from slicer.plan.mesh import MESH_NS, mesh_address
from slicer.plan.probing import PROBE_PORT

NEXT_HOP: dict[int, Address] = {
    4: ipaddress.IPv4Address("169.254.1.1"),
    6: ipaddress.IPv6Address("fe80::1"),
}
"""Next hop of pods and across the trunk, by family: belongs to nobody, the neighbour entry alone gives it a meaning."""
Hop = tuple[str, str, Address | None]
"""Name, device, next hop."""
BUCKETS = 128
IDLE_S = 120
"""Longer than the pauses of any flow that matters: a busy flow never changes its gateway because another came back."""
LOOPBACK_MTU = 65536
MAIN_RULES = {4: ((0, 255), (32766, 254), (32767, 253)), 6: ((0, 255), (32766, 254))}
"""The rules that the kernel makes in a new namespace: (priority, table) by family."""


def plan_slice(here: SliceHere, local: LocalState) -> Iterator[Item]:
    """Everything in the slice's namespace but the rates of its pods."""
    yield Namespace(ns=here.ns)
    yield from namespace_settings(here.ns, f"{local.cluster}/{local.node}/{here.ns}")
    yield from main_rules(here.ns)
    yield Link(ns=here.ns, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    yield _vxlan(here, local)
    if here.slot is not None:
        yield from trunk(here, local)
        yield from _toward_trunk(here, local)
    yield from (LinkAddress(ns=here.ns, dev="lo", address=router) for router in here.routers)
    for node in here.neighbours:
        yield from _node(here.ns, node)
    yield from _remote_routes(here, local)
    for remote in here.remotes:
        if _is_gone(here, remote, local):
            yield from (Route(ns=here.ns, dst=block) for block in remote.blocks)
    yield from _pods(here, [a for a in local.attachments if a.slice == here.name])
    yield from _host_routes(here, [route for route in local.host_routes if route.slice == here.name], local.node)
    yield table(here.ns, _filter_text(here))


def namespace_settings(ns: str, seed: str) -> Iterator[Sysctl]:
    """Forwarding; no opinion on return paths, which differ here; flows spread by ports, differently on each hop."""
    for name, value in (
        ("ipv4/ip_forward", "1"),
        ("ipv4/fib_multipath_hash_policy", "1"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/fib_multipath_hash_policy", "1"),
        # Each packet without a way is answered, not one a second: else all but a pod's first attempts wait in silence.
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
    ):
        yield Sysctl(ns=ns, name=f"net/{name}", value=value)
    for scope in ("all", "default"):
        yield Sysctl(ns=ns, name=f"net/ipv4/conf/{scope}/rp_filter", value="0")
        yield Sysctl(ns=ns, name=f"net/ipv4/conf/{scope}/send_redirects", value="0")
        yield Sysctl(ns=ns, name=f"net/ipv4/conf/{scope}/accept_redirects", value="0")
        yield Sysctl(ns=ns, name=f"net/ipv6/conf/{scope}/accept_ra", value="0")
        yield Sysctl(ns=ns, name=f"net/ipv6/conf/{scope}/accept_dad", value="0")
    # No link-local addresses: neighbours are static, so that they would only make noise.
    yield Sysctl(ns=ns, name="net/ipv6/conf/default/addr_gen_mode", value="1")
    # An ICMP error of the tunnel namespace has this node's own router address as its source.
    yield Sysctl(ns=ns, name="net/ipv4/conf/all/accept_local", value="1")
    # Without a seed of its own every hop would choose by the same hash, and half of the tunnels stay idle.
    value = str(crc32(seed.encode()) | 1)
    yield Sysctl(ns=ns, name="net/ipv4/fib_multipath_hash_seed", value=value, optional=True)


def main_rules(ns: str) -> Iterator[Rule]:
    """A namespace in which addresses are delivered to as everywhere."""
    for version, rules in MAIN_RULES.items():
        yield from (Rule(ns=ns, version=version, priority=priority, table=table) for priority, table in rules)


def _vxlan(here: SliceHere, local: LocalState) -> Link:
    """Between nodes: over the underlay, or inside the mesh, where its socket is then."""
    if here.is_meshed:
        mtu, vtep, socket_ns = tunnel_mtu(local.underlay_mtu), mesh_address(local.cluster, local.node), MESH_NS
    else:
        mtu, vtep, socket_ns = local.underlay_mtu, local.addresses[0], ""
    return Link(
        ns=here.ns,
        name="vx0",
        kind="vxlan",
        mtu=mtu - VXLAN_OVERHEAD[vtep.version],
        mac=local.vtep_mac,
        vxlan=Vxlan(vni=here.vni, port=local.vxlan_port, local=vtep, socket_ns=socket_ns),
    )


def trunk_device(vni: int) -> str:
    """Name of the trunk's end in the tunnel namespace."""
    return f"tk{vni:06x}"


def trunk_mac(vni: int, side: str) -> str:
    """MAC address of a trunk's end; the pair is alone on its wire, so any two that differ will do."""
    first = {"slice": "02", "tunnel": "06"}[side]
    return f"{first}:73:6c:{vni >> 16:02x}:{vni >> 8 & 255:02x}:{vni & 255:02x}"


def trunk(here: SliceHere, local: LocalState) -> Iterator[Link]:
    """Both ends of the veth between slice and tunnel namespace."""
    other = (tunnel_ns(here.tunnel_set), trunk_device(here.vni))
    mtu = pod_mtu(local.underlay_mtu, here.encryption)
    yield Link(ns=here.ns, name="tk0", kind="veth", mtu=mtu, mac=trunk_mac(here.vni, "slice"), peer=other)
    yield Link(ns=other[0], name=other[1], kind="veth", mtu=mtu, mac=trunk_mac(here.vni, "tunnel"))


def _toward_trunk(here: SliceHere, local: LocalState) -> Iterator[Item]:
    """A gateway sends what is for other clusters through its own tunnels, unless none of them gets there."""
    for version in here.versions:
        yield Neighbour(ns=here.ns, dev="tk0", address=NEXT_HOP[version], mac=trunk_mac(here.vni, "tunnel"))
    for remote in here.remotes:
        if not sends_by_others(here, remote.cluster, local) and not _is_gone(here, remote, local):
            for block in remote.blocks:
                yield Route(ns=here.ns, dst=block, dev="tk0", via=NEXT_HOP[block.version])


def _is_gone(here: SliceHere, remote: Remote, local: LocalState) -> bool:
    """Whether nobody of this cluster gets there any more: a sender is to hear of it, not to wait."""
    return (here.tunnel_set, remote.cluster) in local.health.gone


def sends_by_others(here: SliceHere, cluster: str, local: LocalState) -> bool:
    """Whether this gateway's own pods reach `cluster` by the other gateways.

    So it is when its own tunnels do not get there, are not made or not proved yet while the others are, or when it is
    leaving. Only what starts here goes that way: the packet filter drops what came from another node and would go to a
    third.
    """
    health, number = local.health, here.tunnel_set
    others = [n.node for n in _gateways(here) if (number, cluster, n.node) not in health.avoided_gateways]
    if local.node in here.left and set(others) - here.draining:
        return True
    proved = any((number, cluster) == (of_set, far) for of_set, far, *_ in health.judged_tunnels)
    if not proved and any((number, cluster, node) in health.judged_gateways for node in others):
        return True
    if not proved and local.node in here.keyless and set(others) - here.keyless:
        return True
    return (number, cluster) in health.cut_off and bool(others)


def _gateways(here: SliceHere) -> list[Node]:
    """The cluster's gateways but this node, by slot; without those that everybody has left, if there are others."""
    found = [node for name in here.gateways for node in here.neighbours if node.node == name]
    return [node for node in found if node.node not in here.left] or found


def _node(ns: str, node: Node) -> Iterator[Item]:
    yield Fdb(ns=ns, dev="vx0", mac=node.mac, dst=node.vtep)
    for router in node.routers:
        yield Neighbour(ns=ns, dev="vx0", address=router, mac=node.mac)
    for block in node.blocks:
        via = _router(node.routers, block.version)
        if via is not None:
            yield Route(ns=ns, dst=block, dev="vx0", via=via)


def _router(routers: tuple[Address, ...], version: int) -> Address | None:
    return next((router for router in routers if router.version == version), None)


def _remote_routes(here: SliceHere, local: LocalState) -> Iterator[Item]:
    """A node spreads what is for other clusters over the cluster's gateways, those that get there.

    On a gateway the groups stand by, over the other gateways.
    """
    for version in here.versions:
        for remote in here.remotes:
            members = gateway_hops(here, version)
            blocks = [block for block in remote.blocks if block.version == version]
            if members and blocks:
                used = used_gateways(here, remote.cluster, members, local)
                found = spread(here.ns, remote.cluster, version, members, used)
                yield from found.items()
                by_group = here.slot is None or sends_by_others(here, remote.cluster, local)
                if by_group and not _is_gone(here, remote, local):
                    yield from (Route(ns=here.ns, dst=block, nexthop=found.group.id) for block in blocks)


def gateway_hops(here: SliceHere, version: int) -> list[Hop]:
    """The ways to the cluster's other gateways."""
    hops = [(node.node, "vx0", _router(node.routers, version)) for node in _gateways(here)]
    return [hop for hop in hops if hop[2] is not None]


def used_gateways(here: SliceHere, cluster: str, members: Sequence[Hop], local: LocalState) -> list[Hop]:
    """Those that get to `cluster`; of these those that are not to be left; all, where nothing better is known.

    Where probes know nothing a gateway that has no tunnels yet does not get there.
    """
    number, health = here.tunnel_set, local.health
    judged = {hop[0] for hop in members if (number, cluster, hop[0]) in health.judged_gateways}
    good = [hop for hop in members if (number, cluster, hop[0]) not in health.avoided_gateways]
    good = [hop for hop in good if (hop[0] in judged if judged else hop[0] not in here.keyless)]
    return [hop for hop in good if hop[0] not in here.draining] or good or list(members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A resilient group towards one cluster, and the objects of everything that may be a member of it."""

    hops: tuple[tuple[Nexthop, Nexthop], ...]
    """Of each possible member its object, and a spare one."""
    group: NexthopGroup

    def items(self) -> Iterator[Nexthop | NexthopGroup]:
        """All of it, the group last."""
        yield from (hop for pair in self.hops for hop in pair)
        yield self.group


def spread(
    ns: str,
    cluster: str,
    version: int,
    members: Sequence[Hop],
    used: Sequence[Hop],
    *,
    weights: Mapping[Hop, int] | None = None,
) -> Spread:
    """The ways to `cluster` by those of `members` that are used, at least one; `weights` of these, if they differ.

    The objects of every member are always there, and a spare of each: taking a member out is one change of one group.
    """
    hops = [
        [Nexthop(ns=ns, id=_id(f"{who}/{version}/{copy}"), version=version, dev=dev, via=via) for copy in (0, 1)]
        for who, dev, via in members
    ]
    shares = {_id(f"{hop[0]}/{version}/0"): (weights or {}).get(hop, 1) for hop in used}
    group = NexthopGroup(
        ns=ns,
        id=_id(f"group/{cluster}/{version}"),
        members=tuple(sorted(shares)),
        weights=tuple(shares[member] for member in sorted(shares)) if weights else (),
        spare=_id(f"{used[0][0]}/{version}/1") if len(used) == 1 else 0,
        buckets=BUCKETS,
        idle_s=IDLE_S,
    )
    return Spread(hops=tuple((one, spare) for one, spare in hops), group=group)


def _id(name: str) -> int:
    """A nexthop id that depends on the name only: it stays when others come and go. 31 bits; 0 is not an id."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1 | 1


def _pods(here: SliceHere, attachments: Iterable[Attachment]) -> Iterator[Item]:
    for attachment in attachments:
        for address in attachment.addresses:
            yield Route(ns=here.ns, dst=_full(address), dev=attachment.host_interface)
            yield Neighbour(ns=here.ns, dev=attachment.host_interface, address=address, mac=attachment.mac)


def _host_routes(here: SliceHere, routes: Iterable[HostRoute], me: str) -> Iterator[Item]:
    for route in routes:
        node = next((node for node in here.neighbours if node.node == route.node and node.node != me), None)
        via = _router(node.routers, route.address.version) if node else None
        if via is not None:
            yield Route(ns=here.ns, dst=_full(route.address), dev="vx0", via=via)


def _full(address: Address) -> Prefix:
    return ipaddress.ip_network(address)


def table(ns: str, text: str) -> Table:
    """The table with this text; its digest is what is compared."""
    return Table(ns=ns, text=text, digest=hashlib.sha256(text.encode()).hexdigest()[:16])


_IP = {4: "ip", 6: "ip6"}


_NO_WAY = (
    '    iifname "p*" meta nfproto ipv4 fib daddr type != local fib daddr oif missing'
    " reject with icmp type net-unreachable"
)
"""The kernel's own answer to IPv4 packets without a way comes six times, then once a second, by a setting of the whole
machine (net.ipv4.route.error_burst), so that most attempts of a busy pod would wait in silence. IPv6 has no such."""


def _filter_text(here: SliceHere) -> str:
    """A pod sends with its own address only; packets stay in the slice's prefix; nothing turns round at VXLAN or trunk.

    No conntrack anywhere: the way back of a flow may lead through another gateway.
    """
    dscp = here.qos.dscp if here.qos else None
    marks = [f'    iifname "p*" {_IP[v]} dscp set {dscp}' for v in here.versions] if dscp is not None else []
    passes = [f"{_IP[p.version]} saddr {p} {_IP[p.version]} daddr {p}" for p in here.prefixes]
    return "\n".join(
        [
            "  counter spoofed { }",
            "  counter returning { }",
            "  counter foreign { }",
            "  chain prerouting {",
            "    type filter hook prerouting priority raw; policy accept;",
            '    iifname "p*" fib saddr . iif oif missing counter name spoofed drop',
            *([_NO_WAY] if 4 in here.versions else []),
            *marks,
            "  }",
            "  chain forward {",
            "    type filter hook forward priority filter; policy drop;",
            '    iifname . oifname { "vx0" . "vx0", "tk0" . "tk0" } counter name returning drop',
            "    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu",
            *(f"    {match} counter accept" for match in passes),
            "    counter name foreign",
            "  }",
            "  chain input {",
            "    type filter hook input priority filter; policy drop;",
            '    iifname "lo" accept',
            # ICMP and ICMPv6 by number: nft looks names up in /etc/protocols, which a small system does not have.
            *(f"    {match} meta l4proto {{ 1, 58 }} accept" for match in passes),
            *_probe_rules(here),
            "    counter name foreign",
            "  }",
        ]
    )


def _probe_rules(here: SliceHere) -> Iterator[str]:
    """Nodes of this cluster probe each other by their router addresses, which no pod can have as its source."""
    for version in here.versions:
        routers = [router for node in here.neighbours for router in node.routers if router.version == version]
        mine = _router(here.routers, version)
        if routers and mine is not None:
            ends = f"{_IP[version]} saddr {{ {', '.join(map(str, routers))} }} {_IP[version]} daddr {mine}"
            yield f'    iifname "vx0" {ends} udp dport {PROBE_PORT} accept'
