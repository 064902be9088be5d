"""Sends the probes: one thread, one socket a slice and family; publishes path health when it has news.

Quick (QUICK_S) until a target answers and again as soon as it misses one, for a while; else every STEADY_S.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from slicer.agent.changes import Changes
from slicer.kernel import netns
from slicer.kernel.echo import Echo
from slicer.kernel.polling import readable
from slicer.model.attachments import PathHealth
from slicer.model.documents import Documents
from slicer.model.names import Address
from slicer.plan.dataplane_topology import slice_ns
from slicer.plan.probes import Heard, Target, news, path_health, plan_targets

QUICK_S = 0.1
STEADY_S = 1.0
RTT_NEWS_S = 5.0
"""How often a round trip alone is told."""
REPLY_WAIT_S = 1.0
"""A reply that comes later counts as lost: farther away is no path that anybody would want."""
PATIENT_AFTER = 100
"""Losses in a row after which a silent target is probed as seldom as a well one."""


@dataclass(slots=True)
class _Probe:
    """The state of one target."""

    heard: Heard = field(default_factory=Heard)
    sequence: int = 0
    due_at: float = 0.0
    waiting: dict[int, float] = field(default_factory=dict)
    """Sequence → when it was sent."""

    def expire(self, now: float) -> None:
        """Count what nobody answered in time."""
        for sequence, sent_at in list(self.waiting.items()):
            if now - sent_at > REPLY_WAIT_S:
                del self.waiting[sequence]
                self.heard = self.heard.silence()

    def next(self, now: float) -> int:
        """The sequence number to send now."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.waiting[self.sequence] = now
        self.due_at = now + (QUICK_S if 0 < self.heard.lost < PATIENT_AFTER else STEADY_S)
        return self.sequence

    def reply(self, sequence: int, now: float) -> None:
        """Count an answer, once."""
        sent_at = self.waiting.pop(sequence, None)
        if sent_at is not None:
            self.heard = self.heard.reply(int((now - sent_at) * 1e6))


class Prober:
    """`run_forever` in a thread of its own; `paths` is what it knows now."""

    def __init__(self, *, cluster: str, node: str, view: Callable[[], Documents], changed: Changes) -> None:
        self._cluster, self._node, self._view, self._changed = cluster, node, view, changed
        self._probes: dict[Target, _Probe] = {}
        self._sockets: dict[tuple[int, int], tuple[int, Echo]] = {}
        self._planned: Documents | None = None
        self._told_at = 0.0
        self.paths: tuple[PathHealth, ...] = ()

    def run_forever(self) -> None:
        """Probe and listen for ever."""
        while True:
            self.step()

    def step(self) -> None:
        """Send what is due, wait for answers until the next is due, judge."""
        self._plan()
        now = time.monotonic()
        for target, probe in self._probes.items():
            probe.expire(now)
            if now >= probe.due_at:
                self._send(target, probe.next(now))
        due = min((probe.due_at for probe in self._probes.values()), default=now + STEADY_S)
        self._listen(min(max(due - time.monotonic(), 0.0), QUICK_S))
        self._tell()

    def _plan(self) -> None:
        view = self._view()
        if view is self._planned:
            return
        self._planned = view
        targets = plan_targets(view, self._cluster, self._node)
        self._probes = {target: self._probes.get(target, _Probe()) for target in targets}
        used = {(target.vni, target.address.version) for target in targets}
        for key in set(self._sockets) - used:
            self._sockets.pop(key)[1].close()

    def _send(self, target: Target, sequence: int) -> None:
        try:
            self._socket(target).send(target.address, sequence)
        except OSError:
            self._close(target)  # no namespace or no route yet: as good as lost

    def _socket(self, target: Target) -> Echo:
        path = netns.path_of(slice_ns(target.vni))
        identity = path.stat().st_ctime_ns
        key = (target.vni, target.address.version)
        known = self._sockets.get(key)
        if known and known[0] != identity:  # the namespace was made anew
            known[1].close()
        if not known or known[0] != identity:
            self._sockets[key] = (identity, Echo(path, target.address.version, target.source))
        return self._sockets[key][1]

    def _close(self, target: Target) -> None:
        known = self._sockets.pop((target.vni, target.address.version), None)
        if known:
            known[1].close()

    def _listen(self, wait_s: float) -> None:
        sockets = {(vni, version): echo for (vni, version), (_, echo) in self._sockets.items()}
        ready = readable(sockets.values(), wait_s)
        now = time.monotonic()
        for (vni, _), echo in sockets.items():
            if echo in ready:
                for address, sequence in echo.receive():
                    self._reply(vni, address, sequence, now)

    def _reply(self, vni: int, address: Address, sequence: int, now: float) -> None:
        for target, probe in self._probes.items():
            if (target.vni, target.address) == (vni, address):
                probe.reply(sequence, now)

    def _tell(self) -> None:
        paths = path_health(self._cluster, self._node, {target: p.heard for target, p in self._probes.items()})
        now = time.monotonic()
        if paths == self.paths or (not news(self.paths, paths) and now - self._told_at < RTT_NEWS_S):
            return
        self.paths, self._told_at = paths, now
        self._changed.ring()
