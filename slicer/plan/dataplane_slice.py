"""The slice namespace of one node: pods' routes, VXLAN to other nodes, the way to other clusters, the packet filter."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from zlib import crc32

from slicer.model.attachments import Attachment
from slicer.model.names import Address, Prefix
from slicer.plan.dataplane_topology import VXLAN_OVERHEAD, HostRoute, LocalState, SliceHere, pod_mtu, tunnel_ns
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

NEXT_HOP: dict[int, Address] = {
    4: ipaddress.IPv4Address("169.254.1.1"),
    6: ipaddress.IPv6Address("fe80::1"),
}
"""Next hop of pods and across the trunk, by family: belongs to nobody, the neighbour entry alone gives it a meaning."""
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
    yield from _rules(here.ns)
    yield Link(ns=here.ns, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    yield _vxlan(here, local)
    if here.slot is not None:
        yield from trunk(here, local)
        yield from _toward_trunk(here)
    yield from (LinkAddress(ns=here.ns, dev="lo", address=router) for router in here.routers)
    for node in here.neighbours:
        yield from _node(here.ns, node)
    yield from _remote_routes(here)
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


def _rules(ns: str) -> Iterator[Rule]:
    for version, rules in MAIN_RULES.items():
        yield from (Rule(ns=ns, version=version, priority=priority, table=table) for priority, table in rules)


def _vxlan(here: SliceHere, local: LocalState) -> Link:
    underlay = local.addresses[0]
    return Link(
        ns=here.ns,
        name="vx0",
        kind="vxlan",
        mtu=local.underlay_mtu - VXLAN_OVERHEAD[underlay.version],
        mac=local.vtep_mac,
        vxlan=Vxlan(vni=here.vni, port=local.vxlan_port, local=underlay),
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
    mtu = pod_mtu(local.underlay_mtu)
    yield Link(ns=here.ns, name="tk0", kind="veth", mtu=mtu, mac=trunk_mac(here.vni, "slice"), peer=other)
    yield Link(ns=other[0], name=other[1], kind="veth", mtu=mtu, mac=trunk_mac(here.vni, "tunnel"))


def _toward_trunk(here: SliceHere) -> Iterator[Item]:
    """A gateway sends what is for other clusters through its own tunnels."""
    for version in here.versions:
        yield Neighbour(ns=here.ns, dev="tk0", address=NEXT_HOP[version], mac=trunk_mac(here.vni, "tunnel"))
    for remote in here.remotes:
        for block in remote.blocks:
            yield Route(ns=here.ns, dst=block, dev="tk0", via=NEXT_HOP[block.version])


def _node(ns: str, node: Node) -> Iterator[Item]:
    yield Fdb(ns=ns, dev="vx0", mac=node.mac, dst=node.underlay)
    for router in node.routers:
        yield Neighbour(ns=ns, dev="vx0", address=router, mac=node.mac)
    for block in node.blocks:
        via = _router(node.routers, block.version)
        if via is not None:
            yield Route(ns=ns, dst=block, dev="vx0", via=via)


def _router(routers: tuple[Address, ...], version: int) -> Address | None:
    return next((router for router in routers if router.version == version), None)


def _remote_routes(here: SliceHere) -> Iterator[Item]:
    """A node that is no gateway spreads what is for other clusters over the cluster's gateways."""
    if here.slot is not None:
        return
    ways = [node for name in here.gateways for node in here.neighbours if node.node == name]
    for version in here.versions:
        hops = [(node.node, "vx0", _router(node.routers, version)) for node in ways]
        members = [hop for hop in hops if hop[2] is not None]
        for remote in here.remotes:
            blocks = [block for block in remote.blocks if block.version == version]
            yield from spread(here.ns, f"{remote.cluster}/{version}", version, members, blocks)


def spread(
    ns: str, name: str, version: int, members: list[tuple[str, str, Address | None]], blocks: list[Prefix]
) -> Iterator[Item]:
    """Routes to `blocks` through a resilient group over `members` (name, device, next hop); nothing without members.

    A group of one member bypasses its buckets (they do not count as used, so that a second member would take busy flows
    away at once): a second nexthop object of the same member keeps them in use.
    """
    if not members or not blocks:
        return
    copies = 2 if len(members) == 1 else 1
    hops = [
        Nexthop(ns=ns, id=_id(f"{who}/{version}/{copy}"), version=version, dev=dev, via=via)
        for who, dev, via in members
        for copy in range(copies)
    ]
    group = NexthopGroup(
        ns=ns,
        id=_id(f"group/{name}"),
        members=tuple(sorted(hop.id for hop in hops)),
        buckets=BUCKETS,
        idle_s=IDLE_S,
    )
    yield from hops
    yield group
    yield from (Route(ns=ns, dst=block, nexthop=group.id) for block in blocks)


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
            "    counter name foreign",
            "  }",
        ]
    )
