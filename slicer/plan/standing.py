"""What a node says of the ways that it sends by: which generations of tunnels, and which gateways it has left. Pure.

Said after a reconcile that was read back, so that others may take away what is not used any more. Caller: the agent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from slicer.model.clusters import Gateway, GatewayState, LaneUse, TunnelUse
from slicer.model.documents import Documents, of_kind
from slicer.plan.dataplane_slice import gateway_hops, sends_by_others, used_gateways
from slicer.plan.dataplane_topology import Health, LocalState, SliceHere, Topology, topology_of
from slicer.plan.dataplane_tunnel import TunnelEnd, TunnelSet, tunnel_sets, used_ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a node says of itself."""

    uses: tuple[TunnelUse, ...] = ()
    """The generations of each tunnel set whose gateway it is through which it sends, sorted."""
    lanes: tuple[LaneUse, ...] = ()
    """The parallel tunnels beyond the first through which it sends, sorted."""
    left: tuple[str, ...] = ()
    """Departures of the gateways that it has left, sorted."""


def standing_of(view: Documents, local: LocalState, health: Iterable[Health] = ()) -> Standing:
    """What holds whether `local.health` or one of `health` is in force: what is used in any, what is left in all."""
    topology = topology_of(view, local)
    sets = list(tunnel_sets(topology, local))
    going = [gateway for gateway in of_kind(view, Gateway) if gateway.state is not GatewayState.ACTIVE]
    uses: set[tuple[int, int]] = set()
    lanes: set[tuple[int, str, int]] = set()
    left = {gateway.departure for gateway in going}
    for state in (local, *(replace(local, health=other) for other in health)):
        sending = {of_set.number: _sending(of_set, state) for of_set in sets}
        uses |= {(number, end.generation) for number, ends in sending.items() for end in ends}
        lanes |= {(number, end.cluster, end.lane) for number, ends in sending.items() for end in ends if end.lane}
        left &= {gateway.departure for gateway in going if _has_left(gateway, topology, sending, state)}
    return Standing(
        uses=tuple(TunnelUse(tunnel_set=number, generation=generation) for number, generation in sorted(uses)),
        lanes=tuple(LaneUse(tunnel_set=n, remote_cluster=cluster, lane=lane) for n, cluster, lane in sorted(lanes)),
        left=tuple(sorted(left)),
    )


def _sending(of_set: TunnelSet, local: LocalState) -> list[TunnelEnd]:
    """The tunnels that this node sends through."""
    found = (used_ends(cluster, ends, of_set.slices[0], local) for cluster, ends in of_set.ends.items())
    return [end for ends in found for end in ends]


def _has_left(gateway: Gateway, topology: Topology, sending: dict[int, list[TunnelEnd]], local: LocalState) -> bool:
    number = gateway.tunnel_set
    if gateway.cluster != local.cluster:
        used = [(end.cluster, end.index) for end in sending.get(number, ())]
        return (gateway.cluster, gateway.slot) not in used
    slices = [here for here in topology.slices if here.tunnel_set == number]
    if gateway.node == local.node:
        return all(sends_by_others(here, remote.cluster, local) for here in slices for remote in here.remotes)
    return all(gateway.node not in _used(here, local) for here in slices)


def _used(here: SliceHere, local: LocalState) -> Collection[str]:
    """Gateways of this cluster through which the node's own pods send; none, if that is by its own trunk."""
    return {
        node
        for remote in here.remotes
        if here.slot is None or sends_by_others(here, remote.cluster, local)
        for version in here.versions
        for node, _, _ in used_gateways(here, remote.cluster, gateway_hops(here, version), local)
    }
