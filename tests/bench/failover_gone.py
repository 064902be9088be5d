"""What pods and names hear of a cluster that is gone as a whole, and how soon it is back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from slicer.lab.chaos import faults
from slicer.lab.chaos.steps import put_rules
from tests.bench.failover_gone_worker import NAMED, NAMELESS, OPEN, REFUSED, SILENT, Attempt
from tests.bench.failover_lab import SLICE, Place, wait_until_full
from tests.bench.failover_worker import PORT
from tests.bench.lab import NAMESPACE, BenchError
from tests.bench.measure import Goal, Row
from tools.run import say

WORKER = "tests.bench.failover_gone_worker"
AWAY_S = 4.0
BACK_S = 4.0
SOON_MS = 2000.0


@dataclass(slots=True)
class Found:
    """What the repeats showed, a sample each."""

    refused_ms: list[float] = field(default_factory=list)
    silent: list[float] = field(default_factory=list)
    nameless_ms: list[float] = field(default_factory=list)
    open_ms: list[float] = field(default_factory=list)
    named_ms: list[float] = field(default_factory=list)


def measure(place: Place, repeats: int) -> Found:
    """All nodes of cluster b fall silent, and come back."""
    found = Found()
    name = f"two.{NAMESPACE}.svc.{SLICE}.slice.local"
    place.lab.slicectl("export", SLICE, f"{NAMESPACE}/two", "--selector", "app=two", "--port", f"echo:{PORT}")
    for _ in range(repeats):
        happened_at, repaired_at, attempts = _once(place, name)
        connects = [(at, outcome) for kind, at, outcome in attempts if kind == "connect"]
        names = [(at, outcome) for kind, at, outcome in attempts if kind == "name"]
        refused_at = _first(connects, REFUSED, happened_at)
        found.refused_ms.append((refused_at - happened_at) * 1000)
        found.silent.append(float(sum(refused_at < at < repaired_at and o == SILENT for at, o in connects)))
        found.nameless_ms.append((_first(names, NAMELESS, happened_at) - happened_at) * 1000)
        found.open_ms.append((_first(connects, OPEN, repaired_at) - repaired_at) * 1000)
        found.named_ms.append((_first(names, NAMED, repaired_at) - repaired_at) * 1000)
        say(f"  a cluster is gone: refused after {found.refused_ms[-1]:.0f}, back after {found.open_ms[-1]:.0f} ms")
    return found


def rows(found: Found, variant: str) -> Iterator[Row]:
    """The rows of the table; each goal is for the slowest."""
    for what, unit, samples, limit in (
        ("gone, until connections are refused", "ms", found.refused_ms, None),
        ("gone, connections that hang after that", "", found.silent, 0.0),
        ("gone, until names leave it out", "ms", found.nameless_ms, SOON_MS),
        ("back, until a connection is open", "ms", found.open_ms, SOON_MS),
        ("back, until names have it", "ms", found.named_ms, SOON_MS),
    ):
        goals = () if limit is None else (Goal(subject=variant, at_most=limit),)
        name = f"A whole cluster is {what}"
        yield Row(name=name, unit=unit, samples={variant: tuple(samples)}, percentile=100, goals=goals)


def _once(place: Place, name: str) -> tuple[float, float, Sequence[Attempt]]:
    nodes = [machine.name for machine in place.lab.layout.nodes_of("b")]
    argv = place.lab.argv(place.one, sys.executable, "-m", WORKER, name, place.address, str(PORT))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            raise BenchError(f"{' '.join(argv)}: exit {worker.wait()}")
        time.sleep(1)
        happened_at = _put(place, nodes, faults.everything())
        time.sleep(AWAY_S)
        repaired_at = _put(place, nodes, faults.REPAIR)
        wait_until_full(place, "after a whole cluster was gone")
        time.sleep(BACK_S)
        worker.stdin.close()
        return happened_at, repaired_at, json.loads(worker.stdout.readline())


def _put(place: Place, nodes: Sequence[str], text: str) -> float:
    """When the last of them had it."""
    for node in nodes:
        put_rules(place.lab.layout, node, text)
    return time.monotonic()


def _first(attempts: Sequence[tuple[float, str]], outcome: str, since: float) -> float:
    """When the first attempt after `since` came to this; BenchError if none did."""
    for at, came in attempts:
        if at >= since and came == outcome:
            return at
    raise BenchError(f"no attempt was {outcome!r}: {[came for at, came in attempts if at >= since]}")
