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
from slicer.plan.probing import PROBE_PORT, PROBE_PREFIX

_GENERATION_BITS = 4
"""Two generations are there at a time; more tell them from late packets of others."""
PROBE_RULE = 1
"""Priority of the one rule that delivers packets here; not 0, which is the rule that the kernel makes."""
KEEPALIVE_S = 25
"""Below the 30 s after which common firewalls forget a UDP flow; also what starts the handshake at once."""


def plan_tunnels(of_set: TunnelSet, local: LocalState) -> Iterator[Item]:
    """The namespace of a tunnel set, without its rates."""
    ns, first = tunnel_ns(of_set.number), of_set.slices[0]
    yield Namespace(ns=ns)
    yield from namespace_settings(ns, f"{local.cluster}/{local.node}/{ns}")
    yield from _rules(ns, own_probe_prefix(first, local))
    for generation in sorted({tunnel.generation for tunnel in of_set.tunnels} | {first.generation}):
        yield LinkAddress(ns=ns, dev="lo", address=own_probe_address(first, local, generation))
    yield Link(ns=ns, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    for tunnel in of_set.tunnels:
        yield from wireguard_device(ns, tunnel, local)
    for here in of_set.slices:
        yield from _trunk_routes(ns, here)
    for cluster, ends in of_set.ends.items():
        yield from _remote_routes(ns, cluster, ends, of_set.slices, local)
        for end in ends:
            yield end.peer
            far = probe_address(cluster, of_set.number, end.index, end.generation)
            yield Route(ns=ns, dst=ipaddress.ip_network(far), dev=end.peer.dev)
    yield table(ns, _filter_text(of_set.slices, own_probe_prefix(first, local)))


def probe_address(cluster: str, tunnel_set: int, slot: int, generation: int = 0) -> Address:
    """The address of a gateway inside its tunnels: both ends work it out, nobody allocates it.

    PROBE_PREFIX, 16 bits of tunnel set, 48 bits of the cluster's name, 12 bits of slot, 4 bits of generation. Different
    for all peers of a device, which are of different clusters, and for the devices of a peer while its keys rotate.
    """
    name = int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:6], "big")
    return PROBE_PREFIX[tunnel_set << 64 | name << 16 | slot << _GENERATION_BITS | generation % (1 << _GENERATION_BITS)]


def own_probe_address(here: SliceHere, local: LocalState, generation: int) -> Address:
    """This gateway's own one."""
    return probe_address(local.cluster, here.tunnel_set, here.slot or 0, generation)


def own_probe_prefix(here: SliceHere, local: LocalState) -> Prefix:
    """Its own ones of all generations."""
    return ipaddress.ip_network((own_probe_address(here, local, 0), 128 - _GENERATION_BITS))


def _rules(ns: str, own: Prefix) -> Iterator[Rule]:
    """Of all packets only probes are ever delivered *here*: router addresses live behind the trunks.

    The addresses on the trunks are only the source of ICMP errors.
    """
    for version, rules in MAIN_RULES.items():
        yield from (Rule(ns=ns, version=version, priority=p, table=t) for p, t in rules if p != 0)
    yield Rule(ns=ns, version=6, priority=PROBE_RULE, table=255, dst=own)


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
    state: GatewayState
    """Of the far gateway."""
    peer: WgPeer
    blocks: tuple[Prefix, ...]
    """Of the far gateway's own node: there is no shorter way to its pods."""

    @property
    def hop(self) -> Hop:
        """As a member of a group."""
        return (self.peer.dev, self.peer.dev, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSet:
    """A tunnel set whose gateway this node is."""

    number: int
    slices: tuple[SliceHere, ...]
    """That it carries, one at least."""
    tunnels: tuple[LocalTunnel, ...]
    """This node's, by index and generation."""
    ends: Mapping[str, tuple[TunnelEnd, ...]]
    """Of those tunnels, by remote cluster; none is empty."""


def tunnel_sets(topology: Topology, local: LocalState) -> Iterator[TunnelSet]:
    """By number; like the topology it is the same whatever the node's health is."""
    ours = [here for here in topology.slices if here.slot is not None]
    for number in sorted({here.tunnel_set for here in ours}):
        slices = tuple(here for here in ours if here.tunnel_set == number)
        tunnels = sorted((t for t in local.tunnels if t.tunnel_set == number), key=lambda t: (t.index, t.generation))
        ends = [end for tunnel in tunnels for end in _tunnel_ends(tunnel, slices, topology, local)]
        by_cluster = {c: tuple(end for end in ends if end.cluster == c) for c in sorted({end.cluster for end in ends})}
        yield TunnelSet(number=number, slices=slices, tunnels=tuple(tunnels), ends=by_cluster)


def _tunnel_ends(
    tunnel: LocalTunnel, slices: Sequence[SliceHere], topology: Topology, local: LocalState
) -> Iterator[TunnelEnd]:
    """Device j talks to the gateway in slot j of each remote cluster, whose device for us is the one of *our* slot.

    Both ends are of one generation: a device whose other end has no key of it yet has no peer there.
    """
    slot = slices[0].slot
    for gateway in topology.remote_gateways:
        blocks = remote_blocks(slices, gateway.cluster)
        if (gateway.tunnel_set, gateway.slot) != (tunnel.tunnel_set, tunnel.index) or not blocks:
            continue
        far = next((end for end in gateway.tunnels if (end.index, end.generation) == (slot, tunnel.generation)), None)
        address = _reachable(gateway, local)
        if far is not None and address is not None:
            yield TunnelEnd(
                cluster=gateway.cluster,
                index=tunnel.index,
                generation=tunnel.generation,
                state=gateway.state,
                peer=_peer(gateway, far, tunnel, address, blocks),
                blocks=_own_blocks(slices, gateway),
            )


def _peer(
    gateway: Gateway, far: TunnelEndpoint, tunnel: LocalTunnel, address: Address, blocks: tuple[Prefix, ...]
) -> WgPeer:
    probe = probe_address(gateway.cluster, gateway.tunnel_set, gateway.slot, tunnel.generation)
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
    used = [end.hop for end in used_ends(cluster, ends, slices[0], local)]
    mtu = local.health.path_mtu(slices[0].tunnel_set, cluster, tunnel_mtu(local.underlay_mtu))
    for version in (4, 6):
        wanted = [block for block in blocks if block.version == version]
        if wanted:
            found = spread(ns, cluster, version, members, used)
            yield from found.items()
            single = {hop: one.id for hop, (one, _) in zip(members, found.hops, strict=True) if hop in used}
            ways = _straight(ends, single, found.group.id, version) | dict.fromkeys(wanted, found.group.id)
            yield from (Route(ns=ns, dst=block, nexthop=ways[block], mtu=mtu) for block in sorted(ways, key=_by_family))


def _straight(ends: Sequence[TunnelEnd], single: Mapping[Hop, int], group: int, version: int) -> dict[Prefix, int]:
    """By block the nexthop to the pods of the far gateways' own nodes: their tunnel, or all while it is not used."""
    blocks = {block: group for end in ends for block in end.blocks if block.version == version}
    used = {block: single[end.hop] for end in ends if end.hop in single for block in end.blocks}
    return {block: used.get(block, group) for block in blocks}


def used_ends(cluster: str, ends: Sequence[TunnelEnd], here: SliceHere, local: LocalState) -> list[TunnelEnd]:
    """The tunnels to send through: one generation of each, those that get there, those that are not to be left.

    While keys rotate there are two tunnels to a gateway. The new one is used from the moment in which probes come back
    through it, and the old one again should they cease; of tunnels that nothing is known of, the old one.
    """
    ends = _open(ends, here)
    keys = {end: (here.tunnel_set, cluster, end.index, end.generation) for end in ends}
    judged = [end for end in ends if keys[end] in local.health.judged_tunnels]
    good = [end for end in judged or ends if keys[end] not in local.health.avoided_tunnels]
    chosen = [
        _chosen([end for end in ends if end.index == index], good if judged else [], judged, here.generation)
        for index in sorted({end.index for end in ends})
    ]
    usable = [end for end in chosen if end in good]
    return [end for end in usable if end.state is GatewayState.ACTIVE] or usable or chosen


def _open(ends: Sequence[TunnelEnd], here: SliceHere) -> Sequence[TunnelEnd]:
    """Without the tunnels that this gateway has said it uses no more, as far as others remain."""
    there = [end for end in ends if end.state is not GatewayState.LEAVING] or ends
    now = [end for end in there if end.generation == here.generation]
    return now if here.pledged and now else there


def _chosen(
    ends: Sequence[TunnelEnd], proved: Sequence[TunnelEnd], judged: Sequence[TunnelEnd], generation: int
) -> TunnelEnd:
    """The device of the generation in force if it is proved, else one that is, else one that is known, else the old."""
    by_wish = sorted(ends, key=lambda end: (end.generation != generation, -end.generation))
    known = [end for end in by_wish if end in proved] or [end for end in by_wish if end in judged]
    return (known or by_wish[-1:])[0]


def _filter_text(slices: Sequence[SliceHere], own: Prefix) -> str:
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
            f'    iifname "w*" ip6 saddr {PROBE_PREFIX} ip6 daddr {own} udp dport {PROBE_PORT} accept',
            "    counter name foreign",
            "  }",
        ]
    )


def _set(version: int, elements: list[str]) -> str:
    kind = f"type ifname . ipv{version}_addr . ipv{version}_addr; flags interval;"
    body = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"  set slices{version} {{ {kind}{body} }}"
