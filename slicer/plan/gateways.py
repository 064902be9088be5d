"""Which nodes carry a cluster's traffic to other clusters: gateway slots, one list a tunnel set.

Pure. Caller: the controller's member role. A slot stays with its node for as long as the node can do it: remote
gateways have a device for each slot, so a slot that moves is a tunnel that is made anew. A gateway that is not wanted
any more (drained, or one too many) goes by the steps of `slicer.plan.draining`; one whose node cannot do it any more is
gone at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice

from slicer.model.clusters import Gateway, GatewayState, Node
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
    found = {number: _kept(able, number, wish, leaving) for number, wish in wanted.items()}
    load = Counter(gateway.node for gateways in found.values() for gateway in gateways)
    for number, wish in sorted(wanted.items()):
        active = [gateway for gateway in found[number] if gateway.state is GatewayState.ACTIVE]
        for slot in islice(_free_slots(found[number]), wish - len(active)):
            node = _least_loaded(free, load, {gateway.node for gateway in found[number]})
            found[number].append(Gateway(cluster=cluster, tunnel_set=number, slot=slot, node=node))
            load[node] += 1
    shown = [_shown(gateway, capable[gateway.node]) for gateways in found.values() for gateway in gateways]
    return sorted(shown, key=lambda gateway: (gateway.tunnel_set, gateway.slot))


def _wanted(slices: Iterable[SliceState], free: int) -> dict[int, int]:
    """Gateways in each tunnel set: as many as the most demanding slice of it asks for, where 0 asks for every node."""
    wanted: dict[int, int] = {}
    for state in slices:
        wish = min(state.spec.gateways or free, free)
        wanted[state.tunnel_set] = max(wish, wanted.get(state.tunnel_set, 0))
    return wanted


def _kept(able: Iterable[Gateway], number: int, wish: int, leaving: Leaving) -> list[Gateway]:
    """What becomes of the gateways that a set has: `wish` of them stay, low slots first; the others go on leaving."""
    mine = sorted((g for g in able if g.tunnel_set == number), key=lambda g: (g.state is GatewayState.LEAVING, g.slot))
    stay = {gateway.slot for gateway in [g for g in mine if g.node not in leaving.drained][:wish]}
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


def _least_loaded(free: Collection[str], load: Mapping[str, int], busy: Collection[str]) -> str:
    """The node with the fewest slots over all sets, of those that have none in this set; first by name."""
    return min((name for name in free if name not in busy), key=lambda name: (load[name], name))


def _shown(gateway: Gateway, node: Node) -> Gateway:
    """The gateway with what its node says of itself now."""
    return replace(
        gateway,
        addresses=node.outside_addresses or node.addresses,
        tunnels=tuple(
            sorted(
                (t for t in node.tunnels if t.tunnel_set == gateway.tunnel_set), key=lambda t: (t.index, t.generation)
            )
        ),
        uses=tuple(sorted(use.generation for use in node.uses if use.tunnel_set == gateway.tunnel_set)),
        left=node.left,
    )
