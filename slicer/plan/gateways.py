"""Which nodes carry a cluster's traffic to other clusters: gateway slots, one list a tunnel set.

Pure. Caller: the controller's member role. A slot stays with its node for as long as the node can do it: remote
gateways have a device for each slot, so a slot that moves is a tunnel that is made anew. Gateways are spread over
zones, on preferred nodes before others. A gateway that is not wanted any more (drained, one too many, or one too many
in its zone) goes by the steps of `slicer.plan.draining`; one whose node cannot do it any more is gone at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from slicer.model.clusters import Gateway, GatewayState, Node, Surroundings
from slicer.model.slices import SliceState


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What bears on gateways that go out of use."""

    drained: frozenset[str] = frozenset()
    """Nodes that are to be no gateways."""
    done: frozenset[str] = frozenset()
    """Departures whose present step is over: everybody has left, and some time has passed."""
    now_ms: int = 0


_NOBODY = Leaving()


def plan_gateways(
    cluster: str,
    slices: Iterable[SliceState],
    nodes: Collection[Node],
    held: Collection[Gateway],
    leaving: Leaving = _NOBODY,
) -> list[Gateway]:
    """All gateways of the cluster, by (tunnel set, slot); `slices` are those that the cluster is in."""
    capable = {node.name: node for node in nodes if node.gateway_capable and node.cluster == cluster}
    free = sorted(capable.keys() - leaving.drained)
    wanted = _wanted(slices, len(free))
    able = [g for g in held if g.cluster == cluster and g.node in capable and g.tunnel_set in wanted]
    shares = {n: _shares([capable[name] for name in free], wish, _nodes_of(able, n)) for n, wish in wanted.items()}
    found = {number: _kept(able, number, shares[number], capable, leaving) for number in wanted}
    load = Counter(gateway.node for gateways in found.values() for gateway in gateways)
    for number in sorted(wanted):
        active = [gateway.node for gateway in found[number] if gateway.state is GatewayState.ACTIVE]
        missing = shares[number] - Counter(_rank(capable[name]) for name in active)
        for slot, rank in zip(_free_slots(found[number]), sorted(missing.elements()), strict=False):
            busy = {gateway.node for gateway in found[number]}
            node = _least_loaded([name for name in free if _rank(capable[name]) == rank and name not in busy], load)
            found[number].append(Gateway(cluster=cluster, tunnel_set=number, slot=slot, node=node))
            load[node] += 1
    shown = [_shown(gateway, capable[gateway.node]) for gateways in found.values() for gateway in gateways]
    return sorted(shown, key=lambda gateway: (gateway.tunnel_set, gateway.slot))


def surrounded(node: Node, known: Surroundings) -> Node:
    """The node with what others know of it where its agent says nothing."""
    return replace(
        node,
        outside_addresses=node.outside_addresses or known.outside_addresses,
        zone=node.zone or known.zone,
        gateway_capable=node.gateway_capable and known.gateway is not False,
        gateway_preferred=node.gateway_preferred or known.gateway is True,
    )


def _wanted(slices: Iterable[SliceState], free: int) -> dict[int, int]:
    """Gateways in each tunnel set: as many as the most demanding slice of it asks for, where 0 asks for every node."""
    wanted: dict[int, int] = {}
    for state in slices:
        wish = min(state.spec.gateways or free, free)
        wanted[state.tunnel_set] = max(wish, wanted.get(state.tunnel_set, 0))
    return wanted


Rank = tuple[bool, str]
"""(not preferred, zone): nodes of one rank are as good as each other; those that sort first are better."""


def _rank(node: Node) -> Rank:
    return (not node.gateway_preferred, node.zone)


def _nodes_of(gateways: Iterable[Gateway], number: int) -> frozenset[str]:
    return frozenset(gateway.node for gateway in gateways if gateway.tunnel_set == number)


def _shares(free: Sequence[Node], wish: int, holders: Collection[str]) -> Counter[Rank]:
    """How many gateways of a set each rank is to have, `wish` in all.

    One after another goes to a preferred node while there is one, to the zone that has fewest so far, to where one is
    already.
    """
    left, held = Counter(map(_rank, free)), Counter(_rank(node) for node in free if node.name in holders)
    shares: Counter[Rank] = Counter()
    zones: Counter[str] = Counter()
    for _ in range(wish):
        best = min((r for r in left if left[r] > 0), key=lambda r: (r[0], zones[r[1]], shares[r] >= held[r], r[1]))
        left[best] -= 1
        shares[best] += 1
        zones[best[1]] += 1
    return shares


def _kept(
    able: Iterable[Gateway], number: int, shares: Counter[Rank], nodes: Mapping[str, Node], leaving: Leaving
) -> list[Gateway]:
    """What becomes of the gateways that a set has: each rank's share stays, low slots first; the rest go on leaving."""
    mine = sorted((g for g in able if g.tunnel_set == number), key=lambda g: (g.state is GatewayState.LEAVING, g.slot))
    stay: set[int] = set()
    open_ = Counter(shares)
    for gateway in mine:
        rank = _rank(nodes[gateway.node])
        if gateway.node not in leaving.drained and open_[rank] > 0:
            open_[rank] -= 1
            stay.add(gateway.slot)
    stepped = [_in(g, GatewayState.ACTIVE, leaving) if g.slot in stay else _stepped(g, leaving) for g in mine]
    return [gateway for gateway in stepped if gateway is not None]


def _stepped(gateway: Gateway, leaving: Leaving) -> Gateway | None:
    """The gateway after its next step out of use, if that may be done; None when it is out."""
    if gateway.state is GatewayState.ACTIVE:
        return _in(gateway, GatewayState.DRAINING, leaving)
    if gateway.departure not in leaving.done:
        return gateway
    return _in(gateway, GatewayState.LEAVING, leaving) if gateway.state is GatewayState.DRAINING else None


def _in(gateway: Gateway, state: GatewayState, leaving: Leaving) -> Gateway:
    return gateway if gateway.state is state else replace(gateway, state=state, since_ms=leaving.now_ms)


def _free_slots(gateways: Iterable[Gateway]) -> Iterator[int]:
    """Numbers that no gateway of the set has, those that still leave included."""
    taken = {gateway.slot for gateway in gateways}
    return (slot for slot in count() if slot not in taken)


def _least_loaded(names: Iterable[str], load: Mapping[str, int]) -> str:
    """The node with the fewest slots over all sets; first by name."""
    return min(names, key=lambda name: (load[name], name))


def _shown(gateway: Gateway, node: Node) -> Gateway:
    """The gateway with what its node says of itself now."""
    return replace(
        gateway,
        zone=node.zone,
        addresses=node.outside_addresses or node.addresses,
        tunnels=tuple(
            sorted(
                (t for t in node.tunnels if t.tunnel_set == gateway.tunnel_set),
                key=lambda t: (t.index, t.generation, t.lane),
            )
        ),
        uses=tuple(sorted(use.generation for use in node.uses if use.tunnel_set == gateway.tunnel_set)),
        lanes=tuple(use for use in node.lanes if use.tunnel_set == gateway.tunnel_set),
        left=node.left,
    )
