"""The store in the Kubernetes API: a SlicerRecord for each entry, all of them in memory as well.

One process at a time writes (leader election); it is the only author of the records, so that what it has in memory is
what is there. Each write names the resourceVersion that it replaces: a second writer is noticed, never overwritten.

Revisions are numbers of ours. They are reserved in blocks in the record `store`, so that no revision is ever given out
twice, also not by the next leader; after a restart a watch never resumes, and whoever followed gets the whole again.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from slicer.client.kube_api import Api
from slicer.model.errors import InvalidError, NotFoundError, SlicerError, StaleError, UnavailableError
from slicer_controller.kube.naming import RECORD
from slicer_controller.kube.records import Durability, parse_record, parse_records, record_name, render_record
from slicer_controller.kube.writing import LateWriter
from slicer_controller.store import Entry, Event, check_expected
from slicer_controller.store.watching import KEPT_EVENTS, RecentEvents, RecentWatch

log = logging.getLogger(__name__)
META = "store"
"""Key of the record that names the memory."""
REVISION_BLOCK = 1_000_000
"""Revisions reserved at once: one more write to the API server in this many."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What differs from one use of the store to another."""

    durability: Callable[[str], Durability] = lambda _key: Durability.NOW
    may_write: Callable[[], bool] = lambda: True
    """Whether this process is still the one that writes."""
    declare: Callable[[str, Any], None] = lambda _key, _value: None
    """Called before a value is stored at once: the users' object of the same thing is made to say the same."""
    retire: Callable[[str], None] = lambda _key: None
    """Called before an entry that is stored at once is removed."""
    withdraw: Callable[[str], None] = lambda _key: None
    """Called after that."""


class KubernetesStore:
    """See `Store`, and above."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        *,
        clock: Callable[[], float],
        keep: int = KEPT_EVENTS,
        rules: Rules | None = None,
    ) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._rules = rules or Rules()
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._versions: dict[str, str] = {}
        """resourceVersion of each record that is in the API server."""
        self._meta = self._load_meta()
        _, value, _ = parse_record(self._meta)
        self.epoch, self.revision = str(value["epoch"]), int(value["reserved"])
        # Now, not at the first write: the API server may be away by then, and reports must go on.
        self._meta, self._reserved = self._reserve(self._meta), self.revision + REVISION_BLOCK
        spoiled = self._load()
        self._events = RecentEvents(self.revision, keep=keep)
        self._late = LateWriter(self._write_late)
        for key in spoiled:
            self._late.add(key)

    def get(self, key: str) -> Entry | None:
        """See `Store`."""
        return self._entries.get(key)

    def list(self, prefix: str = "") -> list[Entry]:
        """See `Store`."""
        with self._lock:
            keys = sorted(key for key in self._entries if key.startswith(prefix))
            return [self._entries[key] for key in keys]

    def put(self, key: str, value: Any, *, expected: int | None = None) -> Entry:
        """See `Store`. UnavailableError, and nothing promised, if the API server did not take what must be kept."""
        text = json.dumps(value)
        with self._lock:
            before = self._entries.get(key)
            check_expected(key, before, expected)
            revision = self._next_revision()
            if self._rules.durability(key) is Durability.NOW:
                self._check_leading()
                self._rules.declare(key, json.loads(text))
                self._write_now(key, json.loads(text))
            created = before.created_at_s if before else self._clock()
            entry = Entry(key=key, value=json.loads(text), revision=revision, created_at_s=created)
            self._entries[key] = entry
            self._happened(Event(key=key, revision=revision, entry=entry))
        return entry

    def delete(self, key: str, *, expected: int | None = None) -> int | None:
        """See `Store`."""
        with self._lock:
            before = self._entries.get(key)
            check_expected(key, before, expected)
            if before is None:
                return None
            revision = self._next_revision()
            if self._rules.durability(key) is Durability.NOW:
                self._check_leading()
                self._rules.retire(key)
                self._remove_now(key)
                self._rules.withdraw(key)
            del self._entries[key]
            self._happened(Event(key=key, revision=revision, entry=None))
            return revision

    def watch(self, since: int, wake: Callable[[], None] = lambda: None) -> RecentWatch:
        """See `Store`."""
        with self._lock:
            return self._events.watch(since, self.revision, wake)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See `Store`. Nothing is gathered: each write goes by itself."""
        yield

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is in the API server that goes there late; whether that was so in time."""
        return self._late.flush(timeout_s)

    def close(self) -> None:
        """See `Store`."""
        self._late.close()

    def _happened(self, event: Event) -> None:
        self.revision = event.revision
        if self._rules.durability(event.key) is Durability.SOON:
            self._late.add(event.key)
        self._events.add(event)

    def _next_revision(self) -> int:
        if self.revision + 1 > self._reserved:
            self._meta = self._reserve(self._meta)
            self._reserved += REVISION_BLOCK
        return self.revision + 1

    def _load_meta(self) -> Json:
        path = RECORD.path(record_name(META), self._namespace)
        found = self._api.find(path)
        if found is None:
            value = {"epoch": uuid.uuid4().hex, "reserved": 0}
            found = self._api.create(RECORD.path(namespace=self._namespace), render_record(META, value))
        return found

    def _reserve(self, meta: Json) -> Json:
        value = json.loads(meta["spec"]["value"])
        value["reserved"] += REVISION_BLOCK
        body = render_record(META, value, version=meta["metadata"]["resourceVersion"])
        return self._api.replace(self._path(META), body)

    def _load(self) -> tuple[str, ...]:
        """Everything that is there, as if written now, in the order of the keys; the keys of spoiled reports."""
        records = self._api.each(RECORD.path(namespace=self._namespace))
        others = (record for record in records if record["metadata"]["name"] != record_name(META))
        read, spoiled = parse_records(others, self._rules.durability)
        for key, value, created, version in read:
            self.revision = self._next_revision()
            self._entries[key] = Entry(key=key, value=value, revision=self.revision, created_at_s=created)
            self._versions[key] = version
        for key in spoiled:
            log.warning("spoiled record removed: it will be reported again", extra={"key": key})
        return tuple(spoiled)

    def _path(self, key: str) -> str:
        return RECORD.path(record_name(key), self._namespace)

    def _check_leading(self) -> None:
        if not self._rules.may_write():
            raise UnavailableError("this controller does not lead any more: another one writes now")

    def _write_now(self, key: str, value: Any) -> None:
        try:
            made = self._send(key, value)
        except (StaleError, NotFoundError) as error:
            raise self._changed_behind(key, error) from error
        self._versions[key] = made["metadata"]["resourceVersion"]

    def _send(self, key: str, value: Any) -> Json:
        version = self._versions.get(key, "")
        body = render_record(key, value, version=version)
        if version:
            return self._api.replace(self._path(key), body)
        return self._api.create(RECORD.path(namespace=self._namespace), body)

    def _remove_now(self, key: str) -> None:
        try:
            self._api.delete(self._path(key), version=self._versions.get(key, ""))
        except StaleError as error:
            raise self._changed_behind(key, error) from error
        self._versions.pop(key, None)

    def _changed_behind(self, key: str, error: SlicerError) -> StaleError:
        """An answer was lost, or somebody changed the record: what is there now counts, and the caller looks again."""
        record = self._api.find(self._path(key))
        entry = self._entry_in(key, record) if record is not None else None
        if record is None or entry is None:
            self._entries.pop(key, None)
            self._versions.pop(key, None)
        else:
            self._entries[key] = entry
            self._versions[key] = record["metadata"]["resourceVersion"]
        self._happened(Event(key=key, revision=self._next_revision(), entry=entry))
        return StaleError(f"{key} was changed in the API server behind this controller: {error.message}")

    def _entry_in(self, key: str, record: Json) -> Entry | None:
        """What the record says; what is in memory if somebody spoiled it, so that the next write mends it."""
        try:
            _, value, created = parse_record(record)
        except InvalidError:
            log.exception("record spoiled by hand", extra={"key": key})
            known = self._entries.get(key)
            return replace(known, revision=self._next_revision()) if known else None
        return Entry(key=key, value=value, revision=self._next_revision(), created_at_s=created)

    def _learn_version(self, key: str) -> None:
        """For what is ours to overwrite."""
        record = self._api.find(self._path(key))
        if record is None:
            self._versions.pop(key, None)
        else:
            self._versions[key] = record["metadata"]["resourceVersion"]

    def _write_late(self, key: str) -> None:
        """Called by the late writer's thread: make the record what the entry is now."""
        self._check_leading()
        with self._lock:
            entry = self._entries.get(key)
        try:
            if entry is not None:
                version = self._send(key, entry.value)["metadata"]["resourceVersion"]
                self._versions[key] = version
            else:
                # Also if we know of no record: the answer to its making may have been lost.
                self._api.delete(self._path(key))
                self._versions.pop(key, None)
        except (StaleError, NotFoundError):
            self._learn_version(key)
            raise
