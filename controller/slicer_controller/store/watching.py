"""The recent writes of a store in memory, and the watches that read them: the same for every embedded adapter."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from slicer_controller.store import Event, TooOldError

KEPT_EVENTS = 4096
"""Writes that can be resumed from; a client that was away for longer gets everything anew."""


class RecentEvents:
    """The last writes, in order. The caller holds its own lock around `add` and `watch`."""

    def __init__(self, revision: int, *, keep: int = KEPT_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=keep)
        self._oldest = revision
        """Everything after this revision is known."""
        self._watches: list[RecentWatch] = []

    def add(self, event: Event) -> None:
        """Remember a write and wake all watches."""
        if len(self._events) == self._events.maxlen:
            self._oldest = self._events[0].revision
        self._events.append(event)
        for watch in list(self._watches):
            watch.put(event)

    def watch(self, since: int, revision: int, wake: Callable[[], None]) -> RecentWatch:
        """A watch of everything after `since`, where `revision` is the last write's."""
        if not self._oldest <= since <= revision:
            raise TooOldError(
                f"the changes since revision {since} are not known any more (the oldest is {self._oldest})"
            )
        watch = RecentWatch([event for event in self._events if event.revision > since], wake, self._watches.remove)
        self._watches.append(watch)
        return watch


class RecentWatch:
    """One reader of the writes."""

    def __init__(self, events: list[Event], wake: Callable[[], None], forget: Callable[[RecentWatch], None]) -> None:
        self._events, self._wake, self._forget = events, wake, forget
        self._lock = threading.Lock()
        self._closed = False

    def put(self, event: Event) -> None:
        """One more write to take."""
        with self._lock:
            self._events.append(event)
        self._wake()

    def take(self) -> list[Event]:
        """See `Watch`."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def close(self) -> None:
        """See `Watch`."""
        if not self._closed:
            self._closed = True
            self._forget(self)
        self.take()
