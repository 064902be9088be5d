"""What the tunnels were like in the last three hours: a sample every ten seconds, folded into minutes, in memory only.

Only what its reporter still stands for is sampled: a document stays when whoever reported it has gone, and what it says
then is of the past.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from slicer.client.report import HEARTBEAT_S
from slicer.model.attachments import TunnelHealth
from slicer.model.documents import key_of, of_kind
from slicer.plan.history import History, fold
from slicer_controller.access import Peer
from slicer_controller.reports import Reports
from slicer_controller.state import State

log = logging.getLogger(__name__)
SAMPLE_S = 10.0
"""Agents look at their tunnels every few seconds; the probes' figures are of the last ten."""
SILENT_S = 3 * HEARTBEAT_S
"""Whoever was not heard for three heartbeats is away."""


class Recorder:
    """The history of one controller. Lives in the event loop's thread; what it knows ends with the process."""

    def __init__(self, state: State, reports: Reports, cluster: str, clock: Callable[[], float]) -> None:
        self._state, self._reports, self._cluster, self._clock = state, reports, cluster, clock
        self._kept = History()
        self._seen: dict[str, tuple[TunnelHealth, float]] = {}
        """By key: what the last sample saw, and since when it says so."""

    async def take(self) -> None:
        """Take one sample."""
        now_s = self._clock()
        present = self._present(now_s)
        tunnels = of_kind(self._state.documents, TunnelHealth)
        self._seen = {key_of(one): (one, self._since_s(one, now_s)) for one in tunnels}
        # Of thousands of tunnels the end of a minute is a quarter of a second's work: not in the loop's thread.
        self._kept = await asyncio.to_thread(fold, self._kept, now_s, present)

    async def look(self) -> History:
        """What was kept, and the present as a sample that is not: an answer is never older than its question."""
        now_s = self._clock()
        return await asyncio.to_thread(fold, self._kept, now_s, self._present(now_s))

    async def run(self, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                await self.take()
            except Exception:
                # One sample less; what controllers are for must go on.
                log.exception("sample of tunnels failed")
            await pause(SAMPLE_S)

    def _present(self, now_s: float) -> list[TunnelHealth]:
        tunnels = of_kind(self._state.documents, TunnelHealth)
        return [one for one in tunnels if self._is_heard(one, now_s) and not self._is_frozen(one, now_s)]

    def _is_heard(self, tunnel: TunnelHealth, now_s: float) -> bool:
        """Whether its reporter to this controller, the agent or the member, is there."""
        own = tunnel.cluster == self._cluster
        name = tunnel.node if own else tunnel.cluster
        peer = Peer(kind="node" if own else "cluster", cluster=tunnel.cluster, name=name)
        heard_at_s = self._reports.heard_at_s.get(peer.uri)
        return heard_at_s is not None and now_s - heard_at_s <= SILENT_S

    def _is_frozen(self, tunnel: TunnelHealth, now_s: float) -> bool:
        """Whether it is said to be up, but its counters stand still, though probes pass: the agent has gone.

        A hub hears the member go on, and does not hear that one of its agents has ended.
        """
        return tunnel.up is True and now_s - self._since_s(tunnel, now_s) > SILENT_S

    def _since_s(self, tunnel: TunnelHealth, now_s: float) -> float:
        seen, since_s = self._seen.get(key_of(tunnel), (None, now_s))
        return since_s if seen == tunnel else now_s
