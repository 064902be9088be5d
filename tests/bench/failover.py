"""How long flows between two clusters stand still when something dies, and what coming back costs.

The lab is drawn in failover_lab.py. The gap of a flow is the longest time in which no packet of it made the way there
and back; a flow counts as hit when it lost three packets or more. TCP is one stream of small messages to an echo.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from slicer.lab.chaos import faults
from slicer.lab.chaos.steps import kill_processes, put_rules
from tests.bench import failover_lab as rig
from tests.bench import machine
from tests.bench.failover_lab import FLOWS, SPACING_S, Place, draw, wait_until_full, worker
from tests.bench.lab import BenchError, running
from tests.bench.measure import Goal, Row
from tests.bench.outcome import Outcome
from tools.run import say

AFTER_S = 1.0
UNDER_WAY_S = 0.5
"""Packets sent so shortly before the end may still be under way."""
HIT = 3
"""Lost packets that make a flow one that was hit."""
USUAL, QUICK = "slicer, 100 ms / 3 losses", "slicer, 50 ms / 2 losses"
PACES = {USUAL: (), QUICK: ("--probe-interval-ms", "50", "--probe-losses", "2")}
GOALS_MS = {USUAL: 500.0, QUICK: 200.0}
KILLED_MS = 100.0
LEASES_S = {
    "one active gateway, lease of 15 s (as Submariner has)": 15.0,
    "one active gateway, found dead after 60 s (as KubeSlice has)": 60.0,
}
REMOTE = "A remote gateway falls silent"


HOW = f"""\
Two clusters of three nodes, two gateways each; {FLOWS} UDP flows, a packet each {SPACING_S * 1000:g} ms there and back,
and a TCP stream of small messages. *Gap*: the longest time in which no packet of a flow came back, of the flows that
lost {HIT} packets or more. *TCP*: the longest time without an answer on the stream. *Lost*: packets of all flows, from
the repair (where there is none, from the event) until a second after every group was full. The columns with one active
gateway are this planner with one gateway a cluster, which the benchmark replaces when so much time has passed since it
died: what Submariner's leader election (lease 15 s) and KubeSlice's health check (60 s) wait for. Those systems were
not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens; `repair` is empty where the agent does it by itself."""

    name: str
    do: Callable[[], object]
    repair: Callable[[], object] | None = None
    harmless: bool = False
    """No flow is to be hit."""


@dataclass(slots=True)
class Found:
    """What the repeats of one event showed for one variant."""

    gaps_ms: list[float] = field(default_factory=list)
    tcp_ms: list[float] = field(default_factory=list)
    lost_back: list[float] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)


REPEATS = 50
"""Of each event that is to hit flows; a fifth of it for those that are not, which all flows witness."""


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` does each thing once, at the usual pace only, and waits for no lease."""
    repeats = 1 if quick else int(os.environ.get("FAILOVER_REPEATS", REPEATS))
    leases = {} if quick else {name: _with_lease(name, lease_s) for name, lease_s in LEASES_S.items()}
    found = {pace: _at_pace(pace, repeats) for pace in ([USUAL] if quick else PACES)}
    names = list(next(iter(found.values())))
    return Outcome(
        title="Failover",
        how=HOW,
        rows=tuple(row for name in names for row in _rows(name, {p: f[name] for p, f in found.items()}, leases)),
        settings={
            "repeats": repeats,
            "flows": FLOWS,
            "packet spacing, ms": SPACING_S * 1000,
            "load after": machine.load(),
        },
    )


def _at_pace(pace: str, repeats: int) -> dict[str, Found]:
    say(f"{pace}")
    with running(nodes=3, agent_options=PACES[pace]) as lab:
        place = draw(lab, 2)
        with worker(lab, place.two, "echo", place.address):
            wait_until_full(place, "at first")
            return {event.name: _measure(place, event, repeats) for event in _events(place)}


def _events(place: Place) -> Iterator[Event]:
    near, far = place.gateways["a"][0], place.gateways["b"][0]
    for name, node, words in (
        ("A gateway loses its way outside", near, faults.outside()),
        ("A gateway loses its way inside", near, faults.inside()),
        ("A gateway's node falls silent", near, faults.everything()),
        (REMOTE, far, faults.everything()),
    ):
        put = partial(put_rules, place.lab.layout, node)
        yield Event(name=name, do=partial(put, words), repair=partial(put, faults.REPAIR))
    killed = partial(kill_processes, place.lab.layout, near, "wireguard-go")
    yield Event(name="A gateway's wireguard-go is killed", do=killed)
    restart = partial(place.lab.slicectl, "lab", "restart", "--kill")
    yield Event(name="A gateway's agent is killed", do=partial(restart, f"{near}/agent"), harmless=True)
    yield Event(name="A member is killed", do=partial(restart, "a-cp/member"), harmless=True)
    yield Event(name="The hub is killed", do=partial(restart, "hub/hub"), harmless=True)


def _measure(place: Place, event: Event, repeats: int) -> Found:
    found = Found()
    for number in range(-(-repeats // 5) if event.harmless else repeats):
        with worker(place.lab, place.one, "flows", place.address) as flows:
            happened_at = flows.let_run()
            event.do()
            flows.until_all_run()
            if event.repair:
                time.sleep(AFTER_S)
            repaired_at = happened_at if event.harmless else flows.now()
            if event.repair:
                event.repair()
            wait_until_full(place, f"after: {event.name}")
            time.sleep(AFTER_S)
            told = flows.ask("end")
        _add(found, told, happened_at, repaired_at, event)
        words = f"{max(found.gaps_ms, default=0):.0f} ms at most so far; lost on return {found.lost_back[-1]:.0f}"
        say(f"  {event.name}, {number + 1}: {words}; load {machine.load()}")
    if not found.gaps_ms and not event.harmless:
        raise BenchError(f"{event.name}: no flow was hit in {repeats} repeats")
    return found


def _add(found: Found, told: Any, happened_at: float, repaired_at: float, event: Event) -> None:
    for heard, lost in zip(told["heard_at"], told["lost_at"], strict=True):
        if sum(happened_at <= at <= repaired_at for at in lost) >= HIT:
            found.gaps_ms.append(_gap(heard, happened_at, repaired_at) * 1000)
    if not event.harmless:
        found.tcp_ms.append(_gap(told["tcp_at"], happened_at, repaired_at) * 1000)
    ended_at = told["heard_at"][0][-1] - UNDER_WAY_S
    found.lost_back.append(float(sum(repaired_at < at < ended_at for lost in told["lost_at"] for at in lost)))
    found.broken.append(float(told["tcp_broken"]))


def _gap(times: list[float], start: float, end: float) -> float:
    """The longest time without a packet that touches start to end."""
    before = [at for at in times if at <= start][-1:]
    after = [at for at in times if at > end][:1] or [end]
    inside = [*before, *(at for at in times if start < at <= end), *after]
    return max((b - a for a, b in pairwise(inside)), default=0.0)


def _with_lease(name: str, lease_s: float) -> Found:
    """One gateway a cluster; when it has been silent for the lease, the next one takes over. Once."""
    say(f"{name}")
    found = Found()
    with running(nodes=3) as lab:
        place = draw(lab, 1)
        with worker(lab, place.two, "echo", place.address):
            dead = rig.gateways_of(lab)["a"][0]
            event = Event(name=name, do=partial(_die, place, dead, lease_s))
            with worker(lab, place.one, "flows", place.address) as flows:
                happened_at = flows.let_run()
                event.do()
                flows.until_all_run(60)
                _add(found, flows.ask("end"), happened_at, time.monotonic(), event)
            say(f"  {max(found.gaps_ms):.0f} ms at most; load {machine.load()}")
    return found


def _die(place: Place, node: str, lease_s: float) -> None:
    """The node falls silent; after the lease its member is told that it is gone, and chooses another gateway."""
    put_rules(place.lab.layout, node, faults.everything())
    time.sleep(lease_s)
    place.lab.forget_node(node)


def _rows(name: str, found: dict[str, Found], leases: dict[str, Found]) -> Iterator[Row]:
    hit = {pace: one for pace, one in found.items() if one.gaps_ms}
    more = leases if name == "A gateway's node falls silent" else {}
    if hit:
        for rank in (50.0, 99.0, 100.0):
            limits = [(p, KILLED_MS if "killed" in name else GOALS_MS[p]) for p in hit if rank == 99]
            goals = tuple(Goal(subject=pace, at_most=limit) for pace, limit in limits)
            samples = {pace: tuple(one.gaps_ms) for pace, one in (hit | more).items()}
            yield Row(name=f"{name}: gap", unit="ms", samples=samples, percentile=rank, goals=goals)
        # Not with a lease: by its end TCP waits longer for itself than for anybody.
        samples = {pace: tuple(one.tcp_ms) for pace, one in hit.items()}
        yield Row(name=f"{name}: TCP", unit="ms", samples=samples, percentile=99)
    broken = {pace: tuple(one.broken) for pace, one in found.items()}
    goals = tuple(Goal(subject=pace, at_most=0) for pace in found)
    yield Row(name=f"{name}: TCP streams broken", unit="", samples=broken, percentile=100, goals=goals)
    lost = {pace: tuple(one.lost_back) for pace, one in found.items()}
    words = "lost" if not hit else "lost when it comes back"
    for rank in (50.0, 100.0):
        goals = tuple(Goal(subject=pace, at_most=0) for pace in found) if rank == 100 else ()
        yield Row(name=f"{name}: {words}", unit="packets", samples=lost, percentile=rank, goals=goals)
