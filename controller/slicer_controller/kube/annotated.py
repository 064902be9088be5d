"""What pods and namespaces ask for by annotation, beyond what the webhook gave to Multus; and what they are told.

Level-triggered, as everything: memberships for pods that slipped past the webhook and for namespaces, networks where
pods need them, and the annotation and readiness gate on pods that are attached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from slicer.model.attachments import AddressWish
from slicer.model.documents import key_of, of_kind
from slicer.model.errors import NotFoundError, SlicerError
from slicer.model.slices import Membership
from slicer.plan import validation
from slicer.plan.pods import pod_name
from slicer.plan.status import Condition
from slicer.plan.validation import NAMESPACE_PREFIX, POD_PREFIX
from slicer_controller.context import Context
from slicer_controller.kube.client import Api
from slicer_controller.kube.conditions import render_conditions
from slicer_controller.kube.events import write_event
from slicer_controller.kube.networks import Networks
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.pods import (
    ATTACHMENTS,
    address_wishes,
    attachments_by_pod,
    connected,
    is_over,
    live_memberships,
    living_paths,
    namespace_memberships,
    needed_networks,
    render_attachments,
)
from slicer_controller.kube.writing import LateWriter

PODS, NAMESPACES = "pods", "namespaces"
Json = dict[str, Any]
log = logging.getLogger(__name__)


class Annotated:
    """One for each member."""

    def __init__(self, context: Context, api: Api, objects: Objects, networks: Networks) -> None:
        self._context, self._state, self._api, self._objects = context, context.state, api, objects
        self._networks = networks
        self._told: dict[tuple[str, str], str] = {}
        """The refusal that an object (plural, uid) was told of last."""
        self._annotated: dict[tuple[str, str], str] = {}
        """The annotation as it was written last, by (namespace, pod)."""
        self._patches: dict[str, Json] = {}
        self._writer = LateWriter(self._write)

    def reconcile(self) -> None:
        """Memberships and networks; nothing before pods and namespaces were listed once."""
        if not {PODS, NAMESPACES} <= self._objects.synced:
            return
        wanted: dict[str, Membership] = {}
        for object_ in self._asking():
            self._take(object_, wanted)
        for member in of_kind(self._state.documents, Membership):
            ours = member.declared_in == self._context.cluster
            if ours and member.name.startswith((POD_PREFIX, NAMESPACE_PREFIX)) and member.name not in wanted:
                self._state.delete(key_of(member))
        self._wish()
        self._networks.reconcile(needed_networks(self._objects.all(PODS)))

    def tell(self) -> None:
        """Annotations and conditions of pods, where they differ from what is."""
        attached = attachments_by_pod(self._state.documents, self._context.cluster)
        known = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in self._objects.all(PODS)}
        shown = {place: pod["metadata"]["annotations"].get(ATTACHMENTS) for place, pod in known.items()}
        for place, ones in attached.items():
            text = render_attachments(ones)
            if shown.get(place, self._annotated.get(place)) != text:
                self._annotate(place, text)
        for place, text_ in shown.items():
            if text_ is not None and place not in attached:
                self._annotate(place, None)
        self._annotated = {place: text for place, text in self._annotated.items() if place in attached}
        gated = {place: pod for place, pod in known.items() if pod["spec"]["gated"] and not is_over(pod)}
        paths = living_paths(self._state.documents) if gated else ()
        for place, pod in gated.items():
            self._gate(pod, connected(pod, attached.get(place, ()), self._state.documents, paths))

    def close(self) -> None:
        """Write what is left, if that goes quickly."""
        self._writer.close()

    def _asking(self) -> Iterator[Json]:
        for pod in self._objects.all(PODS):
            if not is_over(pod) and "deletionTimestamp" not in pod["metadata"]:
                yield pod
        for namespace in self._objects.all(NAMESPACES):
            if "deletionTimestamp" not in namespace["metadata"]:
                yield namespace

    def _take(self, object_: Json, wanted: dict[str, Membership]) -> None:
        identity = (object_["kind"], object_["metadata"]["uid"])
        memberships: Callable[[Json, str], list[Membership]] = (
            live_memberships if object_["kind"] == "Pod" else namespace_memberships
        )
        try:
            for member in memberships(object_, self._context.cluster):
                validation.check_membership(member, self._state.documents)
                wanted[member.name] = member
                self._state.put(member)
            self._told.pop(identity, None)
        except SlicerError as error:
            if self._told.get(identity) != error.message:
                self._told[identity] = error.message
                condition = {"type": "Join", "status": "False", "reason": error.reason, "message": error.message}
                write_event(self._api, object_, condition)

    def _wish(self) -> None:
        """Fixed addresses of pods: said before their nodes ask for them."""
        cluster = self._context.cluster
        pods = [one for one in self._asking() if one["kind"] == "Pod"]
        wanted = {key_of(wish): wish for pod in pods for wish in self._permitted(pod)}
        for wish in wanted.values():
            self._state.put(wish)
        for wish in of_kind(self._state.documents, AddressWish):
            if (wish.cluster, wish.node) == (cluster, "") and key_of(wish) not in wanted:
                self._state.delete(key_of(wish))

    def _permitted(self, pod: Json) -> list[AddressWish]:
        """The pod's wishes, if it may be in their slices: no webhook has seen an annotation that is Multus' only."""
        cluster = self._context.cluster
        try:
            found = address_wishes(pod, cluster)
            for wish in found:
                validation.check_pod(pod_name(pod), wish.slice, wish.namespace, cluster, self._state.documents)
        except SlicerError:
            return []  # told by the CNI call that refuses the pod
        return found

    def _annotate(self, place: tuple[str, str], text: str | None) -> None:
        self._annotated[place] = text or ""
        self._queue("annotation", place, {"metadata": {"annotations": {ATTACHMENTS: text}}})

    def _gate(self, pod: Json, condition: Condition) -> None:
        now = self._context.time_text(self._context.clock())
        rendered = render_conditions([condition], pod["status"]["conditions"], 0, now)[0]
        del rendered["observedGeneration"]
        before: Json = next(iter(pod["status"]["conditions"]), {})
        if condition.reason == "NoPath" and before.get("status") == "True":
            # A packet has passed once. Paths are measured anew after each restart of a controller, and a cluster that
            # is away must not make the pods of all others unready.
            return
        if all(before.get(key) == rendered[key] for key in ("status", "reason", "message")):
            return
        place = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._queue("status", place, {"status": {"conditions": [rendered]}})

    def _queue(self, what: str, place: tuple[str, str], patch: Json) -> None:
        key = "/".join((what, *place))
        self._patches[key] = patch
        self._writer.add(key)

    def _write(self, key: str) -> None:
        """Called by the writer's thread."""
        what, namespace, name = key.split("/")
        found = self._patches.pop(key, None)
        if found is None:
            return
        path = f"/api/v1/namespaces/{namespace}/pods/{name}" + ("/status" if what == "status" else "")
        try:
            # Strategic: of a pod's conditions only ours is touched (they are merged by type).
            self._api.merge_by_key(path, found)
        except NotFoundError:
            return
        except SlicerError:
            self._patches.setdefault(key, found)
            raise
