"""A store that forgets everything with its process: for tests of what stands on the store."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slicer_controller.store import Entry, Event, check_expected
from slicer_controller.store.watching import KEPT_EVENTS, RecentEvents, RecentWatch


class MemoryStore:
    """See `Store`."""

    def __init__(self, *, clock: Callable[[], float], keep: int = KEPT_EVENTS) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._events = RecentEvents(0, keep=keep)
        self.epoch = uuid.uuid4().hex
        self.revision = 0

    def get(self, key: str) -> Entry | None:
        """See `Store`."""
        return self._entries.get(key)

    def list(self, prefix: str = "") -> list[Entry]:
        """See `Store`."""
        with self._lock:
            return [entry for key, entry in sorted(self._entries.items()) if key.startswith(prefix)]

    def put(self, key: str, value: Any, *, expected: int | None = None) -> Entry:
        """See `Store`."""
        value = json.loads(json.dumps(value))
        with self._lock:
            before = self._entries.get(key)
            check_expected(key, before, expected)
            created = before.created_at_s if before else self._clock()
            entry = Entry(key=key, value=value, revision=self.revision + 1, created_at_s=created)
            self.revision, self._entries[key] = entry.revision, entry
            self._events.add(Event(key=key, revision=entry.revision, entry=entry))
        return entry

    def delete(self, key: str, *, expected: int | None = None) -> int | None:
        """See `Store`."""
        with self._lock:
            check_expected(key, self._entries.get(key), expected)
            if self._entries.pop(key, None) is None:
                return None
            self.revision += 1
            self._events.add(Event(key=key, revision=self.revision, entry=None))
            return self.revision

    def watch(self, since: int, wake: Callable[[], None] = lambda: None) -> RecentWatch:
        """See `Store`."""
        with self._lock:
            return self._events.watch(since, self.revision, wake)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See `Store`."""
        yield

    def close(self) -> None:
        """See `Store`."""
