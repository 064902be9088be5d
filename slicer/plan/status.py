"""How declared things are: the status of slices, clusters and exports, from what was allocated and reported.

Pure. Caller: the REST API. Conditions are Kubernetes' form: type, status, a CamelCase reason for machines, a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slicer.model.attachments import AddressDemand, Attachment, AttachmentState, EndpointSet, PathHealth
from slicer.model.clusters import Cluster, ClusterBlocks, Gateway, MeshSilence, Node
from slicer.model.documents import Documents, of_kind
from slicer.model.names import Prefix
from slicer.model.slices import Export, SliceState
from slicer.model.topology import unlinked
from slicer.plan.allocation import overlapping
from slicer.plan.linking import both_ways, linked_pairs
from slicer.plan.mesh import is_meshed, unheard, unmeshed
from slicer.plan.objectives import PairStatus, Verdict, pair_statuses
from slicer.plan.views import clusters_of

_SHOWN = 5
"""Nodes that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that holds or does not."""

    type: str
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceInCluster:
    """What a slice has in one of its clusters."""

    name: str
    blocks: tuple[Prefix, ...] = ()
    gateways: tuple[str, ...] = ()
    """Nodes, by slot."""
    attachments: int = 0
    """Pods that are attached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceStatus:
    """A slice as it is now."""

    vni: int
    tunnel_set: int
    conditions: tuple[Condition, ...]
    clusters: tuple[SliceInCluster, ...]
    paths: tuple[PathHealth, ...]
    objectives: tuple[PairStatus, ...] = ()
    """How the slice's objectives stand between each two of its clusters; empty where it has none."""


def slice_status(state: SliceState, documents: Documents) -> SliceStatus:
    """The status of one slice."""
    clusters = tuple(_in_cluster(state, name, documents) for name in clusters_of(state, documents))
    paths = tuple(path for path in of_kind(documents, PathHealth) if _is_path_of(state, path))
    pairs = pair_statuses(state, [cluster.name for cluster in clusters], documents)
    return SliceStatus(
        vni=state.vni,
        tunnel_set=state.tunnel_set,
        conditions=(
            *_conditions(state, clusters, paths, documents),
            *_linked(state, clusters),
            *_encrypted(state, clusters, documents),
            *_objectives(state, pairs),
        ),
        clusters=clusters,
        paths=paths,
        objectives=pairs,
    )


def _is_path_of(state: SliceState, path: PathHealth) -> bool:
    """What a node said of a link that is there no more is left out, should it not say anything since."""
    return path.slice == state.spec.name and state.spec.is_linked(path.cluster, path.remote_cluster)


def export_endpoints(export: Export, documents: Documents) -> tuple[EndpointSet, ...]:
    """The endpoints of an export, a set a cluster."""
    place = (export.slice, export.namespace, export.name)
    return tuple(e for e in of_kind(documents, EndpointSet) if (e.slice, e.namespace, e.name) == place)


def _in_cluster(state: SliceState, name: str, documents: Documents) -> SliceInCluster:
    held = documents.get(f"block/{state.spec.name}/{name}")
    gateways = [g for g in of_kind(documents, Gateway) if (g.cluster, g.tunnel_set) == (name, state.tunnel_set)]
    attached = [a for a in of_kind(documents, Attachment) if (a.slice, a.cluster) == (state.spec.name, name)]
    return SliceInCluster(
        name=name,
        blocks=held.blocks if isinstance(held, ClusterBlocks) else (),
        gateways=tuple(g.node for g in sorted(gateways, key=lambda g: g.slot)),
        attachments=sum(a.state is AttachmentState.ATTACHED for a in attached),
    )


def _conditions(
    state: SliceState, clusters: Sequence[SliceInCluster], paths: Sequence[PathHealth], documents: Documents
) -> tuple[Condition, ...]:
    parts = (_allocated(state, clusters, documents), _gateways(state, clusters), _connected(state, clusters, paths))
    bad = [part for part in parts if not part.status]
    ready = (
        Condition(type="Ready", status=False, reason=bad[0].reason, message=bad[0].message)
        if bad
        else Condition(type="Ready", status=True, reason="Ready")
    )
    return (ready, *parts)


def _allocated(state: SliceState, clusters: Sequence[SliceInCluster], documents: Documents) -> Condition:
    for cluster in of_kind(documents, Cluster):
        found = overlapping(state.spec.prefixes, cluster.cidrs)
        if found and any(one.name == cluster.name for one in clusters):
            message = f"prefix {found[0]} overlaps {found[1]} of cluster {cluster.name!r}"
            return Condition(type="Allocated", status=False, reason="PrefixOverlap", message=message)
    if not clusters:
        return Condition(type="Allocated", status=False, reason="NoCluster", message="no cluster is in the slice yet")
    allocated = _all_have("Allocated", "blocks", "NoFreeBlock", clusters, [bool(c.blocks) for c in clusters])
    return allocated if not allocated.status else _nearly_used_up(state, clusters, documents) or allocated


def _nearly_used_up(state: SliceState, clusters: Sequence[SliceInCluster], documents: Documents) -> Condition | None:
    """A cluster asked for another block and the prefix has none: still well, until its last addresses are gone."""
    for demand in of_kind(documents, AddressDemand):
        if demand.node or demand.slice != state.spec.name:
            continue
        held = [b for c in clusters if c.name == demand.cluster for b in c.blocks if b.version == demand.version]
        if len(held) <= demand.blocks_held:
            pool = next(str(prefix) for prefix in state.spec.prefixes if prefix.version == demand.version)
            message = f"cluster {demand.cluster!r} asks for more addresses, and prefix {pool} has no free block"
            return Condition(type="Allocated", status=True, reason="NearlyUsedUp", message=message)
    return None


def _gateways(state: SliceState, clusters: Sequence[SliceInCluster]) -> Condition:
    """Whether each cluster that is linked with another one has a gateway."""
    if len(clusters) < 2:
        return Condition(type="Gateways", status=True, reason="OneCluster")
    alone = unlinked(state.spec.topology, [cluster.name for cluster in clusters])
    linked = [cluster for cluster in clusters if cluster.name not in alone]
    return _all_have("Gateways", "gateway", "NoGateway", linked, [bool(c.gateways) for c in linked])


def _encrypted(state: SliceState, clusters: Sequence[SliceInCluster], documents: Documents) -> tuple[Condition, ...]:
    """Of a slice that is encrypted everywhere: whether all nodes reach each other through the mesh.

    It says nothing of Ready: one node that is down is no reason to call the slice so.
    """
    if not is_meshed(state.spec):
        return ()
    names = {cluster.name for cluster in clusters}
    missing = unmeshed([node for node in of_kind(documents, Node) if node.cluster in names])
    silent = unheard([told for told in of_kind(documents, MeshSilence) if told.cluster in names])
    for reason, found in (("NoMesh", missing), ("MeshSilent", silent)):
        if found:
            message = "; ".join(found[:_SHOWN]) + ("; …" if len(found) > _SHOWN else "")
            return (Condition(type="Encrypted", status=False, reason=reason, message=message),)
    return (Condition(type="Encrypted", status=True, reason="Encrypted"),)


def _all_have(
    type_: str, what: str, reason: str, clusters: Sequence[SliceInCluster], have: Sequence[bool]
) -> Condition:
    missing = [cluster.name for cluster, has in zip(clusters, have, strict=True) if not has]
    if missing:
        message = f"cluster {', '.join(missing)} has no {what}"
        return Condition(type=type_, status=False, reason=reason, message=message)
    return Condition(type=type_, status=True, reason=type_)


def _objectives(state: SliceState, pairs: Sequence[PairStatus]) -> tuple[Condition, ...]:
    """A slice that is too slow is ready all the same: this says nothing of Ready."""
    if state.spec.objectives is None:
        return ()
    for verdict, reason in ((Verdict.VIOLATED, "Violated"), (Verdict.UNKNOWN, "NotMeasured")):
        found = [pair for pair in pairs if pair.state is verdict]
        if found:
            message = ", ".join(f"{' / '.join(pair.clusters)}: {pair.message}" for pair in found[:5])
            return (Condition(type="Objectives", status=False, reason=reason, message=message),)
    return (Condition(type="Objectives", status=True, reason="Met" if pairs else "OneCluster"),)


def _linked(state: SliceState, clusters: Sequence[SliceInCluster]) -> tuple[Condition, ...]:
    """Of a slice with a topology: whether each cluster has a link. One that joined later may not, and that is no fault
    of the others: it says nothing of Ready.
    """
    if state.spec.topology is None:
        return ()
    alone = unlinked(state.spec.topology, [cluster.name for cluster in clusters])
    if alone:
        names = ", ".join(alone[:_SHOWN]) + (", …" if len(alone) > _SHOWN else "")
        message = f"cluster {names} has no link: its pods reach each other only"
        return (Condition(type="Linked", status=False, reason="ClusterWithoutLink", message=message),)
    return (Condition(type="Linked", status=True, reason="Linked"),)


def _connected(state: SliceState, clusters: Sequence[SliceInCluster], paths: Sequence[PathHealth]) -> Condition:
    """Whether packets pass from each cluster to each one that it is linked with, as one node of it at least measured.

    What nobody promised is not missing.
    """
    pairs = both_ways(linked_pairs(state.spec, [cluster.name for cluster in clusters]))
    up = {(path.cluster, path.remote_cluster) for path in paths if path.up}
    measured = {(path.cluster, path.remote_cluster) for path in paths}
    missing = [pair for pair in pairs if pair not in up]
    if missing:
        reason = "PathDown" if any(pair in measured for pair in missing) else "NotMeasured"
        names = ", ".join(f"{one} → {other}" for one, other in missing[:5])
        return Condition(type="Connected", status=False, reason=reason, message=f"no packet passes {names}")
    return Condition(type="Connected", status=True, reason="Connected" if pairs else "OneCluster")
