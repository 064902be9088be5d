"""The running pods of a real node, as its container runtime tells them over CRI (containerd, CRI-O).

A thread with an event loop of its own lists the ready pod sandboxes POLL_S apart: one call on a local socket. Only a
sandbox that was not there before is looked at closely. A runtime that is down or restarts changes nothing: what is
known stays until it answers again.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from slicer.agent import log
from slicer.agent.changes import Changes
from slicer.agent.cri_client import Runtime, sandbox_of
from slicer.model.errors import InvalidError, UnavailableError
from slicer.plan.membership import Sandbox

POLL_S = 0.5
"""Endpoints follow pods within a second."""
RETRY_S = 1.0
"""How soon a runtime that does not answer is asked again."""
_FAILURES = (OSError, TimeoutError, GRPCError, ProtocolError, StreamTerminatedError, UnavailableError)


class CriSandboxes:
    """See above. `sockets` are the paths where a runtime may listen; the first that exists is asked."""

    def __init__(self, sockets: tuple[Path, ...], changed: Changes) -> None:
        self.changed = changed
        self.ready = False
        self.looks = self.failures = 0
        """How often the runtime answered, and did not, since the start."""
        self._sockets = sockets
        self._known: dict[str, Sandbox | None] = {}
        self._running: dict[str, Sandbox] = {}
        self._said = log.Repeated()

    def start(self) -> None:
        """Follow the runtime for ever, in a daemon thread."""
        threading.Thread(target=lambda: asyncio.run(self.follow()), name="cri", daemon=True).start()

    def all(self) -> dict[str, Sandbox]:
        """Running pods by container id; the last known ones while the runtime does not answer."""
        return self._running

    async def follow(self) -> None:
        """Ask for ever; connect anew whenever that fails."""
        while True:
            try:
                await self._session()
            except _FAILURES as error:
                self.failures += 1
                self._said.event("cri.unreachable", "runtime", f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_S)

    async def _session(self) -> None:
        socket = next((path for path in self._sockets if path.exists()), None)
        if socket is None:
            raise UnavailableError(f"no container runtime listens at {' or '.join(map(str, self._sockets))}")
        runtime = Runtime(socket)
        try:
            while True:
                await self._look(runtime)
                self._said.event("cri.unreachable", "runtime", "")
                await asyncio.sleep(POLL_S)
        finally:
            runtime.close()

    async def _look(self, runtime: Runtime) -> None:
        """Read what changed; the table is replaced whole, so readers never see half of it."""
        known: dict[str, Sandbox | None] = {}
        for item in await runtime.ready():
            if item.id in self._known:
                known[item.id] = self._known[item.id]
            elif (status := await runtime.status(item.id)) is not None:
                known[item.id] = self._read(item, status)
        self.looks += 1
        self._known = known
        running = {key: sandbox for key, sandbox in known.items() if sandbox}
        if not self.ready or running != self._running:
            self._running, self.ready = running, True
            self.changed.ring()

    def _read(self, item: Any, status: Any) -> Sandbox | None:
        try:
            return sandbox_of(item, status)
        except InvalidError as error:
            self._said.event("sandbox.unreadable", item.id, error.message)
            return None
