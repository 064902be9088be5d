"""The running pods of a real node, as its container runtime tells them over CRI (containerd, CRI-O).

A thread with an event loop of its own lists the ready pod sandboxes POLL_S apart: one call on a local socket. Only a
sandbox that was not there before is looked at closely. A runtime that is down or restarts changes nothing: what is
known stays until it answers again. A sandbox that it will not or cannot describe stands in nobody's way: it is said,
asked for again, more and more seldom, and meanwhile nothing that the pod has is ended.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from grpclib.exceptions import GRPCError

from slicer.agent import log
from slicer.agent.changes import Changes
from slicer.agent.cri_client import Runtime, sandbox_of
from slicer.model.errors import InvalidError, UnavailableError
from slicer.plan.membership import Sandbox

POLL_S = 0.5
"""Endpoints follow pods within a second."""
RETRY_S = 1.0
"""How soon a runtime that does not answer is asked again."""
UNCLEAR_S = (0.5, 60.0)
"""How soon a sandbox that could not be read is asked for again: first, and at most; a call that hangs takes 10 s."""


class CriSandboxes:
    """See above. `sockets` are the paths where a runtime may listen; the first that exists is asked."""

    def __init__(self, sockets: tuple[Path, ...], changed: Changes) -> None:
        self.changed = changed
        self.ready = False
        self.looks = self.failures = 0
        """How often the runtime answered, and did not, since the start."""
        self._sockets = sockets
        self.unclear: frozenset[str] = frozenset()
        self._known: dict[str, Sandbox | None] = {}
        self._again: dict[str, tuple[float, float]] = {}
        """Unclear sandboxes: when they are asked for again, by the loop's clock, and how long that wait is."""
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
            except Exception as error:  # whatever it is: without this thread no pod is seen any more
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
        again: dict[str, tuple[float, float]] = {}
        for item in await runtime.ready():
            at_s, waited_s = self._again.get(item.id, _NEW)
            if item.id in self._known:
                known[item.id] = self._known[item.id]
            elif at_s > _now_s():
                again[item.id] = at_s, waited_s
            elif not await self._read(runtime, item, known):
                wait_s = min(max(2 * waited_s, UNCLEAR_S[0]), UNCLEAR_S[1])
                again[item.id] = _now_s() + wait_s, wait_s
        self.looks += 1
        self._known, self._again = known, again
        self._show({key: sandbox for key, sandbox in known.items() if sandbox}, frozenset(again))

    def _show(self, running: dict[str, Sandbox], unclear: frozenset[str]) -> None:
        """In this order: whoever reads `unclear` before `all` finds each pod that runs in one of them."""
        changed = not self.ready or running != self._running
        if changed:
            self._running = running
        self.unclear, self.ready = unclear, True
        if changed:
            self.changed.ring()

    async def _read(self, runtime: Runtime, item: Any, known: dict[str, Sandbox | None]) -> bool:
        """Put the sandbox into `known`, unless it is gone; False if that cannot be done now."""
        try:
            status = await runtime.status(item.id)
            if status is not None:
                known[item.id] = sandbox_of(item, status)
        except (GRPCError, TimeoutError, InvalidError) as error:
            self._said.event("sandbox.unreadable", item.id, f"{type(error).__name__}: {error}")
            return False
        self._said.event("sandbox.unreadable", item.id, "")
        return True


_NEW = (float("-inf"), 0.0)
"""A sandbox that was never asked for: at once."""


def _now_s() -> float:
    return asyncio.get_running_loop().time()
