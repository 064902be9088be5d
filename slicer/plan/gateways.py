"""Which nodes carry a cluster's traffic to other clusters: gateway slots, one list a tunnel set.

Pure. Caller: the controller's member role. A slot stays with its node for as long as the node can do it: remote
gateways have a device for each slot, so a slot that moves is a tunnel that is made anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from slicer.model.clusters import Gateway, Node
from slicer.model.slices import SliceState


def plan_gateways(
    cluster: str, slices: Iterable[SliceState], nodes: Collection[Node], held: Collection[Gateway]
) -> list[Gateway]:
    """All gateways of the cluster, by (tunnel set, slot); `slices` are those that the cluster is in."""
    capable = {node.name: node for node in nodes if node.gateway_capable and node.cluster == cluster}
    wanted = _wanted(slices, len(capable))
    keep = {(g.tunnel_set, g.slot): g.node for g in held if _stays(g, wanted, capable, cluster)}
    load = Counter(keep.values())
    for number, count in sorted(wanted.items()):
        for slot in range(count):
            if (number, slot) not in keep:
                node = _least_loaded(capable, load, {n for (s, _), n in keep.items() if s == number})
                keep[number, slot] = node
                load[node] += 1
    return [_gateway(cluster, number, slot, capable[name]) for (number, slot), name in sorted(keep.items())]


def _wanted(slices: Iterable[SliceState], capable: int) -> dict[int, int]:
    """Slots in each tunnel set: as many as the most demanding slice of it asks for, where 0 asks for every node."""
    wanted: dict[int, int] = {}
    for state in slices:
        count = min(state.spec.gateways or capable, capable)
        wanted[state.tunnel_set] = max(count, wanted.get(state.tunnel_set, 0))
    return wanted


def _stays(gateway: Gateway, wanted: Mapping[int, int], capable: Mapping[str, Node], cluster: str) -> bool:
    within = gateway.slot < wanted.get(gateway.tunnel_set, 0)
    return within and gateway.cluster == cluster and gateway.node in capable


def _least_loaded(capable: Collection[str], load: Counter[str], busy: Collection[str]) -> str:
    """The node with the fewest slots over all sets, of those that have none in this set; first by name."""
    return min((name for name in capable if name not in busy), key=lambda name: (load[name], name))


def _gateway(cluster: str, number: int, slot: int, node: Node) -> Gateway:
    tunnels = sorted((t for t in node.tunnels if t.tunnel_set == number), key=lambda t: t.index)
    return Gateway(
        cluster=cluster,
        tunnel_set=number,
        slot=slot,
        node=node.name,
        addresses=node.outside_addresses or node.addresses,
        tunnels=tuple(tunnels),
    )
