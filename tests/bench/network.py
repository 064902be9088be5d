"""Throughput and round trips over several paths through one lab, in turn."""

from __future__ import annotations

import json
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from tests.bench.lab import BenchError, Lab
from tests.bench.measure import Samples, interleave
from tests.bench.round_trip import Trip, opened
from tools.run import say


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """From where to where, and the address that leads there this way."""

    client: str
    server: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: int
    """Of one throughput measurement."""
    pings: int

    def settings(self) -> dict[str, str | int | float]:
        """For the report."""
        return {"rounds": self.rounds, "seconds each": self.seconds, "pings each": self.pings}


def effort(*, quick: bool) -> Effort:
    """The usual effort, or the least with which every step runs."""
    return Effort(rounds=1, seconds=1, pings=20) if quick else Effort(rounds=15, seconds=3, pings=1500)


def throughput(lab: Lab, paths: Mapping[str, Path], streams: int, effort_: Effort) -> dict[str, tuple[float, ...]]:
    """Gbit/s received over TCP on each path, one sample a round."""
    samples = Samples(list(paths))
    for number, name in interleave(list(paths), effort_.rounds):
        value = iperf(lab, paths[name], streams, effort_.seconds)
        say(f"  round {number + 1}: TCP, {streams} streams, {name}: {value:.2f} Gbit/s")
        samples.add(name, value)
    return samples.frozen()


def round_trips(lab: Lab, paths: Mapping[str, Path], effort_: Effort) -> dict[str, tuple[float, ...]]:
    """Median round trip in microseconds on each path, one sample a round; one packet on each path in turn."""
    samples = Samples(list(paths))
    with ExitStack() as sockets:
        trips = {name: sockets.enter_context(opened(lab.argv(p.client), p.address)) for name, p in paths.items()}
        for _ in range(effort_.rounds):
            for name, times in _in_turn(trips, effort_.pings).items():
                samples.add(name, median(times))
    return samples.frozen()


def _in_turn(trips: Mapping[str, Trip], count: int) -> dict[str, list[float]]:
    """Round trips of `count` echo requests a path; BenchError where more than one in a hundred stays unanswered."""
    times: dict[str, list[float]] = {name: [] for name in trips}
    order = deque(trips)
    for sequence in range(count):
        order.rotate()  # none always follows the same other
        for name in order:
            if (took := trips[name].once(sequence)) is not None:
                times[name].append(took)
    for name, answered in times.items():
        if len(answered) < count * 0.99:
            raise BenchError(f"{name}: {len(answered)} of {count} echo requests were answered")
    return times


def iperf(lab: Lab, path: Path, streams: int, seconds: int) -> float:
    """Gbit/s that arrived over `streams` TCP connections."""
    server = subprocess.Popen(
        lab.argv(path.server, "iperf3", "--server", "--one-off", "--forceflush"), stdout=subprocess.PIPE, text=True
    )
    try:
        _wait_for_listener(server)
        words = ("iperf3", "--client", path.address, "--time", str(seconds), "--parallel", str(streams), "--json")
        report = json.loads(lab.run(path.client, *words, timeout_s=seconds + 30))
        server.wait(10)
    finally:
        server.kill()
        server.wait()
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def reach_all(lab: Lab, paths: Sequence[Path]) -> None:
    """Waits until every path carries a packet."""
    for path in paths:
        lab.reach(path.client, path.address)


def _wait_for_listener(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    for line in server.stdout:
        if "listening" in line:
            return
    raise BenchError(f"iperf3 --server ended: exit {server.wait()}")
