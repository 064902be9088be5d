"""Asks each tunnel how large a packet it carries: the clock and the numbers of `slicer.plan.path_mtu`.

A part of the health prober, in its thread. A size is only judged by a tunnel that answers ordinary probes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from slicer.plan.path_mtu import CONFIRM_S, PathMtu, fresh
from slicer.plan.probe_targets import Target, TunnelTarget
from slicer.plan.probing import SIZED, Line, Pace

PATIENCE_S = 0.3
"""An answer is waited for so long, and for twice the usual round trip."""
CLEAN = 8
"""So many ordinary probes in a row must have been answered: where any packet may be lost, a large one says nothing."""
Send = Callable[[TunnelTarget, int], None]
"""Sends a probe of so many bytes through a tunnel."""


@dataclass(slots=True)
class _Asked:
    """One tunnel."""

    known: PathMtu
    due_at: float
    size: int = 0
    """Of the probe that is out; 0 if there is none."""


class Sizes:
    """What is known of all tunnels of this node."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._tunnels: dict[TunnelTarget, _Asked] = {}

    def follow(self, targets: Collection[Target], top: int, now: float) -> None:
        """These tunnels are there, and their devices take packets of `top` bytes."""
        wanted = [target for target in targets if isinstance(target, TunnelTarget)]
        kept = {t: a for t, a in self._tunnels.items() if a.known.top == top}
        self._tunnels = {t: kept.get(t) or _Asked(fresh(top), now) for t in wanted}

    def step(self, lines: Mapping[Target, Line], send: Send, now: float) -> bool:
        """Judge what was due for an answer and ask anew; whether something was found out."""
        news = False
        for target, asked in self._tunnels.items():
            if now >= asked.due_at:
                before = asked.known.found
                self._ask(target, asked, lines[target], send, now)
                news |= asked.known.found != before
        return news

    def _ask(self, target: TunnelTarget, asked: _Asked, line: Line, send: Send, now: float) -> None:
        clean = line.proved and line.is_clean(self._pace, CLEAN)
        if asked.size and clean:
            asked.known = asked.known.lost(asked.size, now)
        asked.size = 0
        wait_s = PATIENCE_S + 2 * min(line.rtts_s[-CLEAN:], default=0.0)
        if clean:
            asked.known = asked.known.look(now)
            asked.size = asked.known.size
            send(target, asked.size)
        asked.due_at = now + wait_s

    def heard(self, target: TunnelTarget, sequence: int, now: float) -> bool:
        """A probe of a size was answered; whether something was found out."""
        asked, size = self._tunnels.get(target), sequence & ~SIZED
        if asked is None:
            return False
        before = asked.known.found
        asked.known = asked.known.passed(size, now)
        if size == asked.size:
            asked.size = 0
            asked.due_at = now if asked.known.is_urgent else now + CONFIRM_S
        return asked.known.found != before

    def found(self) -> dict[TunnelTarget, int]:
        """The largest packet of each tunnel of which that is known, bytes."""
        return {target: a.known.found for target, a in self._tunnels.items() if a.known.found is not None}
