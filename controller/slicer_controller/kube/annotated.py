"""What pods and namespaces ask for by annotation, beyond what the webhook gave to Multus; and what they are told.

Level-triggered, as everything: memberships for pods that slipped past the webhook and for namespaces, networks where
pods need them, and the annotation and readiness gate on pods that are attached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from slicer.client.kube_api import Api
from slicer.client.marks import ATTACHMENTS
from slicer.model.attachments import AddressWish
from slicer.model.documents import key_of, of_kind
from slicer.model.errors import NotFoundError, SlicerError
from slicer.model.slices import Membership
from slicer.plan import validation
from slicer.plan.pods import pod_name
from slicer.plan.status import Condition
from slicer.plan.validation import NAMESPACE_PREFIX, POD_PREFIX
from slicer_controller.context import Context
from slicer_controller.kube.accepting import accept_membership, is_passing
from slicer_controller.kube.conditions import render_conditions
from slicer_controller.kube.events import write_event
from slicer_controller.kube.networks import Networks
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.pods import (
    address_wishes,
    attachments_by_pod,
    connected,
    is_ending,
    is_over,
    live_memberships,
    living_paths,
    membership_start,
    namespace_memberships,
    needed_networks,
    render_attachments,
)
from slicer_controller.kube.writing import LateWriter

PODS, NAMESPACES = "pods", "namespaces"
Json = dict[str, Any]
Identity = tuple[str, str]
"""(kind, uid)."""


class Annotated:
    """One for each member."""

    def __init__(self, context: Context, api: Api, objects: Objects, networks: Networks) -> None:
        self._context, self._state, self._api, self._objects = context, context.state, api, objects
        self._networks = networks
        self._told: dict[Identity, frozenset[str]] = {}
        """The refusals that hold and that the object was told of."""
        self._annotated: dict[tuple[str, str], str] = {}
        """The annotation as it was written last, by (namespace, pod)."""
        self._patches: dict[str, Json] = {}
        self._writer = LateWriter(self._write)

    def reconcile(self) -> None:
        """Memberships; nothing before pods and namespaces were listed once.

        UnavailableError, StaleError or DeniedError at the end if something was neither taken nor refused.
        """
        if not self._synced():
            return
        wanted: set[str] = set()
        told: dict[Identity, frozenset[str]] = {}
        passing: list[SlicerError] = []
        for object_ in self._asking():
            errors = self._take(object_, wanted)
            passing += [error for error in errors if is_passing(error)]
            refusals = [error for error in errors if not is_passing(error)]
            if refusals:
                told[_identity(object_)] = self._tell_refusals(object_, refusals)
        self._told = told
        self._end_others(wanted)
        if passing:
            raise passing[-1]

    def wish(self) -> None:
        """Fixed addresses of pods: said before their nodes ask for them."""
        if not self._synced():
            return
        cluster = self._context.cluster
        pods = [one for one in self._asking() if one["kind"] == "Pod"]
        wanted = {key_of(wish): wish for pod in pods for wish in self._permitted(pod)}
        for wish in wanted.values():
            self._state.put(wish)
        for wish in of_kind(self._state.documents, AddressWish):
            if (wish.cluster, wish.node) == (cluster, "") and key_of(wish) not in wanted:
                self._state.delete(key_of(wish))

    def provide(self) -> None:
        """Networks where pods need them; nothing before pods were listed once."""
        if self._synced():
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
            if not is_over(pod) and not is_ending(pod):
                yield pod
        for namespace in self._objects.all(NAMESPACES):
            if not is_ending(namespace):
                yield namespace

    def _synced(self) -> bool:
        return {PODS, NAMESPACES} <= self._objects.synced

    def _take(self, object_: Json, wanted: set[str]) -> list[SlicerError]:
        """Accept what the object asks for, each on its own; the names that go on are added to `wanted`."""
        try:
            members = _memberships(object_, self._context.cluster)
        except SlicerError as error:
            # What it says now cannot be read; that takes no running pod out of what it is in.
            wanted.update(self._present(object_))
            return [error]
        errors = []
        for member in members:
            wanted.add(member.name)
            try:
                accept_membership(self._context, member)
            except SlicerError as error:
                errors.append(error)
        return errors

    def _present(self, object_: Json) -> list[str]:
        """Names of the memberships that are the object's."""
        start = membership_start(object_, self._context.cluster)
        return [member.name for member in self._annotation_memberships() if member.name.startswith(start)]

    def _end_others(self, wanted: Collection[str]) -> None:
        for member in self._annotation_memberships():
            if member.name not in wanted:
                self._state.delete(key_of(member))

    def _annotation_memberships(self) -> list[Membership]:
        """Those that this cluster's pods and namespaces declare."""
        found = of_kind(self._state.documents, Membership)
        own = [member for member in found if member.declared_in == self._context.cluster]
        return [member for member in own if member.name.startswith((POD_PREFIX, NAMESPACE_PREFIX))]

    def _tell_refusals(self, object_: Json, refusals: Sequence[SlicerError]) -> frozenset[str]:
        """An event for each that the object was not told of; all messages."""
        before = self._told.get(_identity(object_), frozenset())
        for error in refusals:
            if error.message not in before:
                condition = {"type": "Join", "status": "False", "reason": error.reason, "message": error.message}
                write_event(self._api, object_, condition)
        return frozenset(error.message for error in refusals)

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


def _memberships(object_: Json, cluster: str) -> list[Membership]:
    """What a pod or namespace asks for; InvalidError if it cannot be read."""
    found = live_memberships if object_["kind"] == "Pod" else namespace_memberships
    return found(object_, cluster)


def _identity(object_: Json) -> Identity:
    return object_["kind"], object_["metadata"]["uid"]
