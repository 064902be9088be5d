"""What an earlier agent of the node knew of gateways and tunnels, read off the groups that it left in the kernel. Pure.

A restarted agent has not probed yet. Were it to take everything for good, a dead gateway, or a new tunnel whose
handshake has not been, would come back into use for some probes: so it begins with what is in use.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from slicer.model.documents import Documents
from slicer.plan.dataplane_slice import Hop, gateway_hops, spread
from slicer.plan.dataplane_topology import Health, LocalState, Topology, TunnelName, topology_of, tunnel_mtu, tunnel_ns
from slicer.plan.dataplane_tunnel import remote_blocks, tunnel_sets
from slicer.plan.dataplane_values import NodePlan

K = TypeVar("K", bound=Hashable)


def assumed_health(view: Documents, local: LocalState, there: NodePlan) -> Health:
    """What the observed data plane avoids; what it has no nexthop objects of was not judged."""
    topology = topology_of(view, local)
    gateways = list(_gateways(topology, there))
    tunnels = list(_tunnels(topology, local, there))
    return Health(
        avoided_gateways=_never(gateways),
        judged_gateways=frozenset(key for key, _ in gateways),
        avoided_tunnels=_never(tunnels),
        judged_tunnels=frozenset(key for key, _ in tunnels),
        cut_off=frozenset(_turned(topology, there)),
        gone=frozenset(_ended(topology, there)),
        path_mtus=frozenset(_narrow(topology, local, there)),
    )


def _never(found: Iterable[tuple[K, bool]]) -> frozenset[K]:
    """Of (key, whether it is used) pairs the keys that no pair says are used."""
    pairs = list(found)
    return frozenset(key for key, _ in pairs) - {key for key, used in pairs if used}


def _gateways(topology: Topology, there: NodePlan) -> Iterator[tuple[tuple[int, str, str], bool]]:
    for here in topology.slices:
        for remote in here.remotes:
            for version in here.versions:
                hops = gateway_hops(here, version)
                for (node, _, _), used in _in_group(here.ns, remote.cluster, version, hops, there):
                    yield (here.tunnel_set, remote.cluster, node), used


def _tunnels(topology: Topology, local: LocalState, there: NodePlan) -> Iterator[tuple[TunnelName, bool]]:
    for of_set in tunnel_sets(topology, local):
        for cluster, ends in of_set.ends.items():
            mine = {end.hop: end for end in ends}
            for version in (4, 6):
                for hop, used in _in_group(tunnel_ns(of_set.number), cluster, version, list(mine), there):
                    yield (of_set.number, cluster, mine[hop].index, mine[hop].generation, mine[hop].lane), used


def _in_group(ns: str, cluster: str, version: int, hops: Sequence[Hop], there: NodePlan) -> Iterator[tuple[Hop, bool]]:
    """Of the members that have their objects in the kernel, whether the group has them."""
    if not hops:
        return
    wanted = spread(ns, cluster, version, hops, hops)
    group = next((group for group in there.groups if group.key == wanted.group.key), None)
    known = {hop.key for hop in there.nexthops}
    for hop, copies in zip(hops, wanted.hops, strict=True):
        if group is not None and any(copy.key in known for copy in copies):
            yield hop, any(copy.id in {*group.members, group.spare} for copy in copies)


def _turned(topology: Topology, there: NodePlan) -> Iterator[tuple[int, str]]:
    """What a gateway's own pods reach by the other gateways."""
    by_group = {(route.ns, route.dst) for route in there.routes if route.nexthop}
    for here in topology.slices:
        for remote in here.remotes if here.slot is not None else ():
            if any((here.ns, block) in by_group for block in remote.blocks):
                yield here.tunnel_set, remote.cluster


def _narrow(topology: Topology, local: LocalState, there: NodePlan) -> Iterator[tuple[int, str, int]]:
    """Clusters to which packets of the devices' size were too large."""
    mtus = {(route.ns, route.dst): route.mtu for route in there.routes if route.mtu}
    for of_set in tunnel_sets(topology, local):
        for cluster in of_set.ends:
            routes = [(tunnel_ns(of_set.number), block) for block in remote_blocks(of_set.slices, cluster)]
            found = min((mtus[route] for route in routes if route in mtus), default=0)
            if 0 < found < tunnel_mtu(local.underlay_mtu):
                yield of_set.number, cluster, found


def _ended(topology: Topology, there: NodePlan) -> Iterator[tuple[int, str]]:
    """Clusters whose blocks lead nowhere."""
    nowhere = {(route.ns, route.dst) for route in there.routes if not route.dev and not route.nexthop}
    for here in topology.slices:
        for remote in here.remotes:
            if any((here.ns, block) in nowhere for block in remote.blocks):
                yield here.tunnel_set, remote.cluster
