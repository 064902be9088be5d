"""The users' objects of what the store holds: what is written by REST stands in a custom resource as well.

Called by the store around its own write, so that a kill in between is mended by `declared`: an object without an
entry is taken in, an entry never stands without its object, and one that is being deleted is never taken in again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.client.codec import decode
from slicer.client.kube_api import Api
from slicer.client.marks import FINALIZER
from slicer.model.clusters import Cluster
from slicer.model.errors import ConflictError, NotFoundError, SlicerError, StaleError, UnavailableError
from slicer.model.slices import Slice, SliceState
from slicer_controller.kube.naming import CLUSTER, QOS_PROFILE, SLICE, Kind
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.values import parse_cluster, parse_slice, render_declared

Json = dict[str, Any]
_TRIES = 5
KINDS: Mapping[str, Kind] = {"slice": SLICE, "cluster": CLUSTER}
"""Kinds of documents that have an object of their own."""


class Doors:
    """One for each store."""

    def __init__(self, api: Api, objects: Objects) -> None:
        self._api, self._objects = api, objects

    def declare(self, key: str, value: Any) -> None:
        """Make the object say what is about to be stored; nothing is written if it does."""
        kind_name, _, name = key.partition("/")
        kind = KINDS.get(kind_name)
        if kind is None:
            return
        spec: Slice | Cluster = decode(SliceState, value).spec if kind is SLICE else decode(Cluster, value)
        found = self._objects.get(kind.plural, name)
        if found is not None and self._says(kind, found) == spec:
            return
        made = self._create(kind, spec) if found is None else self._replace(kind, spec, found)
        self._objects.learn(kind.plural, made)

    def _create(self, kind: Kind, spec: Slice | Cluster) -> Json:
        try:
            return self._api.create(kind.path(), render_declared(kind, spec))
        except StaleError as error:
            raise ConflictError(f"{kind.kind} {spec.name!r} exists already", reason="Exists") from error

    def _replace(self, kind: Kind, spec: Slice | Cluster, found: Json) -> Json:
        """Only what somebody declared meanwhile stands in the way; our own status and finalizer do not."""
        path = kind.path(spec.name)
        for _ in range(_TRIES):
            try:
                return self._api.replace(path, render_declared(kind, spec, found, profiles(self._objects)))
            except StaleError:
                now = self._api.get(path)
                if now["metadata"].get("generation") != found["metadata"].get("generation"):
                    raise
                found = now
        raise UnavailableError(f"{kind.kind} {spec.name!r} changes too quickly to be written; try again")

    def retire(self, key: str) -> None:
        """Mark the object as going; our finalizer keeps it until `withdraw`."""
        kind, name = KINDS.get(key.partition("/")[0]), key.partition("/")[2]
        if kind is not None:
            self._api.delete(kind.path(name))

    def withdraw(self, key: str) -> None:
        """Let the object go."""
        kind, name = KINDS.get(key.partition("/")[0]), key.partition("/")[2]
        if kind is not None:
            self.release(kind, name)

    def release(self, kind: Kind, name: str) -> None:
        """Take our finalizer off an object that is going, whatever else is written to it meanwhile (its status)."""
        for _ in range(_TRIES):
            found = self._api.find(kind.path(name))
            if found is None or "deletionTimestamp" not in found["metadata"] or FINALIZER not in _finalizers(found):
                return
            try:
                self._write_finalizers(kind, found, [one for one in _finalizers(found) if one != FINALIZER])
            except StaleError:
                continue
            self._objects.forget(kind.plural, found)
            return
        raise UnavailableError(f"{kind.kind} {name!r} changes too quickly to be let go; try again")

    def hold(self, kind: Kind, object_: Json) -> None:
        """Put our finalizer on an object: from now on it cannot go without being told here.

        StaleError if the object changed meanwhile: others' finalizers are in the list, and the next look reads it anew.
        """
        if FINALIZER not in _finalizers(object_):
            made = self._write_finalizers(kind, object_, [*_finalizers(object_), FINALIZER])
            if made is not None:
                self._objects.learn(kind.plural, made)

    def _write_finalizers(self, kind: Kind, object_: Json, finalizers: list[str]) -> Json | None:
        metadata = object_["metadata"]
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        try:
            return self._api.merge(kind.path(metadata["name"]), patch)
        except NotFoundError:
            return None

    def _says(self, kind: Kind, object_: Json) -> Slice | Cluster | None:
        """What the object declares; None if that is nothing that could hold."""
        try:
            return _parser(self._objects)[kind.kind](object_)
        except SlicerError:
            return None


def _parser(objects: Objects) -> Mapping[str, Callable[[Json], Slice | Cluster]]:
    return {
        SLICE.kind: lambda object_: parse_slice(object_, profiles(objects)),
        CLUSTER.kind: parse_cluster,
    }


def profiles(objects: Objects) -> dict[str, Json]:
    """All QoS profiles, by name."""
    return {one["metadata"]["name"]: one for one in objects.all(QOS_PROFILE.plural)}


def _finalizers(object_: Json) -> list[str]:
    return list(object_["metadata"].get("finalizers", []))
