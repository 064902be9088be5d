"""How long flows between two clusters stand still when something dies, and what coming back costs.

The lab is drawn in failover_lab.py. The gap of a flow is the longest time in which no packet of it made the way there
and back; a flow counts as hit when it lost three packets or more. TCP is one stream of small messages to an echo.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from slicer.lab.chaos import faults
from slicer.lab.chaos.steps import kill_processes, put_rules
from tests.bench import failover_gone, machine
from tests.bench import failover_lab as rig
from tests.bench.failover_lab import FLOWS, SPACING_S, Place, draw, wait_until_full, worker
from tests.bench.lab import BenchError, running
from tests.bench.measure import Goal, Row
from tests.bench.outcome import Outcome
from tools.run import say

FAR_S = 0.5
"""So long a silent gateway stays so once all flows run without it."""
AFTER_S = 1.0
UNDER_WAY_S = 0.5
"""Packets sent so shortly before the end may still be under way."""
HIT = 3
"""Lost packets that make a flow one that was hit."""
USUAL = "slicer, 100 ms / 3 losses"
GOAL_MS = 500.0
KILLED_MS = 100.0
LEASES_S = {
    "one active gateway, lease of 15 s (as Submariner has)": 15.0,
    "one active gateway, found dead after 60 s (as KubeSlice has)": 60.0,
}
REMOTE = "A remote gateway falls silent"
PLANNED_S = 240
"""The longest that a drain or a rotation may take."""

HOW = f"""\
Two clusters of three nodes, two gateways each; {FLOWS} UDP flows, a packet each {SPACING_S * 1000:g} ms there and back,
and a TCP stream of small messages. *Gap*: the longest time in which no packet of a flow came back, of the flows that
lost {HIT} packets or more. *TCP*: the longest time without an answer on the stream. *Lost*: packets of all flows, from
the repair (where there is none, from the event) until a second after every group was full. Each event hits
one gateway after the other. A cluster is gone when all its nodes fall silent; a pod of the other one connects and asks
for a name without pause. The columns with one active gateway are this planner with one gateway a cluster, which the
benchmark replaces when so much time has passed since it died: what Submariner's leader election (lease 15 s) and
KubeSlice's health check (60 s) wait for. Those systems were not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens to each of `nodes` in turn; `repair` is empty where the agent does it by itself."""

    name: str
    do: Callable[[str], object]
    nodes: Sequence[str] = ("",)
    repair: Callable[[str], object] | None = None
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
    """Measures; `quick` does each thing once, and waits for no lease."""
    leases = {} if quick else {name: _with_lease(name, lease_s) for name, lease_s in LEASES_S.items()}
    repeats = number_of_repeats(quick=quick)
    with placed(USUAL) as place:
        found = {event.name: _measure(place, event, repeats) for event in (*silences(place), *restarts(place))}
        found |= {event.name: _measure(place, event, repeats) for event in _plans(place)}
        gone = failover_gone.measure(place, _fewer(repeats))
    rows = [row for name, one in found.items() for row in _rows(name, {USUAL: one}, leases, GOAL_MS)]
    return Outcome(
        title="Failover", how=HOW, rows=(*rows, *failover_gone.rows(gone, USUAL)), settings=describe(repeats)
    )


def run_at(pace: str, options: tuple[str, ...], goal_ms: float, *, quick: bool) -> tuple[Row, ...]:
    """The rows of what dies in silence, where agents probe at another pace."""
    with placed(pace, options) as place:
        events = list(silences(place))[: 1 if quick else None]
        found = {event.name: _measure(place, event, number_of_repeats(quick=quick)) for event in events}
    return tuple(row for name, one in found.items() for row in _rows(name, {pace: one}, {}, goal_ms))


def number_of_repeats(*, quick: bool) -> int:
    """Of each event that is to hit flows."""
    return 1 if quick else int(os.environ.get("FAILOVER_REPEATS", REPEATS))


def describe(repeats: int) -> dict[str, str | int | float]:
    """For the report."""
    spacing_ms = SPACING_S * 1000
    return {"repeats": repeats, "flows": FLOWS, "packet spacing, ms": spacing_ms, "load after": machine.load()}


@contextmanager
def placed(pace: str, options: tuple[str, ...] = ()) -> Iterator[Place]:
    """A lab with an echo in it, ready to be disturbed."""
    say(pace)
    with running(nodes=3, agent_options=options) as lab:
        place = draw(lab, 2)
        with worker(lab, place.two, "echo", place.address):
            wait_until_full(place, "at first")
            yield place


def silences(place: Place) -> Iterator[Event]:
    """What dies, and tells nobody."""
    layout = place.lab.layout
    near, far = place.gateways["a"], place.gateways["b"]
    for name, nodes, words in (
        ("A gateway loses its way outside", near, faults.outside()),
        ("A gateway loses its way inside", near, faults.inside()),
        ("A gateway's node falls silent", near, faults.everything()),
        (REMOTE, far, faults.everything()),
    ):
        put = partial(put_rules, layout, text=words)
        yield Event(name=name, nodes=nodes, do=put, repair=partial(put_rules, layout, text=faults.REPAIR))
    killed = partial(kill_processes, layout, name="wireguard-go")
    yield Event(name="A gateway's wireguard-go is killed", nodes=near, do=killed)


def restarts(place: Place) -> Iterator[Event]:
    """What dies, and no packet passes through."""
    restart = partial(place.lab.slicectl, "lab", "restart", "--kill")
    agents = tuple(f"{node}/agent" for node in place.gateways["a"])
    for name, programs in (
        ("A gateway's agent is killed", agents),
        ("A member is killed", ("a-cp/member",)),
        ("The hub is killed", ("hub/hub",)),
    ):
        yield Event(name=name, nodes=programs, do=restart, harmless=True)


def _plans(place: Place) -> tuple[Event, Event]:
    """What somebody wants: it loses nothing. The last events, since the gateways are others afterwards."""
    ctl = partial(place.lab.slicectl, timeout_s=PLANNED_S)
    drained: list[str] = []

    def drain(_: str) -> None:
        drained.append(rig.gateways_of(place.lab)["a"][0])  # another node took the place of who was drained before
        ctl("gateway", "drain", drained[-1], "--wait")

    def undrain(_: str) -> None:
        ctl("gateway", "undrain", drained[-1])

    drain_one = Event(name="A gateway is drained, another takes its place", do=drain, repair=undrain, harmless=True)
    rotate = Event(name="All keys rotate", do=lambda _: ctl("rotate-keys", "--wait"), harmless=True)
    return drain_one, rotate


def _fewer(repeats: int) -> int:
    return -(-repeats // 5)


def _measure(place: Place, event: Event, repeats: int) -> Found:
    found = Found()
    for number in range(_fewer(repeats) if event.harmless else repeats):
        node = event.nodes[number % len(event.nodes)]
        with worker(place.lab, place.one, "flows", place.address) as flows:
            happened_at = flows.let_run()
            event.do(node)
            flows.until_all_run()
            if event.repair:
                time.sleep(FAR_S)
            repaired_at = happened_at if event.harmless else flows.now()
            if event.repair:
                event.repair(node)
            wait_until_full(place, f"after: {event.name}")
            time.sleep(AFTER_S)
            told = flows.ask("end")
        _add(found, told, happened_at, repaired_at, event)
        words = f"{max(found.gaps_ms, default=0):.0f} ms at most so far; lost on return {found.lost_back[-1]:.0f}"
        say(f"  {event.name}, {number + 1}: {words}; load {machine.load()}")
    if not found.gaps_ms and not event.harmless and repeats > 1:  # what heals at once may hit nobody, once
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
            event = Event(name=name, do=partial(_die, place, lease_s))
            with worker(lab, place.one, "flows", place.address) as flows:
                happened_at = flows.let_run()
                event.do(dead)
                flows.until_all_run(60)
                _add(found, flows.ask("end"), happened_at, time.monotonic(), event)
            say(f"  {max(found.gaps_ms):.0f} ms at most; load {machine.load()}")
    return found


def _die(place: Place, lease_s: float, node: str) -> None:
    """The node falls silent; after the lease its member is told that it is gone, and chooses another gateway."""
    put_rules(place.lab.layout, node, faults.everything())
    time.sleep(lease_s)
    place.lab.forget_node(node)


def _rows(name: str, found: dict[str, Found], leases: dict[str, Found], goal_ms: float) -> Iterator[Row]:
    hit = {pace: one for pace, one in found.items() if one.gaps_ms}
    more = leases if name == "A gateway's node falls silent" else {}
    if hit:
        for rank in (50.0, 99.0, 100.0):
            limit = KILLED_MS if "killed" in name else goal_ms
            goals = tuple(Goal(subject=pace, at_most=limit) for pace in hit if rank == 99)
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
