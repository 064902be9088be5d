"""The lab of the failover benchmark, and what happens in it.

    pod one - node - two gateways of a == four tunnels == two gateways of b - node - pod two

Everything is silent: packets are dropped, nobody is told. In a pod, `failover_worker` sends UDP flows and a TCP stream
to an echo and keeps when each packet came back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.bench.lab import BenchError, Lab, until

SLICE = "bench"
FLOWS, SPACING_S = 12, 0.01
WORKER = "tests.bench.failover_worker"
REST_S = 1.0
END_S = 10.0
LOOK_S = 0.25
"""How often is looked whether all groups are full: each look is a dozen processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The lab, drawn once: who is a gateway at first, and where the pods are."""

    lab: Lab
    slice_ns: str
    gateways: dict[str, list[str]]
    one: str
    two: str
    address: str


def draw(lab: Lab, gateways: int) -> Place:
    """One slice with so many gateways a cluster, a pod in each cluster that is not on a gateway."""
    lab.create_slice(SLICE, "10.77.0.0/16", gateways=gateways)
    until(lambda: all(len(nodes) == gateways for nodes in gateways_of(lab).values()), "gateways are chosen")
    found = gateways_of(lab)
    inner = {c: next(m.name for m in lab.layout.nodes_of(c) if m.name not in found[c]) for c in found}
    one, two = (lab.pod(name, inner[cluster], SLICE) for name, cluster in (("one", "a"), ("two", "b")))
    address = lab.address(two)
    lab.reach(one, address)
    vni = next(item["status"]["vni"] for item in lab.items("slices"))
    return Place(lab=lab, slice_ns=f"s-{vni:06x}", gateways=found, one=one, two=two, address=address)


def gateways_of(lab: Lab) -> dict[str, list[str]]:
    """The nodes that are gateways now, by cluster."""
    found: dict[str, list[str]] = {cluster: [] for cluster in lab.layout.clusters}
    for item in lab.items("gateways", slice=SLICE):
        if item["spec"]["tunnels"]:
            found[item["spec"]["cluster"]].append(item["spec"]["node"])
    return found


def wait_until_full(place: Place, when: str) -> None:
    """Until every group has two members that are not each other's spare."""
    until(lambda: _full(place), f"all groups are full {when}", pause_s=LOOK_S)


def _full(place: Place) -> bool:
    gateways = {node for found in gateways_of(place.lab).values() for node in found}
    nodes = [(m.name, place.slice_ns) for c in place.gateways for m in place.lab.layout.nodes_of(c)]
    tunnels = [(node, "t-00") for node in sorted(gateways)]
    inner = [(node, ns) for node, ns in nodes if node not in gateways]
    for node, ns in (*inner, *tunnels):
        groups = [g for g in json.loads(place.lab.run(node, "ip", "-n", ns, "-j", "nexthop")) if "group" in g]
        if not groups or any(len(g["group"]) != 2 or any("weight" in m for m in g["group"]) for g in groups):
            return False
    return True


class Worker:
    """A running `failover_worker`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: str) -> Any:
        """Its answer to `look` or `end`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next line that it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the worker ended: {self._process.wait()}")
        return json.loads(line)

    def now(self) -> float:
        """Its clock."""
        return float(self.ask("look")["now"])

    def let_run(self) -> float:
        """Now, after the flows have run undisturbed for a while."""
        self.until_all_run()
        time.sleep(REST_S)
        return self.now()

    def until_all_run(self, patience_s: float = 30) -> None:
        """Until packets of every flow that were sent from now on came back."""
        before = self.ask("look")["counts"]
        deadline = time.monotonic() + patience_s
        while not all(now > then + 20 for now, then in zip(self.ask("look")["counts"], before, strict=True)):
            if time.monotonic() > deadline:
                raise BenchError(f"not within {patience_s:.0f} s: all flows run")
            time.sleep(0.05)


@contextmanager
def worker(lab: Lab, pod: str, role: str, address: str) -> Iterator[Worker]:
    """A running worker that said it is ready."""
    argv = lab.argv(pod, sys.executable, "-m", WORKER, role, address, str(FLOWS), str(SPACING_S))
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        found = Worker(process)
        found.answer()
        yield found
    finally:
        # Killed, this end of it would leave the worker in the pod alive, and sending: it ends with its input.
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(END_S)
        finally:
            process.kill()
