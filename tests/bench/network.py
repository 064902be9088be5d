"""Throughput and round trips over several paths through one lab, in turn."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.lab import BenchError, Lab
from tests.bench.measure import Samples, interleave
from tools.run import say

PING_TIME = re.compile(r"time=([0-9.]+) ms")
PAYLOAD = 56
"""Bytes after the ICMP header: a message of 64 bytes."""


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
    """Median round trip in microseconds on each path, one sample a round."""
    samples = Samples(list(paths))
    for _, name in interleave(list(paths), effort_.rounds):
        times = sorted(ping(lab, paths[name], effort_.pings))
        samples.add(name, times[len(times) // 2])
    return samples.frozen()


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


def ping(lab: Lab, path: Path, count: int) -> list[float]:
    """Round trips in microseconds of `count` echo requests of 64 bytes, each sent when the one before is answered."""
    words = ("ping", "-n", "-A", "-s", str(PAYLOAD), "-c", str(count), path.address)
    times = [float(text) * 1000 for text in PING_TIME.findall(lab.run(path.client, *words, timeout_s=60))]
    if len(times) < count * 0.99:
        raise BenchError(f"{path.client} to {path.address}: {len(times)} of {count} echo requests were answered")
    return times


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
