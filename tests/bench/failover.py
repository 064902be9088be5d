"""How long flows between two clusters stand still when something dies, and when it comes back.

    pod one - node - two gateways of a == four tunnels == two gateways of b - node - pod two

Everything is silent: packets are dropped, nobody is told. In a pod, `failover_worker` sends UDP flows to an echo and
keeps when each packet came back; the gap of a flow is the longest time in which none did.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.bench.lab import BenchError, Lab, running, until
from tests.bench.measure import Goal, Row
from tests.bench.outcome import Outcome
from tools.run import say

SLICE = "bench"
FLOWS, SPACING_S = 12, 0.01
REST_S, AFTER_S = 1.0, 1.0
WORKER = "tests.bench.failover_worker"
UNDER_WAY_S = 0.5
"""Packets sent so shortly before the end may still be under way."""
SLICER = "slicer, 100 ms / 3 losses"
CUT = (
    "add table inet chaos;"
    " add chain inet chaos in {{ type filter hook input priority -300; }};"
    " add chain inet chaos out {{ type filter hook output priority -300; }};"
    " {rules}"
)
WIREGUARD_PORTS = "51820-51899"
VXLAN_PORT = "4790"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that dies; `repair` is empty where the agent does it by itself."""

    name: str
    node: str
    do: str
    repair: str = "nft delete table inet chaos"
    goal_ms: float = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The lab, drawn once: who is a gateway, and where the pods are."""

    lab: Lab
    slice_ns: str
    gateways: dict[str, list[str]]
    one: str
    two: str
    address: str


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` kills each thing once."""
    repeats = 1 if quick else 10
    with running(nodes=3) as lab:
        place = _draw(lab)
        events = _events(place.gateways["a"][0], place.gateways["b"][0])
        with _worker(lab, place.two, "echo", place.address):
            until(lambda: _full(place), "all groups are full")
            gaps = {event.name: _measure(place, event, repeats) for event in events}
    rows = [row for event in events for row in _rows(event, *gaps[event.name])]
    return Outcome(
        title="Failover",
        how=(
            f"Two clusters of three nodes, two gateways each; {FLOWS} UDP flows, a packet each {SPACING_S * 1000:g} ms "
            "there and back. The longest time in which no packet of a flow came back, of the flows that stood still "
            "for longer than any did at rest; and packets of all flows lost from the repair until every group was full."
        ),
        rows=tuple(rows),
        settings={"repeats": repeats, "flows": FLOWS, "packet spacing, ms": SPACING_S * 1000},
    )


def _events(near: str, far: str) -> tuple[Event, ...]:
    outside = _dropping(f"udp dport {WIREGUARD_PORTS} drop", f"udp sport {WIREGUARD_PORTS} drop")
    inside = _dropping(f"udp dport {VXLAN_PORT} drop")
    return (
        Event(name="A gateway's wireguard-go is killed", node=near, do="kill -9 $(pidof wireguard-go)", repair=""),
        Event(name="A gateway loses its way outside", node=near, do=outside),
        Event(name="A gateway loses its way inside", node=near, do=inside),
        Event(name="A remote gateway falls silent", node=far, do=_dropping("drop")),
    )


def _dropping(*matches: str) -> str:
    """A command that drops these packets in the node's own namespace, in both directions."""
    rules = "; ".join(f"add rule inet chaos {chain} {match}" for chain in ("in", "out") for match in matches)
    return f"nft '{CUT.format(rules=rules)}'"


def _measure(place: Place, event: Event, repeats: int) -> tuple[list[float], list[float]]:
    """Gaps in milliseconds of the flows that stood still, and packets of all flows lost while it came back."""
    dead: list[float] = []
    back: list[float] = []
    for number in range(repeats):
        with _worker(place.lab, place.one, "flows", place.address) as flows:
            happened_at = _let_run(flows)
            place.lab.run(event.node, "sh", "-c", event.do)
            _until_all_run(flows)
            if event.repair:
                time.sleep(AFTER_S)
                repaired_at = _now(flows)
                place.lab.run(event.node, "sh", "-c", event.repair)
            else:
                repaired_at = _now(flows)
            until(lambda: _full(place), f"all groups are full after: {event.name}")
            time.sleep(AFTER_S)
            told = _ask(flows, "end")
        heard = told["heard_at"]
        rest = max(_gap([at for at in times if at < happened_at], happened_at - REST_S, happened_at) for times in heard)
        stood = [gap for times in heard if (gap := _gap(times, happened_at, repaired_at)) > rest + 3 * SPACING_S]
        dead += [gap * 1000 for gap in stood]
        ended_at = heard[0][-1] - UNDER_WAY_S
        back.append(float(sum(repaired_at < at < ended_at for times in told["lost_at"] for at in times)))
        most_ms = max(stood, default=0) * 1000
        times_ms = f"{most_ms:.0f} ms at most (at rest {rest * 1000:.0f}); coming back lost {back[-1]:.0f}"
        say(f"  {event.name}, {number + 1}: {len(stood)} of {FLOWS} flows stood still, {times_ms}")
    if not dead:
        raise BenchError(f"{event.name}: no flow stood still in {repeats} repeats")
    return dead, back


def _rows(event: Event, dead: list[float], back: list[float]) -> Iterator[Row]:
    goals = {99.0: (Goal(subject=SLICER, at_most=event.goal_ms),)}
    for rank in (50.0, 99.0, 100.0):
        samples = {SLICER: tuple(dead)}
        yield Row(name=f"{event.name}: gap", unit="ms", samples=samples, percentile=rank, goals=goals.get(rank, ()))
    none = (Goal(subject=SLICER, at_most=0),)
    samples = {SLICER: tuple(back)}
    yield Row(
        name=f"{event.name}: lost when it comes back", unit="packets", samples=samples, percentile=100, goals=none
    )


def _gap(times: list[float], start: float, end: float) -> float:
    """The longest time without a packet that touches start to end."""
    before = [at for at in times if at <= start][-1:]
    after = [at for at in times if at > end][:1]
    inside = [*before, *(at for at in times if start < at <= end), *after]
    return max((b - a for a, b in pairwise(inside)), default=0.0)


def _draw(lab: Lab) -> Place:
    lab.create_slice(SLICE, "10.77.0.0/16", gateways=2)
    until(lambda: all(len(nodes) == 2 for nodes in _gateways(lab).values()), "each cluster has two gateways")
    gateways = _gateways(lab)
    inner = {c: next(m.name for m in lab.layout.nodes_of(c) if m.name not in gateways[c]) for c in gateways}
    one, two = (lab.pod(name, inner[cluster], SLICE) for name, cluster in (("one", "a"), ("two", "b")))
    address = lab.address(two)
    lab.reach(one, address)
    vni = next(item["status"]["vni"] for item in lab.items("slices"))
    return Place(lab=lab, slice_ns=f"s-{vni:06x}", gateways=gateways, one=one, two=two, address=address)


def _gateways(lab: Lab) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {cluster: [] for cluster in lab.layout.clusters}
    for item in lab.items("gateways", slice=SLICE):
        if item["spec"]["tunnels"]:
            found[item["spec"]["cluster"]].append(item["spec"]["node"])
    return found


def _full(place: Place) -> bool:
    """Whether every group has two members that are not each other's spare."""
    nodes = [(m.name, place.slice_ns) for c in place.gateways for m in place.lab.layout.nodes_of(c)]
    tunnels = [(node, "t-00") for found in place.gateways.values() for node in found]
    gateways = {node for found in place.gateways.values() for node in found}
    inner = [(node, ns) for node, ns in nodes if node not in gateways]
    for node, ns in (*inner, *tunnels):
        groups = [g for g in json.loads(place.lab.run(node, "ip", "-n", ns, "-j", "nexthop")) if "group" in g]
        if not groups or any(len(g["group"]) != 2 or any("weight" in m for m in g["group"]) for g in groups):
            return False
    return True


@contextmanager
def _worker(lab: Lab, pod: str, role: str, address: str) -> Iterator[subprocess.Popen[str]]:
    """A running worker that said it is ready."""
    argv = lab.argv(pod, sys.executable, "-m", WORKER, role, address, str(FLOWS), str(SPACING_S))
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        _answer(process)
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(worker: subprocess.Popen[str], question: str) -> Any:
    assert worker.stdin is not None
    worker.stdin.write(f"{question}\n")
    worker.stdin.flush()
    return _answer(worker)


def _answer(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise BenchError(f"the worker ended: {worker.wait()}")
    return json.loads(line)


def _now(worker: subprocess.Popen[str]) -> float:
    return float(_ask(worker, "look")["now"])


def _let_run(worker: subprocess.Popen[str]) -> float:
    """Now, after the flows have run undisturbed for a while."""
    _until_all_run(worker)
    time.sleep(REST_S)
    return _now(worker)


def _until_all_run(worker: subprocess.Popen[str]) -> None:
    """Until packets of every flow that were sent from now on came back."""
    before = _ask(worker, "look")["counts"]

    def grown() -> bool:
        counts = _ask(worker, "look")["counts"]
        return all(now > then + 20 for now, then in zip(counts, before, strict=True))

    until(grown, "all flows run")
