"""What the controller says of the users' objects: status, conditions, events.

`look` computes what each object's status should be, a thread writes what differs (server-side apply on the status
subresource), and a condition that changed becomes an event.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from slicer.client.codec import encode
from slicer.client.kube_api import Api
from slicer.model.attachments import Attachment, AttachmentState
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import NotFoundError, SlicerError
from slicer.model.slices import SliceState
from slicer.plan.status import Condition, slice_status
from slicer.plan.views import clusters_of
from slicer_controller.access import Peer
from slicer_controller.context import Context
from slicer_controller.kube.conditions import changed, render_conditions
from slicer_controller.kube.declared import Declared
from slicer_controller.kube.events import write_event
from slicer_controller.kube.naming import (
    API_VERSION,
    CLUSTER,
    DECLARED,
    MANAGER,
    MEMBERSHIP,
    QOS_PROFILE,
    SLICE,
    Kind,
    to_camel,
)
from slicer_controller.kube.objects import Objects, place_of
from slicer_controller.kube.writing import LateWriter

Json = dict[str, Any]
log = logging.getLogger(__name__)
_KINDS = {kind.plural: kind for kind in DECLARED}


class Statuses:
    """One for each controller."""

    def __init__(self, context: Context, api: Api, objects: Objects, declared: Declared) -> None:
        self._context, self._api, self._objects, self._declared = context, api, objects, declared
        self._wanted: dict[str, Json] = {}
        self._writer = LateWriter(self._write)

    def look(self) -> None:
        """Compute all; called after every reconcile."""
        for object_ in self._looked_at(SLICE):
            self._want(SLICE, object_, *self._slice(object_))
        for object_ in self._looked_at(CLUSTER):
            self._want(CLUSTER, object_, *self._cluster(object_))
        for object_ in self._objects.all(QOS_PROFILE.plural):
            self._want(QOS_PROFILE, object_, *self._profile(object_))
        if "member" in self._context.roles:
            for object_ in self._looked_at(MEMBERSHIP):
                self._want(MEMBERSHIP, object_, *self._membership(object_))

    def _looked_at(self, kind: Kind) -> list[Json]:
        """Nothing is said of an object that was neither taken in nor refused yet."""
        return [one for one in self._objects.all(kind.plural) if self._declared.has_looked(kind, one)]

    def close(self) -> None:
        """Write what is left, if that goes quickly."""
        self._writer.close()

    def _want(self, kind: Kind, object_: Json, fields: Json, conditions: Sequence[Condition]) -> None:
        generation, before = object_["metadata"].get("generation", 1), object_.get("status", {})
        now = self._context.time_text(self._context.clock())
        rendered = render_conditions(conditions, before.get("conditions", []), generation, now)
        status = {"observedGeneration": generation, "conditions": rendered, **fields}
        key = "/".join((kind.plural, *place_of(object_)))
        if status == before:
            self._wanted.pop(key, None)
            return
        self._wanted[key] = status
        self._writer.add(key)

    def _write(self, key: str) -> None:
        """Called by the writer's thread."""
        plural, namespace, name = key.split("/")
        status, kind = self._wanted.pop(key, None), _KINDS[plural]
        object_ = self._objects.get(plural, name, namespace)
        if status is None or object_ is None:
            return
        place = {"name": name} | ({"namespace": namespace} if namespace else {})
        body = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": place, "status": status}
        try:
            made = self._api.apply(kind.path(name, namespace, sub="status"), body, manager=MANAGER)
        except NotFoundError:
            return
        except SlicerError:
            self._wanted.setdefault(key, status)
            raise
        self._objects.learn(plural, made)
        for condition in changed(object_.get("status", {}).get("conditions", []), status["conditions"]):
            write_event(self._api, made, condition)

    def _slice(self, object_: Json) -> tuple[Json, list[Condition]]:
        state = self._context.state.documents.get(f"slice/{object_['metadata']['name']}")
        refusal = _condition("Valid", self._declared.refusal(SLICE, object_))
        if not isinstance(state, SliceState):
            return {"clusterCount": 0, "attachments": 0}, [_ready(refusal), refusal]
        status = slice_status(state, self._context.state.documents)
        clusters = [to_camel(encode(cluster)) for cluster in status.clusters]
        fields = {
            "vni": status.vni,
            "tunnelSet": status.tunnel_set,
            "clusterCount": len(clusters),
            "attachments": sum(cluster.attachments for cluster in status.clusters),
            "clusters": clusters,
            "objectives": [_without_figures(to_camel(encode(pair))) for pair in status.objectives],
        }
        summary, *parts = status.conditions
        return fields, [summary if refusal.status else _ready(refusal), refusal, *parts]

    def _cluster(self, object_: Json) -> tuple[Json, list[Condition]]:
        name = object_["metadata"]["name"]
        refusal = _condition("Valid", self._declared.refusal(CLUSTER, object_))
        documents = self._context.state.documents
        nodes = sum(key.startswith(f"node/{name}/") for key in documents)
        states = [state for state in of_kind(documents, SliceState) if name in clusters_of(state, documents)]
        connected = self._connected(name)
        ready = connected if refusal.status else refusal
        fields = {"nodes": nodes, "slices": sorted(state.spec.name for state in states)}
        return fields, [_ready(ready), refusal, connected]

    def _connected(self, name: str) -> Condition:
        own = name == self._context.cluster
        if own or Peer(kind="cluster", cluster=name, name=name).uri in self._context.connected:
            return Condition(type="Connected", status=True, reason="Connected")
        message = f"the member of cluster {name!r} has no connection to this hub"
        return Condition(type="Connected", status=False, reason="NotConnected", message=message)

    def _profile(self, object_: Json) -> tuple[Json, list[Condition]]:
        name = object_["metadata"]["name"]
        users = [one for one in self._objects.all(SLICE.plural) if one["spec"].get("qosProfile") == name]
        return {"slices": sorted(one["metadata"]["name"] for one in users)}, []

    def _membership(self, object_: Json) -> tuple[Json, list[Condition]]:
        refusal = _condition("Valid", self._declared.refusal(MEMBERSHIP, object_))
        attached = _attached(self._context.state.documents, object_, self._context.cluster)
        return {"attachments": attached}, [_ready(refusal), refusal]


def _attached(documents: Documents, object_: Json, cluster: str) -> int:
    """Pods of the object's namespace that are attached to its slice."""
    place = (object_["spec"]["slice"], cluster, object_["metadata"]["namespace"])
    found = [a for a in of_kind(documents, Attachment) if (a.slice, a.cluster, a.namespace) == place]
    return len({a.pod for a in found if a.state is AttachmentState.ATTACHED})


def _without_figures(pair: Json) -> Json:
    """Figures change with each report, and every change is a write; REST and slicectl have them."""
    return {key: pair[key] for key in ("clusters", "state", "message")}


def _condition(type_: str, refusal: SlicerError | None) -> Condition:
    if refusal is None:
        return Condition(type=type_, status=True, reason="Accepted")
    return Condition(type=type_, status=False, reason=refusal.reason, message=refusal.message)


def _ready(part: Condition) -> Condition:
    return Condition(type="Ready", status=part.status, reason=part.reason, message=part.message)
