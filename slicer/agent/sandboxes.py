"""The running pods of this node, and a bell when they change: the seam, and the lab's source, a directory of files.

The source of real nodes is `slicer.agent.cri`.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Protocol

from slicer.agent import log
from slicer.agent.changes import Changes
from slicer.model.errors import InvalidError
from slicer.plan.membership import Sandbox

POLL_S = 0.2
"""Endpoints follow pods within a second; a look costs one stat a file."""


class SandboxSource(Protocol):
    """Who runs here. `changed` rings after the answer of `all` changed."""

    changed: Changes
    ready: bool
    """Whether the answer of `all` was ever heard; until then no pod is known to have ended."""

    unclear: frozenset[str]
    """Container ids of pods that run although `all` has them not: nothing of theirs has ended. Read before `all`."""

    def start(self) -> None:
        """Begin to look; returns at once."""
        ...

    def all(self) -> dict[str, Sandbox]:
        """Running pods by container id."""
        ...


class SandboxDirectory:
    """Sandboxes as files `<container id>.json`; looked at five times a second by a thread of its own."""

    def __init__(self, directory: Path, changed: Changes) -> None:
        self.changed = changed
        self.ready = True
        self.unclear: frozenset[str] = frozenset()
        self._directory = directory
        self._seen: dict[str, tuple[tuple[int, int], Sandbox | None]] = {}
        self._known: dict[str, Sandbox] = {}
        self.look()

    def start(self) -> None:
        """Look for ever, in a daemon thread."""
        threading.Thread(target=self._look_forever, name="sandboxes", daemon=True).start()

    def all(self) -> dict[str, Sandbox]:
        """Running pods by container id."""
        return self._known

    def look(self) -> None:
        """Read what changed; the table is replaced whole, so readers never see half of it."""
        seen: dict[str, tuple[tuple[int, int], Sandbox | None]] = {}
        for path in self._directory.glob("[!.]*.json") if self._directory.is_dir() else ():
            try:
                status = path.stat()
                stamp = (status.st_mtime_ns, status.st_ino)
                old = self._seen.get(path.name)
                seen[path.name] = old if old and old[0] == stamp else (stamp, _read(path))
            except FileNotFoundError:
                continue
        self._seen = seen
        known = {sandbox.container_id: sandbox for _, sandbox in seen.values() if sandbox}
        if known != self._known:
            self._known = known
            self.changed.ring()

    def _look_forever(self) -> None:
        never = threading.Event()
        while not never.wait(POLL_S):
            try:
                self.look()
            except OSError as error:
                log.event("sandboxes.unreadable", directory=str(self._directory), error=error)


def parse_sandbox(text: bytes) -> Sandbox:
    """The sandbox in a file; InvalidError for anything else."""
    try:
        value = json.loads(text)
        return Sandbox(
            container_id=value["id"],
            namespace=value["namespace"],
            name=value["name"],
            uid=value.get("uid", ""),
            labels=tuple(sorted((str(k), str(v)) for k, v in value.get("labels", {}).items())),
            netns=value["netns"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidError(f"not a sandbox: {error!r}") from None


def _read(path: Path) -> Sandbox | None:
    try:
        return parse_sandbox(path.read_bytes())
    except InvalidError as error:
        log.event("sandbox.unreadable", path=str(path), error=error.message)
        return None
