"""An API server in memory, with the methods of slicer.client.kube_api.Api: what of its behaviour we rely on.

resourceVersions grow with each write and are checked; finalizers keep what is deleted; status is a subresource of its
own; `generation` counts changes of the spec. tests/kubernetes/control runs the same contracts on the real one.
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from slicer.model.errors import NotFoundError, StaleError, UnavailableError
from slicer_controller.api.resources import merge

Json = dict[str, Any]


class FakeApi:
    """Objects by path."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.objects: dict[str, Json] = {}
        self.version = 100
        self.away = False
        self.writes: list[tuple[str, str]] = []

    def get(self, path: str) -> Json:
        with self._lock:
            self._answer()
            if path not in self.objects:
                raise NotFoundError(f"{path} not found")
            return copy.deepcopy(self.objects[path])

    def find(self, path: str) -> Json | None:
        try:
            return self.get(path)
        except NotFoundError:
            return None

    def create(self, path: str, body: Json) -> Json:
        with self._lock:
            self._answer()
            metadata = body["metadata"]
            place = f"{path}/{metadata['name']}"
            if place in self.objects:
                raise StaleError(f"{place} already exists", reason="Exists")
            namespace = path.partition("/namespaces/")[2].partition("/")[0]
            made = {**copy.deepcopy(body), "metadata": {**metadata}}
            made["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
            made["metadata"] |= {"namespace": namespace} if namespace else {}
            made.pop("status", None)
            return self._store("create", place, made)

    def replace(self, path: str, body: Json) -> Json:
        with self._lock:
            before = self.get(path)
            self._expect(before, body)
            after = {**copy.deepcopy(body), "status": before.get("status", {})}
            after["metadata"] = {**before["metadata"], **after["metadata"]}
            return self._change("replace", path, before, after)

    def merge(self, path: str, patch: Json) -> Json:
        with self._lock:
            before = self.get(path)
            self._expect(before, patch)
            return self._change("merge", path, before, merge(before, patch))

    def merge_by_key(self, path: str, patch: Json) -> Json:
        """Conditions by type; everything else as `merge`."""
        with self._lock:
            before = self.get(path.removesuffix("/status"))
            after = merge(before, patch)
            if path.endswith("/status"):
                kept = {one["type"]: one for one in before.get("status", {}).get("conditions", [])}
                kept |= {one["type"]: one for one in patch["status"]["conditions"]}
                after["status"]["conditions"] = list(kept.values())
            return self._change("merge", path.removesuffix("/status"), before, after)

    def apply(self, path: str, body: Json, *, manager: str, force: bool = True) -> Json:
        assert manager
        assert force
        with self._lock:
            if path.endswith("/status"):
                whole = path.removesuffix("/status")
                before = self.get(whole)
                return self._change("status", whole, before, {**before, "status": copy.deepcopy(body["status"])})
            if path not in self.objects:
                return self.create(path.rpartition("/")[0], body)
            before = self.get(path)
            return self._change("apply", path, before, merge(before, body))

    def delete(self, path: str, *, version: str = "") -> None:
        with self._lock:
            before = self.find(path)
            if before is None:
                return
            if version and version != before["metadata"]["resourceVersion"]:
                raise StaleError(f"{path} has changed")
            if before["metadata"].get("finalizers"):
                marked = {**before, "metadata": {**before["metadata"], "deletionTimestamp": "2026-01-01T00:00:01Z"}}
                self._store("mark", path, marked)
            else:
                self._remove(path)

    def each(self, path: str, *, selector: str = "") -> Iterator[Json]:
        assert not selector
        with self._lock:
            self._answer()
            base, _, plural = path.rpartition("/")
            wanted = [p for p in self.objects if p.startswith(base) and p.split("/")[-2] == plural]
            found = [copy.deepcopy(self.objects[p]) for p in sorted(wanted)]
        yield from found

    def _answer(self) -> None:
        if self.away:
            raise UnavailableError("the API server is away")

    def _expect(self, before: Json, body: Json) -> None:
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != before["metadata"]["resourceVersion"]:
            raise StaleError("the object has been modified")

    def _change(self, verb: str, path: str, before: Json, after: Json) -> Json:
        if after == before:
            return before
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"]["generation"] + 1
        if "deletionTimestamp" in after["metadata"] and not after["metadata"].get("finalizers"):
            self._remove(path)
            return after
        return self._store(verb, path, after)

    def _store(self, verb: str, path: str, made: Json) -> Json:
        self.version += 1
        made["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = made
        self.writes.append((verb, path))
        return copy.deepcopy(made)

    def _remove(self, path: str) -> None:
        self.version += 1
        del self.objects[path]
        self.writes.append(("delete", path))
