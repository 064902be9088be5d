"""The attachments of this node: a table in memory, and a file each, written before the kernel is touched.

    attachments/<container id>:<interface>.json      pending, attached or detaching
    resting/<container id>:<interface>.json          released; its addresses rest for REST_S after the file's mtime

':' occurs in neither part. Files are replaced whole (rename), so a kill leaves the old or the new one. No fsync: after
a crash of the machine its network namespaces are gone, and the files are only removed.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from slicer.agent import log
from slicer.client.codec import decode, encode
from slicer.model.attachments import Attachment
from slicer.model.names import Address
from slicer.plan.attach import REST_S

Key = tuple[str, str]
"""(container id, interface)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An attachment and what is needed to take it away without a view."""

    attachment: Attachment
    vni: int
    netns_cookie: int = 0
    """The kernel's number of the pod's namespace (SO_NETNS_COOKIE), never used twice; 0 while not attached."""

    @property
    def key(self) -> Key:
        """What identifies it."""
        return (self.attachment.container_id, self.attachment.interface)


class Journal:
    """Thread-safe. Every change is on disk before the method returns."""

    def __init__(self, state: Path) -> None:
        self._directory = state / "attachments"
        self._resting_directory = state / "resting"
        self._lock = threading.Lock()
        self._records: dict[Key, Record] = {}
        self._resting: dict[Key, tuple[float, Record]] = {}
        self._rested: tuple[float, float, dict[str, set[Address]]] = (0.0, 0.0, {})
        """The last answer of `resting`, and from when to when (time of day) it holds."""
        for directory in (self._directory, self._resting_directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load()

    def all(self) -> list[Record]:
        """Every record, sorted by key."""
        with self._lock:
            return [self._records[key] for key in sorted(self._records)]

    def attachments(self) -> list[Attachment]:
        """Every attachment, whatever its state, sorted by key."""
        return [record.attachment for record in self.all()]

    def get(self, key: Key) -> Record | None:
        """The record, or None."""
        with self._lock:
            return self._records.get(key)

    def put(self, record: Record) -> None:
        """Write or replace."""
        _write(self._path(self._directory, record.key), _render(record))
        with self._lock:
            self._records[record.key] = record
            if self._resting.pop(record.key, None):
                self._rested = (0.0, 0.0, {})

    def update(self, key: Key, **changes: object) -> Record | None:
        """Replace fields of the attachment; None, and nothing happens, if there is no such record."""
        record = self.get(key)
        if record is None:
            return None
        changed = replace(record, attachment=replace(record.attachment, **changes))  # type: ignore[arg-type]
        self.put(changed)
        return changed

    def forget(self, key: Key) -> None:
        """Remove the record; its addresses are free at once (nobody ever used them)."""
        self._path(self._directory, key).unlink(missing_ok=True)
        with self._lock:
            self._records.pop(key, None)

    def rest(self, key: Key) -> None:
        """Remove the record; its addresses rest."""
        source, target = self._path(self._directory, key), self._path(self._resting_directory, key)
        os.utime(source)
        source.rename(target)
        with self._lock:
            self._resting[key] = (time.time(), self._records.pop(key))
            self._rested = (0.0, 0.0, {})

    def resting(self) -> Mapping[str, Collection[Address]]:
        """Addresses that rest, by slice; those that have rested enough are dropped."""
        now = time.time()
        with self._lock:
            since, until, found = self._rested
            if since <= now < until:
                return found  # every ADD asks; only time and a DEL change the answer
            over = [key for key, (since, _) in self._resting.items() if not 0 <= now - since < REST_S]
            for key in over:
                del self._resting[key]
            found = self._by_slice()
            times = [since for since, _ in self._resting.values()]
            self._rested = (max(times, default=0.0), min(times, default=math.inf) + REST_S, found)
        for key in over:
            self._path(self._resting_directory, key).unlink(missing_ok=True)
        return found

    def _by_slice(self) -> dict[str, set[Address]]:
        found: dict[str, set[Address]] = {}
        for _, record in self._resting.values():
            found.setdefault(record.attachment.slice, set()).update(record.attachment.addresses)
        return found

    def _load(self) -> None:
        for path in _files(self._directory):
            if record := _read(path):
                self._records[record.key] = record
        for path in _files(self._resting_directory):
            if record := _read(path):
                self._resting[record.key] = (path.stat().st_mtime, record)

    @staticmethod
    def _path(directory: Path, key: Key) -> Path:
        return directory / f"{key[0]}:{key[1]}.json"


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if not path.name.startswith("unreadable:")]


def _write(path: Path, data: bytes) -> None:
    """Replace `path` in one step; mode 0600, and no link in its place is followed."""
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    temporary.rename(path)


def _render(record: Record) -> bytes:
    fields = {"attachment": encode(record.attachment), "vni": record.vni, "netns_cookie": record.netns_cookie}
    return json.dumps(fields).encode()


def _parse(data: bytes) -> Record:
    fields = json.loads(data)
    attachment = decode(Attachment, fields["attachment"])
    return Record(attachment=attachment, vni=fields["vni"], netns_cookie=fields["netns_cookie"])


def _read(path: Path) -> Record | None:
    """The record in a file; remains of a killed write are removed, anything else unreadable is set aside and said."""
    if path.name.startswith("."):
        path.unlink(missing_ok=True)
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return _parse(file.read())
    except (ValueError, LookupError, TypeError, OSError) as error:
        log.event("journal.unreadable", path=str(path), error=str(error)[:300])
        path.rename(path.with_name(f"unreadable:{path.name}"))
        return None
