"""The store seam: what a controller keeps, as JSON values under keys, and nothing about what they mean.

Declared and allocated state lives here always, reports as the last that was heard. Adapters: `sqlite` (the embedded
default) and `memory` (tests); one contract test runs on all (tests/contract/test_store.py).

Rules that callers may rely on:
* One write changes one key, at once and for good: whoever has its Entry will find it after a kill at any moment.
* `revision` grows by one with each write; an entry carries the revision of its last write, an event that of its write.
* `epoch` names the memory: made with the store, never changed; another epoch is another memory, with other revisions.
* Watches report each write after the revision asked for, in order, none twice. One that cannot (TooOldError) says so.
* All methods may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from slicer.model.errors import StaleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key as it is stored."""

    key: str
    value: Any
    """JSON-able; not to be changed by whoever gets it."""
    revision: int
    created_at_s: float
    """Unix time of the write that made the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One write: `entry` as it was stored, or None if the key was removed."""

    key: str
    revision: int
    entry: Entry | None


class TooOldError(StaleError):
    """The store no longer knows what was written after the revision asked for: list, and watch from there."""

    reason = "TooOld"


class Watch(Protocol):
    """The writes after a revision."""

    def take(self) -> list[Event]:
        """The writes since the last call; never waits."""

    def close(self) -> None:
        """Stop watching; `take` finds nothing any more."""


class Store(Protocol):
    """See the rules above."""

    @property
    def epoch(self) -> str:
        """Name of this memory."""

    @property
    def revision(self) -> int:
        """Revision of the last write; 0 for an empty store."""

    def get(self, key: str) -> Entry | None:
        """The entry under `key`."""

    def list(self, prefix: str = "") -> list[Entry]:
        """All entries whose key begins with `prefix`, by key."""

    def put(self, key: str, value: Any, *, expected: int | None = None) -> Entry:
        """Write `key`; StaleError, and nothing changed, unless it has the revision `expected` (0: is not there)."""

    def delete(self, key: str, *, expected: int | None = None) -> int | None:
        """Remove `key` and return the write's revision, None if it is not there; `expected` as for `put`."""

    def watch(self, since: int, wake: Callable[[], None] = lambda: None) -> Watch:
        """The writes after revision `since`; `wake` is called, by whatever thread, when there may be something to take.

        TooOldError when they are not all known any more, or `since` lies in the future.
        """

    def batch(self) -> AbstractContextManager[None]:
        """The writes inside become durable together at the end: quicker, and no more than that."""

    def close(self) -> None:
        """Release everything; the store is not usable any more."""


def check_expected(key: str, entry: Entry | None, expected: int | None) -> None:
    """StaleError unless `entry` (None: nothing there) is what the writer expects."""
    found = entry.revision if entry else 0
    if expected is None or expected == found:
        return
    if expected == 0:
        raise StaleError(f"{key} exists already (revision {found})", reason="Exists")
    now = f"has revision {found} now" if entry else "does not exist any more"
    raise StaleError(f"{key} was read at revision {expected} and {now}: somebody changed it; read it again")
