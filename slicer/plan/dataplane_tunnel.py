"""The tunnel namespace of a gateway: the slices' trunks, WireGuard, ways to remote clusters, the filter."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slicer.model.clusters import Gateway, GatewayState, TunnelEndpoint
from slicer.model.names import Address, Prefix
from slicer.plan.dataplane_slice import (
    LOOPBACK_MTU,
    MAIN_RULES,
    NEXT_HOP,
    Hop,
    Spread,
    namespace_settings,
    spread,
    table,
    trunk_device,
    trunk_mac,
)
from slicer.plan.dataplane_topology import (
    LocalState,
    LocalTunnel,
    SliceHere,
    Topology,
    tunnel_mtu,
    tunnel_ns,
)
from slicer.plan.dataplane_values import (
    Item,
    Link,
    LinkAddress,
    Namespace,
    Neighbour,
    Route,
    Rule,
    WgDevice,
    WgPeer,
)
from slicer.plan.lanes import lanes_said, weights_of
from slicer.plan.probing import PROBE_PORT, PROBE_PREFIX

_GENERATION_BITS = 4
"""Two generations are there at a time; more tell them from late packets of others."""
PROBE_RULE = 1
"""Priority of the rule that delivers packets here, of the first lane; others follow. 0 is the rule of the kernel's."""
KEEPALIVE_S = 25
"""Below the 30 s after which common firewalls forget a UDP flow; also what starts the handshake at once."""


def plan_tunnels(of_set: TunnelSet, local: LocalState) -> Iterator[Item]:
    """The namespace of a tunnel set, without its rates."""
    ns, first = tunnel_ns(of_set.number), of_set.slices[0]
    yield Namespace(ns=ns)
    yield from namespace_settings(ns, f"{local.cluster}/{local.node}/{ns}")
    lanes = sorted({tunnel.lane for tunnel in of_set.tunnels} | {0})
    own = [own_probe_prefix(first, local, lane) for lane in lanes]
    yield from _rules(ns, dict(zip(lanes, own, strict=True)))
    for generation, lane in sorted({(t.generation, t.lane) for t in of_set.tunnels} | {(first.generation, 0)}):
        yield LinkAddress(ns=ns, dev="lo", address=own_probe_address(first, local, generation, lane))
    yield Link(ns=ns, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    for tunnel in of_set.tunnels:
        yield from wireguard_device(ns, tunnel, local)
    for here in of_set.slices:
        yield from _trunk_routes(ns, here)
    for cluster, ends in of_set.ends.items():
        yield from _remote_routes(ns, cluster, ends, of_set.slices, local)
        for end in ends:
            yield end.peer
            far = probe_address(cluster, of_set.number, end.index, end.generation, end.lane)
            yield Route(ns=ns, dst=ipaddress.ip_network(far), dev=end.peer.dev)
    yield table(ns, _filter_text(of_set.slices, own))


def probe_address(cluster: str, tunnel_set: int, slot: int, generation: int = 0, lane: int = 0) -> Address:
    """The address of a gateway inside its tunnels: both ends work it out, nobody allocates it.

    PROBE_PREFIX, 4 bits of lane, 12 bits of tunnel set, 48 bits of the cluster's name, 12 bits of slot, 4 bits of
    generation. Different for all peers of a device, which are of different clusters, and for all devices of a peer.
    """
    name = int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:6], "big")
    low = slot << _GENERATION_BITS | generation % (1 << _GENERATION_BITS)
    return PROBE_PREFIX[lane << 76 | tunnel_set << 64 | name << 16 | low]


def own_probe_address(here: SliceHere, local: LocalState, generation: int, lane: int) -> Address:
    """This gateway's own one."""
    return probe_address(local.cluster, here.tunnel_set, here.slot or 0, generation, lane)


def own_probe_prefix(here: SliceHere, local: LocalState, lane: int) -> Prefix:
    """Its own ones of all generations of a lane."""
    return ipaddress.ip_network((own_probe_address(here, local, 0, lane), 128 - _GENERATION_BITS))


def _rules(ns: str, own: Mapping[int, Prefix]) -> Iterator[Rule]:
    """Of all packets only probes are ever delivered *here*: router addresses live behind the trunks.

    The addresses on the trunks are only the source of ICMP errors.
    """
    for version, rules in MAIN_RULES.items():
        yield from (Rule(ns=ns, version=version, priority=p, table=t) for p, t in rules if p != 0)
    for lane, prefix in own.items():
        yield Rule(ns=ns, version=6, priority=PROBE_RULE + lane, table=255, dst=prefix)


def wireguard_device(ns: str, tunnel: LocalTunnel, local: LocalState) -> Iterator[Item]:
    """A WireGuard device with its key, without peers."""
    yield Link(ns=ns, name=tunnel.device, kind="wireguard", mtu=tunnel_mtu(local.underlay_mtu))
    yield WgDevice(
        ns=ns,
        name=tunnel.device,
        port=tunnel.port,
        public_key=tunnel.public_key,
        tunnel=tunnel.key,
    )


def _trunk_routes(ns: str, here: SliceHere) -> Iterator[Item]:
    dev = trunk_device(here.vni)
    yield from (LinkAddress(ns=ns, dev=dev, address=router) for router in here.routers)
    for version in here.versions:
        yield Neighbour(ns=ns, dev=dev, address=NEXT_HOP[version], mac=trunk_mac(here.vni, "slice"))
    for block in here.own_blocks:
        yield Route(ns=ns, dst=block, dev=dev, via=NEXT_HOP[block.version])


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEnd:
    """One peer of one device: the way to one gateway of one remote cluster."""

    cluster: str
    index: int
    """Of the device, and so the slot of the far gateway."""
    generation: int
    lane: int
    surplus: bool
    """No slice asks for so many lanes any more: it is left as soon as others work."""
    closed: bool
    """And this gateway has said that it has left it: the other may take it away."""
    state: GatewayState
    """Of the far gateway."""
    peer: WgPeer
    blocks: tuple[Prefix, ...]
    """Of the far gateway's own node: there is no shorter way to its pods."""

    @property
    def hop(self) -> Hop:
        """As a member of a group."""
        return (self.peer.dev, self.peer.dev, None)

    @property
    def way(self) -> tuple[int, int]:
        """What all its generations have in common."""
        return (self.index, self.lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSet:
    """A tunnel set whose gateway this node is."""

    number: int
    slices: tuple[SliceHere, ...]
    """That it carries, one at least."""
    tunnels: tuple[LocalTunnel, ...]
    """This node's, by index, generation and lane."""
    ends: Mapping[str, tuple[TunnelEnd, ...]]
    """Of those tunnels, by remote cluster; none is empty."""


def tunnel_sets(topology: Topology, local: LocalState) -> Iterator[TunnelSet]:
    """By number; like the topology it is the same whatever the node's health is."""
    ours = [here for here in topology.slices if here.slot is not None]
    for number in sorted({here.tunnel_set for here in ours}):
        slices = tuple(here for here in ours if here.tunnel_set == number)
        tunnels = sorted((t for t in local.tunnels if t.tunnel_set == number), key=lambda tunnel: tunnel.key)
        ends = [end for tunnel in tunnels for end in _tunnel_ends(tunnel, slices, topology, local)]
        by_cluster = {c: tuple(end for end in ends if end.cluster == c) for c in sorted({end.cluster for end in ends})}
        yield TunnelSet(number=number, slices=slices, tunnels=tuple(tunnels), ends=by_cluster)


def _tunnel_ends(
    tunnel: LocalTunnel, slices: Sequence[SliceHere], topology: Topology, local: LocalState
) -> Iterator[TunnelEnd]:
    """Device j talks to the gateway in slot j of each remote cluster, whose device for us is the one of *our* slot.

    Both ends are of one generation and lane: a device whose other end has no key of it yet has no peer there.
    """
    wanted = (slices[0].slot, tunnel.generation, tunnel.lane)
    own = topology.own_gateways[tunnel.tunnel_set]
    for gateway in topology.remote_gateways:
        blocks = remote_blocks(slices, gateway.cluster)
        if (gateway.tunnel_set, gateway.slot) != (tunnel.tunnel_set, tunnel.index) or not blocks:
            continue
        far = next((e for e in gateway.tunnels if (e.index, e.generation, e.lane) == wanted), None)
        address = _reachable(gateway, local)
        surplus = tunnel.lane >= topology.lanes.get((tunnel.tunnel_set, gateway.cluster), 1)
        if far is not None and address is not None:
            yield TunnelEnd(
                cluster=gateway.cluster,
                index=tunnel.index,
                generation=tunnel.generation,
                lane=tunnel.lane,
                surplus=surplus,
                closed=surplus and tunnel.lane not in lanes_said(own, gateway.cluster),
                state=gateway.state,
                peer=_peer(gateway, far, tunnel, address, blocks),
                blocks=_own_blocks(slices, gateway),
            )


def _peer(
    gateway: Gateway, far: TunnelEndpoint, tunnel: LocalTunnel, address: Address, blocks: tuple[Prefix, ...]
) -> WgPeer:
    probe = probe_address(gateway.cluster, gateway.tunnel_set, gateway.slot, tunnel.generation, tunnel.lane)
    return WgPeer(
        ns=tunnel_ns(tunnel.tunnel_set),
        dev=tunnel.device,
        public_key=far.public_key,
        endpoint=(address, far.port),
        allowed_ips=tuple(sorted((*blocks, ipaddress.ip_network(probe)), key=_by_family)),
        keepalive_s=KEEPALIVE_S,
    )


def _reachable(gateway: Gateway, local: LocalState) -> Address | None:
    return next((address for address in gateway.addresses if address.version in local.families), None)


def remote_blocks(slices: Sequence[SliceHere], cluster: str) -> tuple[Prefix, ...]:
    """All that `cluster` holds in these slices, sorted."""
    found = {
        block for here in slices for remote in here.remotes if remote.cluster == cluster for block in remote.blocks
    }
    return tuple(sorted(found, key=_by_family))


def _own_blocks(slices: Sequence[SliceHere], gateway: Gateway) -> tuple[Prefix, ...]:
    """What the gateway's own node holds in these slices, sorted."""
    remotes = (remote for here in slices for remote in here.remotes if remote.cluster == gateway.cluster)
    found = (block for remote in remotes for block in remote.gateways.get(gateway.node, ()))
    return tuple(sorted(found, key=_by_family))


def _by_family(block: Prefix) -> tuple[int, int, int]:
    return (block.version, int(block.network_address), block.prefixlen)


def _remote_routes(
    ns: str, cluster: str, ends: Sequence[TunnelEnd], slices: Sequence[SliceHere], local: LocalState
) -> Iterator[Item]:
    blocks = remote_blocks(slices, cluster)
    members = [end.hop for end in ends]
    used = used_ends(cluster, ends, slices[0], local)
    weights = {end.hop: weight for end, weight in weights_of(used).items()}
    mtu = local.health.path_mtu(slices[0].tunnel_set, cluster, tunnel_mtu(local.underlay_mtu))
    for version in (4, 6):
        wanted = [block for block in blocks if block.version == version]
        if wanted:
            found = spread(ns, cluster, version, members, [end.hop for end in used], weights=weights)
            ways = dict.fromkeys((block for end in ends for block in end.blocks), found.group.id)
            yield from found.items()
            for straight in _straight(ns, ends, used, version):
                yield from straight.items()
                ways |= dict.fromkeys(straight.blocks, straight.id)
            ways = {block: way for block, way in ways.items() if block.version == version}
            ways |= dict.fromkeys(wanted, found.group.id)
            yield from (Route(ns=ns, dst=block, nexthop=ways[block], mtu=mtu) for block in sorted(ways, key=_by_family))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Straight:
    """The way to the pods of a far gateway's own node: the tunnels to it."""

    blocks: tuple[Prefix, ...]
    spread: Spread
    single: bool
    """There is one lane only: then its object is the way, and no group."""

    @property
    def id(self) -> int:
        """Of the nexthop."""
        return self.spread.group.members[0] if self.single else self.spread.group.id

    def items(self) -> Iterator[Item]:
        """What is needed beyond the objects of the tunnels."""
        if not self.single:
            yield self.spread.group


def _straight(ns: str, ends: Sequence[TunnelEnd], used: Sequence[TunnelEnd], version: int) -> Iterator[_Straight]:
    """To each far gateway, tunnels to which are used: while they are not, its pods are reached by all others."""
    for index in sorted({end.index for end in used}):
        mine = [end for end in ends if end.index == index]
        name = f"{mine[0].cluster}/{index}"
        found = spread(ns, name, version, [end.hop for end in mine], [end.hop for end in used if end.index == index])
        yield _Straight(blocks=mine[0].blocks, spread=found, single=len({end.lane for end in mine}) == 1)


def used_ends(cluster: str, ends: Sequence[TunnelEnd], here: SliceHere, local: LocalState) -> list[TunnelEnd]:
    """The tunnels to send through: one generation of each lane, those that get there, those that are not to be left.

    While keys rotate there are two tunnels to a gateway. The new one is used from the moment in which probes come back
    through it, and the old one again should they cease; of tunnels that nothing is known of, the old one.
    """
    ends = _open(ends, here)
    keys = {end: (here.tunnel_set, cluster, end.index, end.generation, end.lane) for end in ends}
    judged = [end for end in ends if keys[end] in local.health.judged_tunnels]
    good = [end for end in judged or ends if keys[end] not in local.health.avoided_tunnels]
    chosen = [
        _chosen([end for end in ends if end.way == way], good if judged else [], judged, here.generation)
        for way in sorted({end.way for end in ends})
    ]
    usable = [end for end in chosen if end in good]
    usable = [end for end in usable if not end.surplus] or usable
    return [end for end in usable if end.state is GatewayState.ACTIVE] or usable or chosen


def _open(ends: Sequence[TunnelEnd], here: SliceHere) -> Sequence[TunnelEnd]:
    """Without the tunnels that this gateway has said it uses no more, as far as others remain."""
    there = [end for end in ends if end.state is not GatewayState.LEAVING] or ends
    there = [end for end in there if not end.closed] or there
    now = [end for end in there if end.generation == here.generation]
    return now if here.pledged and now else there


def _chosen(
    ends: Sequence[TunnelEnd], proved: Sequence[TunnelEnd], judged: Sequence[TunnelEnd], generation: int
) -> TunnelEnd:
    """The device of the generation in force if it is proved, else one that is, else one that is known, else the old."""
    by_wish = sorted(ends, key=lambda end: (end.generation != generation, -end.generation))
    known = [end for end in by_wish if end in proved] or [end for end in by_wish if end in judged]
    return (known or by_wish[-1:])[0]


def _filter_text(slices: Sequence[SliceHere], own: Sequence[Prefix]) -> str:
    """A packet passes only between the trunk of a slice and a tunnel, from and to addresses of that slice's prefix.

    Only probes are taken in, and only out of tunnels, where WireGuard vouches for their source.
    """
    elements = {
        version: [
            f'"{trunk_device(here.vni)}" . {prefix} . {prefix}'
            for here in slices
            for prefix in here.prefixes
            if prefix.version == version
        ]
        for version in (4, 6)
    }
    ways = {4: "ip saddr . ip daddr @slices4", 6: "ip6 saddr . ip6 daddr @slices6"}
    return "\n".join(
        [
            "  counter foreign { }",
            *(_set(version, found) for version, found in elements.items()),
            "  chain forward {",
            "    type filter hook forward priority filter; policy drop;",
            *(f"    ip6 {end} {PROBE_PREFIX} counter name foreign drop" for end in ("saddr", "daddr")),
            "    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu",
            *(f'    oifname "w*" iifname . {way} counter accept' for way in ways.values()),
            *(f'    iifname "w*" oifname . {way} counter accept' for way in ways.values()),
            "    counter name foreign",
            "  }",
            "  chain input {",
            "    type filter hook input priority filter; policy drop;",
            *(f'    iifname "w*" ip6 saddr {PROBE_PREFIX} ip6 daddr {to} udp dport {PROBE_PORT} accept' for to in own),
            "    counter name foreign",
            "  }",
        ]
    )


def _set(version: int, elements: list[str]) -> str:
    kind = f"type ifname . ipv{version}_addr . ipv{version}_addr; flags interval;"
    body = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"  set slices{version} {{ {kind}{body} }}"
