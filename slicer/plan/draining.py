"""How a gateway goes out of use without a lost packet: who still has to leave it, and what step comes next. Pure.

    active ──▶ draining ──▶ leaving ──▶ gone
      ▲           │            │
      └───────────┴────────────┘ wanted again

A draining gateway carries what still comes, while the nodes of its cluster and the gateways of the others take it out
of their groups, each as soon as it has another that works, and say so (`Node.left`). A leaving one is used by nobody
else; its own pods go by the other gateways. Callers: the member plans with it, the hub shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from slicer.model.clusters import Drain, Gateway, GatewayState, Node
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import ConflictError, NotFoundError
from slicer.model.slices import SliceState
from slicer.plan.views import peers_of

LINGER_S = 2.0
"""After the last one has left: what it sent before may still wait in a queue on the way."""
FORCE_S = 60.0
"""With force: so long each of the two steps waits for those that have not left, silent or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainSlot:
    """One gateway slot that a drained node still has."""

    tunnel_set: int
    slot: int
    state: GatewayState


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatus:
    """How far a drain is."""

    state: str
    """`draining`, or `drained` when the node has no slot any more."""
    slots: tuple[DrainSlot, ...] = ()
    waiting_for: tuple[str, ...] = ()
    """`cluster/node` of those that have not said yet that they send nothing through it."""


def drained_nodes(documents: Documents, cluster: str) -> frozenset[str]:
    """Nodes of the cluster that are to be no gateways."""
    return frozenset(drain.node for drain in of_kind(documents, Drain) if drain.cluster == cluster)


def awaited(gateway: Gateway, documents: Documents) -> tuple[str, ...]:
    """`cluster/node` of all that have to leave this gateway before its next step, sorted; empty for an active one."""
    others = _others(gateway, documents)
    if gateway.state is GatewayState.ACTIVE or not others:
        return ()
    nodes = [node for node in of_kind(documents, Node) if node.cluster == gateway.cluster]
    if gateway.state is GatewayState.LEAVING:
        return _missing(gateway, [node for node in nodes if node.name == gateway.node], ())
    place = (gateway.cluster, gateway.slot)
    remotes = [p for g, peers in peers_of(gateway.tunnel_set, documents) if (g.cluster, g.slot) == place for p in peers]
    return _missing(gateway, [n for n in nodes if n.name != gateway.node], remotes)


def drain_status(drain: Drain, documents: Documents) -> DrainStatus:
    """What users see of a drain."""
    held = _gateways_of(drain.cluster, drain.node, documents)
    return DrainStatus(
        state="draining" if held else "drained",
        slots=tuple(DrainSlot(tunnel_set=g.tunnel_set, slot=g.slot, state=g.state) for g in held),
        waiting_for=tuple(sorted({who for gateway in held for who in awaited(gateway, documents)})),
    )


def check_drain(drain: Drain, before: Drain | None, documents: Documents) -> None:
    """The node may be drained: it exists, is a gateway, and its cluster has another one, or force is given."""
    node = documents.get(f"node/{drain.cluster}/{drain.node}")
    if not isinstance(node, Node):
        raise NotFoundError(f"there is no node {drain.node!r} in cluster {drain.cluster!r}")
    held = _gateways_of(drain.cluster, drain.node, documents)
    if before is None and not held:
        why = "" if node.gateway_capable else ", and cannot be one"
        raise ConflictError(f"node {drain.node!r} of cluster {drain.cluster!r} is no gateway{why}", reason="NoGateway")
    alone = [gateway.tunnel_set for gateway in held if not _successors(gateway, documents)]
    if alone and not drain.force:
        slices = ", ".join(_slices_on(drain.cluster, alone, documents))
        raise ConflictError(
            f"node {drain.node!r} is the last gateway of cluster {drain.cluster!r}: without it slice {slices} reaches"
            " no other cluster; drain it with force to do so all the same",
            reason="LastGateway",
        )


def _gateways_of(cluster: str, node: str, documents: Documents) -> list[Gateway]:
    return [gateway for gateway in of_kind(documents, Gateway) if (gateway.cluster, gateway.node) == (cluster, node)]


def _others(gateway: Gateway, documents: Documents) -> list[Gateway]:
    """The gateways that take over."""
    return [
        other
        for other in of_kind(documents, Gateway)
        if (other.cluster, other.tunnel_set) == (gateway.cluster, gateway.tunnel_set)
        and other.slot != gateway.slot
        and other.state is GatewayState.ACTIVE
    ]


def _successors(gateway: Gateway, documents: Documents) -> list[str]:
    """Nodes that are, or can become, gateways in its place."""
    drained = drained_nodes(documents, gateway.cluster) | {gateway.node}
    nodes = [node for node in of_kind(documents, Node) if node.cluster == gateway.cluster and node.gateway_capable]
    return [node.name for node in nodes if node.name not in drained]


def _slices_on(cluster: str, numbers: Collection[int], documents: Documents) -> list[str]:
    states = [state for state in of_kind(documents, SliceState) if state.tunnel_set in numbers]
    return sorted(state.spec.name for state in states if state.spec.has_cluster(cluster))


def _missing(gateway: Gateway, nodes: Iterable[Node], remotes: Iterable[Gateway]) -> tuple[str, ...]:
    inside = [f"{node.cluster}/{node.name}" for node in nodes if gateway.departure not in node.left]
    outside = [f"{other.cluster}/{other.node}" for other in remotes if gateway.departure not in other.left]
    return tuple(sorted({*inside, *outside}))
