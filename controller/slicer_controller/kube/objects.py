"""What the API server has of the kinds that we look at, in memory: filled by lists, watches and our own writes.

May be used by any thread. Whoever wants to know of changes is woken, and looks at everything again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

Json = dict[str, Any]
Place = tuple[str, str]
"""(namespace, name); the namespace is empty for kinds that have none."""


class Objects:
    """The latest known state of objects, by plural and place."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, dict[Place, Json]] = {}
        self._touched: dict[str, set[Place]] = {}
        """By kind, while a list of it is being read: where something came or went meanwhile."""
        self._listeners: list[Callable[[], None]] = []
        self.synced: set[str] = set()
        """Plurals that were listed whole at least once."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, in whatever thread, after every change."""
        self._listeners.append(listener)

    def get(self, plural: str, name: str, namespace: str = "") -> Json | None:
        """One object; not to be changed."""
        with self._lock:
            return self._objects.get(plural, {}).get((namespace, name))

    def all(self, plural: str) -> list[Json]:
        """All objects of a kind, by place; not to be changed."""
        with self._lock:
            return [object_ for _, object_ in sorted(self._objects.get(plural, {}).items())]

    def learn(self, plural: str, object_: Json) -> None:
        """What was read or written; older than what is known counts for nothing."""
        with self._lock:
            kind = self._objects.setdefault(plural, {})
            before = kind.get(place_of(object_))
            if before is not None and not _newer(object_, before):
                return
            kind[place_of(object_)] = object_
            self._note(plural, object_)
        self._tell()

    def forget(self, plural: str, object_: Json) -> None:
        """The object was removed; one of that name that was made since stays."""
        with self._lock:
            kind = self._objects.get(plural, {})
            before = kind.get(place_of(object_))
            if before is None or before["metadata"].get("uid") != object_["metadata"].get("uid"):
                return
            del kind[place_of(object_)]
            self._note(plural, object_)
        self._tell()

    def expect_list(self, plural: str) -> None:
        """A list of the kind is about to be read: what is learned from now on is not undone by it."""
        with self._lock:
            self._touched[plural] = set()

    def replace(self, plural: str, objects: Iterable[Json]) -> None:
        """The whole kind, as a list found it: what is not in it is gone (a watch that was cut tells of no removal).

        But for what came or went while the list was read (`expect_list`): it shows an older state of that.
        """
        found = {place_of(object_): object_ for object_ in objects}
        with self._lock:
            kind, touched = self._objects.setdefault(plural, {}), self._touched.pop(plural, set())
            for place in kind.keys() - found.keys() - touched:
                del kind[place]
            for place, object_ in found.items():
                before = kind.get(place)
                if (before is None and place not in touched) or (before is not None and _newer(object_, before)):
                    kind[place] = object_
            self.synced.add(plural)
        self._tell()

    def _note(self, plural: str, object_: Json) -> None:
        if plural in self._touched:
            self._touched[plural].add(place_of(object_))

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def place_of(object_: Json) -> Place:
    """Where an object is."""
    metadata = object_["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _newer(object_: Json, before: Json) -> bool:
    """resourceVersions of one kind are numbers that grow (Kubernetes, "Resource versions"); if not: it differs."""
    new, old = (str(one["metadata"].get("resourceVersion", "")) for one in (object_, before))
    if new.isdigit() and old.isdigit():
        return int(new) > int(old)
    return new != old
