"""Memory of each process of a running lab, with few pods and with many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.bench.lab import Lab, running
from tests.bench.measure import Goal, Row
from tests.bench.outcome import Outcome

SLICE = "bench"
PROGRAMS = (
    (re.compile(r"slicer-controller.*--role[ =]hub"), "controller (hub)"),
    (re.compile(r"slicer-controller.*--role[ =]member"), "controller (member)"),
    (re.compile(r"slicer-agent"), "agent"),
    (re.compile(r"slicer-dns"), "DNS server"),
    (re.compile(r"wireguard-go"), "wireguard-go"),
)
MIB = 1024
"""KiB, the kernel's unit."""
GOALS = (Goal(subject="agent", at_most=80), Goal(subject="DNS server", at_most=60))


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` with one pod a node."""
    few, many = (1, 2) if quick else (1, 20)
    rows: list[Row] = []
    with running() as lab:
        lab.create_slice(SLICE, "10.77.0.0/16")
        for last, first in ((few, 0), (many, few)):
            _start_pods(lab, range(first, last))
            rows += _rows(lab, last)
    return Outcome(
        title="Memory",
        how=(
            "Two clusters of two nodes and one slice, some pods on each node. Median over the processes of a kind: RSS "
            "counts shared pages whole in each process, PSS in equal parts. There is nothing per pod beside them."
        ),
        rows=tuple(rows),
        settings={"pods a node": f"{few} and {many}"},
    )


def _start_pods(lab: Lab, numbers: range) -> None:
    nodes = [machine.name for cluster in lab.layout.clusters for machine in lab.layout.nodes_of(cluster)]
    for node in nodes:
        for number in numbers:
            pod = lab.pod(f"{node}-{number}", node, SLICE)
    lab.reach(pod, lab.address(f"{lab.layout.clusters[0]}/bench/{nodes[0]}-0"))


def _rows(lab: Lab, pods: int) -> Iterator[Row]:
    for field in ("Rss", "Pss"):
        samples: dict[str, tuple[float, ...]] = {name: () for _, name in PROGRAMS}
        for name, pid in _processes(lab):
            samples[name] = (*samples[name], _memory_mib(pid, field))
        samples = {name: values for name, values in samples.items() if values}
        goals = GOALS if field == "Rss" else ()
        yield Row(name=f"{field.upper()}, {pods} pods a node", unit="MiB", samples=samples, goals=goals)


def _processes(lab: Lab) -> Iterator[tuple[str, int]]:
    """(kind, process) of all programs inside the lab's machines, whatever else runs on the host."""
    spaces = {_pid_namespace(lab.pid(machine.name)) for machine in lab.layout.machines()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _pid_namespace(int(entry.name)) in spaces:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            for pattern, name in PROGRAMS:
                if pattern.search(words):
                    yield name, int(entry.name)


def _pid_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _memory_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / MIB
    raise ValueError(f"/proc/{pid}/smaps_rollup has no {field}")
