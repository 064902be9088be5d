"""The embedded store: one SQLite file in WAL mode, each write on disk (fsync) before it is answered.

A kill at any moment leaves the last whole write: SQLite rolls the rest back when the file is opened again. The recent
writes, from which watches resume, are only in memory: after a restart only a client that missed nothing can resume.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slicer.model.errors import UnavailableError
from slicer_controller.store import Entry, Event, check_expected
from slicer_controller.store.watching import KEPT_EVENTS, RecentEvents, RecentWatch

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
  key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL, created_at_s REAL NOT NULL) WITHOUT ROWID;
"""
_BUSY_S = 5.0
"""Another process should never have the file open; a backup for a moment may."""


class SqliteStore:
    """See `Store`. One process at a time opens a file."""

    def __init__(self, path: Path, *, clock: Callable[[], float], keep: int = KEPT_EVENTS) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.Error as error:
            raise UnavailableError(f"store {path} cannot be opened: {error}") from error
        path.chmod(0o600)
        self.epoch = self._meta("epoch", uuid.uuid4().hex)
        self.revision = int(self._meta("revision", "0"))
        self._events = RecentEvents(self.revision, keep=keep)

    def get(self, key: str) -> Entry | None:
        """See `Store`."""
        with self._lock:
            row = self._db.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchone()
        return _entry(row) if row else None

    def list(self, prefix: str = "") -> list[Entry]:
        """See `Store`."""
        beyond = prefix + "\U0010ffff"
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM entries WHERE key >= ? AND key < ? ORDER BY key", (prefix, beyond)
            ).fetchall()
        return [_entry(row) for row in rows]

    def put(self, key: str, value: Any, *, expected: int | None = None) -> Entry:
        """See `Store`."""
        text = json.dumps(value)
        with self._lock:
            before = self.get(key)
            check_expected(key, before, expected)
            created = before.created_at_s if before else self._clock()
            entry = Entry(key=key, value=json.loads(text), revision=self.revision + 1, created_at_s=created)
            row = (key, text, entry.revision, created)
            self._write("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", row, entry.revision)
            self._events.add(Event(key=key, revision=entry.revision, entry=entry))
        return entry

    def delete(self, key: str, *, expected: int | None = None) -> int | None:
        """See `Store`."""
        with self._lock:
            before = self.get(key)
            check_expected(key, before, expected)
            if before is None:
                return None
            self._write("DELETE FROM entries WHERE key = ?", (key,), self.revision + 1)
            self._events.add(Event(key=key, revision=self.revision, entry=None))
            return self.revision

    def watch(self, since: int, wake: Callable[[], None] = lambda: None) -> RecentWatch:
        """See `Store`."""
        with self._lock:
            return self._events.watch(since, self.revision, wake)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See `Store`. One transaction: what is inside is on disk whole or not at all, if the process is killed."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                # Also after an error: the events of these writes are out, so that they must stay.
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("COMMIT")

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            self._db.close()

    def _write(self, statement: str, row: tuple[Any, ...], revision: int) -> None:
        with self.batch():
            self._db.execute(statement, row)
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (str(revision),))
        self.revision = revision

    def _meta(self, name: str, default: str) -> str:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, default))
        return str(self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -2048")
    db.executescript(_SCHEMA)
    return db


def _entry(row: tuple[str, str, int, float]) -> Entry:
    key, text, revision, created = row
    return Entry(key=key, value=json.loads(text), revision=revision, created_at_s=created)
