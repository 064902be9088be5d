"""The collections that users declare: what each stores, checks before a write, and says of its state.

One table (`COLLECTIONS`); `resources` serves every row of it in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from slicer.client.codec import encode
from slicer.model.attachments import Attachment, Ping, PingResult, TunnelHealth
from slicer.model.clusters import Cluster, Drain, Gateway, Node, Rotation, RotationState
from slicer.model.documents import Document, Documents, key_of, of_kind
from slicer.model.slices import Export, Membership, Slice, SliceState
from slicer.plan import draining, rotation, validation
from slicer.plan.status import export_endpoints, slice_status
from slicer_controller.access import Peer
from slicer_controller.context import Context

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """One kind of declared resources."""

    path: str
    """Below `/v1/`."""
    kind: str
    """Of the documents' keys."""
    singular: str
    spec_type: type
    identity: tuple[str, ...] = ("name",)
    """Fields of the spec that name one resource; the parts of its path and key."""
    verbs: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    listed: bool = True
    complete: Callable[[Context, Any], Any] = lambda _context, spec: spec
    """The spec of a new resource with what its asker left open."""
    check: Callable[[Any, Any, Documents], None]
    """(spec, spec before or None, documents): refuse what may not be."""
    check_delete: Callable[[str, Documents], None] = lambda _name, _documents: None
    build: Callable[[Context, Any, Any], Document] = lambda _context, spec, _before: cast("Document", spec)
    """(context, spec, document before or None): what is stored."""
    stored: Callable[[Context, Any], None] = lambda _context, _document: None
    """Called just before a new document is written."""
    withdraw: Callable[[Context, str], None] = lambda _context, _name: None
    """Called just before a resource is deleted."""
    status: Callable[[Context, Any], Json] = lambda _context, _document: {}

    def name_of(self, spec: Any) -> str:
        """The name of the resource that the spec declares."""
        return "/".join(str(getattr(spec, field)) for field in self.identity)

    def spec_of(self, document: Any) -> Any:
        """The spec that a stored document carries."""
        return document.spec if isinstance(document, SliceState | RotationState) else document


def _check_slice(spec: Slice, before: Slice | None, documents: Documents) -> None:
    if before is None:
        validation.check_slice(spec, documents)
    else:
        validation.check_slice_change(spec, before, documents)


def _slice_status(context: Context, state: SliceState) -> Json:
    return cast("Json", encode(slice_status(state, context.state.documents)))


def _cluster_status(context: Context, cluster: Cluster) -> Json:
    uri = Peer(kind="cluster", cluster=cluster.name, name=cluster.name).uri
    own = cluster.name == context.cluster
    nodes = [node.name for node in of_kind(context.state.documents, Node) if node.cluster == cluster.name]
    heard = context.clock() if own else context.reports.heard_at_s.get(uri)
    return {
        "connected": own or uri in context.connected,
        "last_report": None if heard is None else context.time_text(heard),
        "nodes": nodes,
    }


def _delete_cluster(context: Context, name: str) -> None:
    """Its certificates are worth nothing any more, and what it reported is gone."""
    context.dismiss(Peer(kind="cluster", cluster=name, name=name))
    for value in list(context.state.documents.values()):
        if isinstance(value, Membership | Drain) and value.cluster == name:
            context.state.delete(key_of(value))


def _export_status(context: Context, export: Export) -> Json:
    return {"endpoints": [encode(one) for one in export_endpoints(export, context.state.documents)]}


def _ping_status(context: Context, ping: Ping) -> Json:
    result = context.state.documents.get(f"pingresult/{ping.cluster}/{ping.id}")
    return cast("Json", encode(result)) if isinstance(result, PingResult) else {}


def _drain_status(context: Context, drain: Drain) -> Json:
    return cast("Json", encode(draining.drain_status(drain, context.state.documents)))


def _rotation_status(context: Context, state: RotationState) -> Json:
    return cast("Json", encode(rotation.rotation_status(state, context.state.documents)))


COLLECTIONS: tuple[Collection, ...] = (
    Collection(
        path="slices",
        kind="slice",
        singular="slice",
        spec_type=Slice,
        check=_check_slice,
        check_delete=validation.check_slice_delete,
        build=lambda context, spec, before: context.hub.plan_slice(spec, before),
        stored=lambda context, state: context.hub.note_vni(state.vni),
        withdraw=lambda context, name: context.hub.withdraw_slice(name),
        status=_slice_status,
    ),
    Collection(
        path="clusters",
        kind="cluster",
        singular="cluster",
        spec_type=Cluster,
        check=lambda spec, _, documents: validation.check_cluster_change(spec, documents),
        check_delete=validation.check_cluster_delete,
        withdraw=_delete_cluster,
        status=_cluster_status,
    ),
    Collection(
        path="memberships",
        kind="membership",
        singular="membership",
        spec_type=Membership,
        check=validation.check_membership_by_user,
        check_delete=validation.check_membership_delete,
    ),
    Collection(
        path="exports",
        kind="export",
        singular="export",
        spec_type=Export,
        identity=("slice", "namespace", "name"),
        check=lambda spec, _, documents: validation.check_export(spec, documents),
        status=_export_status,
    ),
    Collection(
        path="pings",
        kind="ping",
        singular="ping",
        spec_type=Ping,
        identity=("id",),
        verbs=("POST", "GET", "DELETE"),
        listed=False,
        check=lambda spec, _, documents: validation.check_ping(spec, documents),
        status=_ping_status,
    ),
    Collection(
        path="drains",
        kind="drain",
        singular="drain",
        spec_type=Drain,
        identity=("cluster", "node"),
        check=draining.check_drain,
        status=_drain_status,
    ),
    Collection(
        path="rotations",
        kind="rotation",
        singular="rotation",
        spec_type=Rotation,
        identity=("tunnel_set", "generation"),
        verbs=("POST", "GET", "DELETE"),
        complete=lambda context, spec: context.hub.complete_rotation(spec),
        check=lambda spec, _, documents: rotation.check_rotation(spec, documents),
        check_delete=rotation.check_rotation_delete,
        build=lambda context, spec, _: context.hub.plan_rotation(spec),
        stored=lambda context, state: context.hub.note_rotation(state.spec),
        withdraw=lambda context, name: context.hub.note_taken_back(int(name.partition("/")[0])),
        status=_rotation_status,
    ),
)
REPORTED: Mapping[str, type[Document]] = {
    "nodes": Node,
    "gateways": Gateway,
    "attachments": Attachment,
    "tunnels": TunnelHealth,
}
"""Collections that are only listed and watched."""
