"""Takes in what users declare by custom resources, and refuses what may not be: the other door beside REST.

Level-triggered: `reconcile` looks at every object, whatever woke it. An object that is refused changes nothing: what
was accepted before goes on, and the object's conditions say why. Checks and wording are those of REST (the same
table).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from slicer.client.marks import FORCE
from slicer.model.clusters import Cluster
from slicer.model.documents import Document, key_of, of_kind
from slicer.model.errors import ConflictError, SlicerError, UnavailableError
from slicer.model.slices import Membership, SliceState
from slicer.plan import validation
from slicer.plan.validation import DECLARED_PREFIX
from slicer_controller.api.collections import COLLECTIONS, Collection
from slicer_controller.context import Context
from slicer_controller.kube.accepting import accept_membership, is_passing
from slicer_controller.kube.doors import Doors, profiles
from slicer_controller.kube.naming import CLUSTER, MEMBERSHIP, SLICE, Kind
from slicer_controller.kube.objects import Objects, place_of
from slicer_controller.kube.values import membership_name, parse_cluster, parse_membership, parse_slice

Json = dict[str, Any]
log = logging.getLogger(__name__)
_COLLECTION: Mapping[str, Collection] = {collection.kind: collection for collection in COLLECTIONS}
Identity = tuple[str, str, str]
"""(plural, namespace, name)."""
Version = tuple[str, int]
"""(uid, generation): what an object declares is the same while they are."""


class Declared:
    """One for each controller."""

    def __init__(self, context: Context, objects: Objects, doors: Doors) -> None:
        self._context, self._state, self._objects, self._doors = context, context.state, objects, doors
        self.refused: dict[Identity, SlicerError] = {}
        """Why what an object declares now does not hold; objects that were looked at and are not in here hold."""
        self._looked: dict[Identity, Version] = {}

    def reconcile(self) -> None:
        """Look at every object. UnavailableError at the end if something was not taken."""
        away: SlicerError | None = None
        before, self._looked = self._looked, {}
        for kind, take in self._kinds().items():
            for object_ in self._objects.all(kind.plural):
                identity = (kind.plural, *place_of(object_))
                try:
                    self._look(kind, object_, take)
                    self._looked[identity] = _version(object_)
                except UnavailableError as error:
                    away = error
                    self._looked |= {identity: before[identity]} if identity in before else {}
        self._forget_memberships()
        if away is not None:
            raise away

    def has_looked(self, kind: Kind, object_: Json) -> bool:
        """Whether what the object says now was taken in or refused: one may come while the loop is at work."""
        return self._looked.get((kind.plural, *place_of(object_))) == _version(object_)

    def refusal(self, kind: Kind, object_: Json) -> SlicerError | None:
        """Why the object does not hold; None if it does."""
        return self.refused.get((kind.plural, *place_of(object_)))

    def _kinds(self) -> dict[Kind, Callable[[Json], None]]:
        hub = "hub" in self._context.roles
        kinds: dict[Kind, Callable[[Json], None]] = {
            SLICE: self._take_slice if hub else _not_here,
            CLUSTER: self._take_cluster if hub else _not_here,
        }
        return kinds | ({MEMBERSHIP: self._take_membership} if "member" in self._context.roles else {})

    def _look(self, kind: Kind, object_: Json, take: Callable[[Json], None]) -> None:
        identity = (kind.plural, *place_of(object_))
        try:
            if "deletionTimestamp" in object_["metadata"]:
                self._let_go(kind, object_)
            else:
                take(object_)
            self.refused.pop(identity, None)
        except SlicerError as error:
            if is_passing(error):
                raise UnavailableError(error.message) from error
            self._refuse(kind, identity, error)

    def _refuse(self, kind: Kind, identity: Identity, error: SlicerError) -> None:
        before = self.refused.get(identity)
        if before is None or before.message != error.message:
            log.info("declaration refused", extra={"kind": kind.kind, "key": identity[2], "error": error.message})
        self.refused[identity] = error

    def _take_slice(self, object_: Json) -> None:
        self._doors.hold(SLICE, object_)
        spec = parse_slice(object_, profiles(self._objects))
        self._accept(_COLLECTION["slice"], spec)
        # Also when it is what was accepted long ago: a cluster that joined since may stand in its way.
        validation.check_slice(spec, self._state.documents)

    def _take_cluster(self, object_: Json) -> None:
        self._doors.hold(CLUSTER, object_)
        self._accept(_COLLECTION["cluster"], parse_cluster(object_))

    def _accept(self, collection: Collection, spec: Any) -> None:
        key = f"{collection.kind}/{collection.name_of(spec)}"
        before = self._state.documents.get(key)
        if before is not None and collection.spec_of(before) == spec:
            return
        collection.check(spec, collection.spec_of(before) if before else None, self._state.documents)
        document = collection.build(self._context, spec, before)
        if before is None:
            collection.stored(self._context, document)
        self._state.put(document)
        log.info("declaration accepted", extra={"key": key})

    def _take_membership(self, object_: Json) -> None:
        accept_membership(self._context, parse_membership(object_, self._context.cluster))

    def _let_go(self, kind: Kind, object_: Json) -> None:
        """What it declared ends, then the object may go; memberships have no finalizer of ours."""
        collection, name = {SLICE: "slice", CLUSTER: "cluster"}.get(kind), object_["metadata"]["name"]
        if collection is None:
            return
        key = f"{collection}/{name}"
        document: Document | None = self._state.documents.get(key)
        if isinstance(document, SliceState | Cluster) and "hub" in self._context.roles:
            if object_["metadata"].get("annotations", {}).get(FORCE) != "true":
                _COLLECTION[collection].check_delete(name, self._state.documents)
            _COLLECTION[collection].withdraw(self._context, name)
            self._state.delete(key)
            log.info("declaration withdrawn", extra={"key": key})
        self._doors.release(kind, name)

    def _forget_memberships(self) -> None:
        """Memberships whose object is gone; not before all objects were listed once."""
        if "member" not in self._context.roles or MEMBERSHIP.plural not in self._objects.synced:
            return
        cluster = self._context.cluster
        places = [place_of(one) for one in self._objects.all(MEMBERSHIP.plural)]
        there = {membership_name(cluster, namespace, name) for namespace, name in places}
        for member in of_kind(self._state.documents, Membership):
            # Those of pods and namespaces are not ours to end (see annotated).
            ours = member.declared_in == cluster and member.name.startswith(DECLARED_PREFIX)
            if ours and member.name not in there:
                self._state.delete(key_of(member))


def _version(object_: Json) -> Version:
    return object_["metadata"].get("uid", ""), object_["metadata"].get("generation", 1)


def _not_here(object_: Json) -> None:
    what = f"{object_['kind']} {object_['metadata']['name']!r}"
    raise ConflictError(f"{what}: declare it in the hub's cluster; this one is a member only", reason="NotHub")
