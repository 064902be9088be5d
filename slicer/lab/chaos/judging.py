"""Whether a slice stood an experiment: silences, losses and round trips of real flows against what is wanted. Pure.

        before            fault                    repair        after
    ----------------|-------------------------|XXXXXXXXXX|------------------|
    started      fault_at                 repair_at   repaired_at        ended_at

The longest silence of a flow is measured whatever is wanted. A flow may be silent for `silence_s` after each change;
from then on, in what is left of the fault and of the time after it, the slice's objectives are to hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from slicer.lab.chaos.experiments import Hold
from slicer.model.slices import Objectives

UNDER_WAY_S = 0.5
"""A packet that was sent so shortly before the end may still be under way."""
HEALED_S = 0.25
"""A silence that is shorter is no interruption that somebody could ask the end of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When what happened, in seconds of one clock."""

    started: float
    fault_at: float
    repair_at: float
    """When the repair began."""
    repaired_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What was sent and what arrived, one way."""

    source: str
    target: str
    sent_at: tuple[float, ...]
    """When packet n left, of every flow."""
    heard: tuple[tuple[tuple[int, float], ...], ...]
    """(number, when) of the packets that arrived, for each flow, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One direction in figures."""

    source: str
    target: str
    sent: int
    lost: int
    flows: int
    hit: int
    """Flows that were silent for longer than HEALED_S."""
    silence_s: float
    """The longest time without a packet of a flow, while the fault was there."""
    back_s: float | None
    """When the last flow that was silent carried packets again, since the fault; None: not before the repair."""
    silence_after_s: float
    """The longest time without a packet of a flow, since the repair was done."""
    steady_percent: float
    """Lost of what was sent while the fault was there, after the time that a flow may be silent."""
    after_percent: float
    """The same after the repair."""
    latency_s: float | None
    """Median of the time under way of what arrived in that part of the fault; None if nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is wanted."""

    silence_s: float
    """Longest silence of a flow after something happened."""
    objectives: Objectives | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What the hub said of the slice's objectives between the two clusters: `Met`, `Violated`, `Unknown`, or empty."""

    before: str = ""
    during: tuple[str, ...] = ()
    """All that it said while the fault was there, each once, in the order in which it came."""
    after: str = ""
    """The last."""


def figures(direction: Direction, times: Times, limits: Limits) -> Figures:
    """One direction in figures."""
    fault, after = (times.fault_at, times.repair_at), (times.repaired_at, times.ended_at)
    arrivals = [[at for _, at in flow] for flow in direction.heard]
    spells = [list(_silences(flow, *fault)) for flow in arrivals]
    long = [[spell for spell in flow if spell[1] - spell[0] > HEALED_S] for flow in spells]
    last = [flow[-1] for flow in long if flow]
    steady = (times.fault_at + limits.silence_s, times.repair_at)
    settled = (times.repaired_at + limits.silence_s, times.ended_at - UNDER_WAY_S)
    count, lost = _lost(direction, times.started, times.ended_at - UNDER_WAY_S)
    return Figures(
        source=direction.source,
        target=direction.target,
        sent=count,
        lost=lost,
        flows=len(arrivals),
        hit=len(last),
        silence_s=_longest(spells),
        back_s=_back(last, times),
        silence_after_s=_longest([list(_silences(flow, *after)) for flow in arrivals]),
        steady_percent=_percent(*_lost(direction, *steady)),
        after_percent=_percent(*_lost(direction, *settled)),
        latency_s=_latency(direction, *steady),
    )


def judge(hold: Hold, limits: Limits, found: Sequence[Figures], opinion: Opinion) -> tuple[str, ...]:
    """Why the slice failed, in words; empty if it stood the experiment."""
    while_there = [] if hold is Hold.NOTHING else [*_silent(hold, found, limits), *_aims(found, limits)]
    return (*while_there, *_after(found, limits), *_said(opinion, limits))


def most_silence_s(hold: Hold, limits: Limits) -> float:
    """How long a flow may be silent while the fault is there."""
    return min(HEALED_S, limits.silence_s) if hold is Hold.UNHARMED else limits.silence_s


def _silent(hold: Hold, found: Iterable[Figures], limits: Limits) -> Iterable[str]:
    most_s = most_silence_s(hold, limits)
    for one in found:
        if one.silence_s > most_s:
            end = "until the repair" if one.back_s is None else f"for {one.silence_s:.2f} s"
            yield f"{_way(one)}: {one.hit} of {one.flows} flows silent, {end}; wanted at most {most_s:g} s"


def _aims(found: Sequence[Figures], limits: Limits) -> Iterable[str]:
    """The slice's own objectives, on what its pods saw with the fault still there."""
    wanted = limits.objectives
    if wanted is None:
        return
    for one in found:
        if wanted.loss_percent is not None and one.steady_percent > wanted.loss_percent:
            yield f"{_way(one)}: {one.steady_percent:.1f} % lost; the slice's objective is {wanted.loss_percent} %"
    latencies = [one.latency_s for one in found if one.latency_s is not None]
    if wanted.latency_ms is not None and sum(latencies) * 1000 > wanted.latency_ms:
        took = f"{sum(latencies) * 1000:.1f} ms"
        yield f"round trip of {took}; the slice's objective is {wanted.latency_ms} ms"


def _after(found: Iterable[Figures], limits: Limits) -> Iterable[str]:
    most = limits.objectives.loss_percent if limits.objectives else None
    for one in found:
        if one.silence_after_s > limits.silence_s:
            took = f"{one.silence_after_s:.2f} s"
            yield f"{_way(one)}: after the repair silent for {took}; wanted at most {limits.silence_s:g} s"
        if most is not None and one.after_percent > most:
            yield f"{_way(one)}: after the repair {one.after_percent:.1f} % lost; the slice's objective is {most} %"


def _said(opinion: Opinion, limits: Limits) -> Iterable[str]:
    if limits.objectives is None:
        return
    if opinion.before != "Met":
        yield f"the objectives were {opinion.before or 'unknown'} before anything was done"
    if opinion.after != "Met":
        yield f"the objectives are {opinion.after or 'unknown'} at the end"


def _way(one: Figures) -> str:
    return f"{one.source} to {one.target}"


def _silences(times: Sequence[float], start: float, end: float) -> Iterable[tuple[float, float]]:
    """Times without a packet, between start and end."""
    yield from pairwise([start, *(at for at in times if start < at < end), end])


def _longest(spells: Iterable[Iterable[tuple[float, float]]]) -> float:
    return max((end - start for flow in spells for start, end in flow), default=0.0)


def _back(last: Sequence[tuple[float, float]], times: Times) -> float | None:
    """Since the fault; 0 if no flow was silent."""
    end = max((end for _, end in last), default=times.fault_at)
    return None if end >= times.repair_at else end - times.fault_at


def _lost(direction: Direction, start: float, end: float) -> tuple[int, int]:
    """(sent, lost) of what was sent in that time, over all flows."""
    numbers = {number for number, at in enumerate(direction.sent_at) if start <= at < end}
    came = sum(number in numbers for flow in direction.heard for number, _ in flow)
    sent = len(numbers) * len(direction.heard)
    return sent, sent - came


def _percent(sent: int, lost: int) -> float:
    return 100 * lost / sent if sent else 0.0


def _latency(direction: Direction, start: float, end: float) -> float | None:
    under_way = [
        at - direction.sent_at[number]
        for flow in direction.heard
        for number, at in flow
        if start <= direction.sent_at[number] < end
    ]
    return median(under_way) if under_way else None
