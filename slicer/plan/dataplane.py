"""The data plane of one node, planned: from the node's view and its own knowledge to every kernel object of ours.

Pure. The agent calls `wanted_tunnels` (to make keys) and `plan_node`; `slicer.kernel.dataplane` puts the plan into
the kernel. `docs/explain/data-plane.md` has the picture and the reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from slicer.model.clusters import Gateway
from slicer.model.documents import Documents, of_kind
from slicer.model.slices import SliceState
from slicer.plan.dataplane_mesh import plan_mesh
from slicer.plan.dataplane_qos import plan_pod_rates, plan_slice_rates
from slicer.plan.dataplane_slice import plan_slice
from slicer.plan.dataplane_topology import (
    Health,
    HostRoute,
    LocalState,
    LocalTunnel,
    Topology,
    pod_mtu,
    problems_of,
    slice_ns,
    topology_of,
)
from slicer.plan.dataplane_tunnel import plan_tunnels, tunnel_sets
from slicer.plan.dataplane_values import Item, NodePlan, plan_of
from slicer.plan.lanes import lanes_asked, lanes_said
from slicer.plan.mesh import MESH_TUNNEL, is_meshed
from slicer.plan.rotation import generations

__all__ = [
    "Health",
    "HostRoute",
    "LocalState",
    "LocalTunnel",
    "plan_node",
    "pod_mtu",
    "problems_of",
    "slice_ns",
    "wanted_tunnels",
]


def wanted_tunnels(view: Documents, cluster: str, node: str) -> frozenset[tuple[int, int, int, int]]:
    """(tunnel set, index, generation, lane) of each WireGuard device that this node needs.

    One for each slot that remote clusters use and each lane that is asked for, of the generation in force; and those
    that it has of other generations and lanes through which it or a remote gateway still sends. And the one of the
    mesh, for slices that are encrypted everywhere.
    """
    gateways = of_kind(view, Gateway)
    mine = {g.tunnel_set: g for g in gateways if (g.cluster, g.node) == (cluster, node)}
    states = [state for state in of_kind(view, SliceState) if state.spec.has_cluster(cluster)]
    asked = lanes_asked(states, cluster, gateways)
    remote = [g for g in gateways if g.tunnel_set in mine and (g.tunnel_set, g.cluster) in asked]
    in_force = generations(view)
    wanted = {
        (g.tunnel_set, g.slot, in_force.get(g.tunnel_set, 0), lane)
        for g in remote
        for lane in range(asked[g.tunnel_set, g.cluster])
    }
    for number, own in mine.items():
        far = [g for g in remote if g.tunnel_set == number]
        used = {use for g in (*far, own) for use in _uses(g)}
        lanes = {(g.slot, lane) for g in far for lane in _lanes(own, g, asked[number, g.cluster])}
        held = [end for end in own.tunnels if end.generation in used and (end.index, end.lane) in lanes]
        wanted |= {(number, end.index, end.generation, end.lane) for end in held}
    return frozenset(wanted | ({MESH_TUNNEL} if any(is_meshed(state.spec) for state in states) else set()))


def _uses(gateway: Gateway) -> Iterable[int]:
    """Of a gateway that has not said what it sends through, all that it has is taken for used."""
    return gateway.uses or {end.generation for end in gateway.tunnels}


def _lanes(own: Gateway, far: Gateway, asked: int) -> frozenset[int]:
    """Between two gateways: those that are asked for, and those through which one of them may still send."""
    return frozenset(range(asked)) | lanes_said(own, far.cluster) | lanes_said(far, own.cluster)


def plan_node(view: Documents, local: LocalState) -> NodePlan:
    """Everything of ours that belongs on this node; the order of the input does not matter."""
    return plan_of(_items(topology_of(view, local), local))


def _items(topology: Topology, local: LocalState) -> Iterator[Item]:
    yield from plan_mesh(topology, local)
    for here in topology.slices:
        yield from plan_slice(here, local)
        attachments = [attachment for attachment in local.attachments if attachment.slice == here.name]
        yield from plan_pod_rates(here.ns, attachments, local.leaf, pod_mtu(local.underlay_mtu, here.encryption))
    for of_set in tunnel_sets(topology, local):
        yield from plan_tunnels(of_set, local)
        yield from plan_slice_rates(of_set.number, of_set.slices, local)
