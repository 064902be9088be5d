"""What a node says of the ways that it sends by: which generations of tunnels, and which gateways it has left. Pure.

Said after a reconcile that was read back, so that others may take away what is not used any more. Caller: the agent.
"""

from __future__ import annotations

from collections.abc import Collection

from slicer.model.clusters import Gateway, GatewayState, TunnelUse
from slicer.model.documents import Documents, of_kind
from slicer.plan.dataplane_slice import gateway_hops, sends_by_others, used_gateways
from slicer.plan.dataplane_topology import LocalState, SliceHere, Topology, topology_of
from slicer.plan.dataplane_tunnel import TunnelEnd, tunnel_ends, used_ends

_Sending = dict[int, list[TunnelEnd]]


def tunnel_uses(view: Documents, local: LocalState) -> tuple[TunnelUse, ...]:
    """The generations of each tunnel set whose gateway this node is through which it sends, sorted."""
    sending = _sending(topology_of(view, local), local)
    found = {(number, end.generation) for number, ends in sending.items() for end in ends}
    return tuple(TunnelUse(tunnel_set=number, generation=generation) for number, generation in sorted(found))


def departures(view: Documents, local: LocalState) -> tuple[str, ...]:
    """Departures of the gateways that this node has left, sorted."""
    topology = topology_of(view, local)
    sending = _sending(topology, local)
    going = [gateway for gateway in of_kind(view, Gateway) if gateway.state is not GatewayState.ACTIVE]
    return tuple(sorted(gateway.departure for gateway in going if _has_left(gateway, topology, sending, local)))


def _sending(topology: Topology, local: LocalState) -> _Sending:
    """The tunnels that this node sends through, by tunnel set."""
    found: _Sending = {}
    for number in sorted({here.tunnel_set for here in topology.slices if here.slot is not None}):
        slices = [here for here in topology.slices if here.tunnel_set == number and here.slot is not None]
        tunnels = [tunnel for tunnel in local.tunnels if tunnel.tunnel_set == number]
        ends = [end for tunnel in tunnels for end in tunnel_ends(tunnel, slices, topology, local)]
        found[number] = [
            end
            for cluster in sorted({end.cluster for end in ends})
            for end in used_ends(cluster, [e for e in ends if e.cluster == cluster], slices[0], local)
        ]
    return found


def _has_left(gateway: Gateway, topology: Topology, sending: _Sending, local: LocalState) -> bool:
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
