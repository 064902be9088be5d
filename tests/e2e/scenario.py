"""Scenarios: texts of steps and expectations, and what a world must be able to do to run them."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slicer.model.errors import SlicerError
from tools.run import ToolError

SCENARIOS = Path(__file__).parent / "scenarios"
Json = dict[str, Any]
FAILURES = (AssertionError, SlicerError, ToolError)
"""How steps fail, in either world."""


class World(Protocol):
    """Two clusters with Slicer in them. Everything is done as a user does it."""

    kind: str
    """`lab` or `kubernetes`."""

    patience_s: float
    """How long an expectation is waited for. Nothing is asserted about time but that it ends."""

    def slicectl(self, *argv: str) -> str:
        """Runs slicectl against the hub, which must work; its output."""

    def apply(self, cluster: str, objects: Sequence[Json]) -> None:
        """Makes objects in a cluster: Pod, Deployment, …"""

    def delete(self, cluster: str, namespace: str, app: str, *, force: bool) -> None:
        """Deletes the workload whose pods have the label `app`; returns when its pods are gone."""

    def pods(self, cluster: str, namespace: str, app: str) -> list[str]:
        """Names of the running pods of a workload, sorted."""

    def exec(self, cluster: str, namespace: str, pod: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command in a pod."""

    def network_statuses(self, cluster: str, namespace: str, app: str) -> list[list[Json]]:
        """What Multus wrote on each running pod of a workload, parsed, in the order of their names."""

    def strike(self, verb: str, part: str, where: str) -> None:
        """`kill`, `stop`, `start` a part (`agent`, `hub`, …) on a machine; `kill` lets it come back by itself."""

    def cleanup(self, namespace: str) -> None:
        """Removes everything in the namespace, in all clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A parsed scenario."""

    name: str
    title: str
    only: str
    steps: tuple[tuple[int, str], ...]
    """(line number, text)."""


@dataclass(slots=True)
class Play:
    """One performance of a scenario in a world: what it made and what it remembers."""

    world: World
    number: int
    slices: list[str] = field(default_factory=list)
    exports: list[tuple[str, str]] = field(default_factory=list)
    stopped: list[tuple[str, str]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return f"sc{self.number}"

    def real(self, slice_: str) -> str:
        """The real name of a slice that the text calls `slice_`."""
        return f"{slice_}-{self.number}"

    def fill(self, text: str) -> str:
        """`$ns` and `$red` replaced."""
        return re.sub(r"\$(\w+)", lambda m: self.namespace if m[1] == "ns" else self.real(m[1]), text)

    def exec(self, workload: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the first running pod of `cluster/name`."""
        cluster, pod = self.pod(workload)
        return self.world.exec(cluster, self.namespace, pod, argv)

    def pod(self, workload: str) -> tuple[str, str]:
        """(cluster, name of its first running pod); AssertionError if there is none."""
        cluster, _, app = workload.partition("/")
        pods = self.world.pods(cluster, self.namespace, app)
        assert pods, f"{workload} has no running pod"
        return cluster, pods[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A word of the language: `pattern` is matched against the whole line."""

    pattern: re.Pattern[str]
    do: Callable[..., Any]
    """Called with the play and the pattern's named groups. An expectation returns (whether it holds, what was seen)."""


def parse_scenario(name: str, text: str) -> Scenario:
    """The scenario in `text`; its title is the first line."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    wanted = [(number, line) for number, line in lines if line and not line.startswith("#")]
    (_, title), *steps = wanted
    only = ""
    if steps and steps[0][1].startswith("on "):
        only = steps.pop(0)[1].removeprefix("on ")
    return Scenario(name=name, title=title, only=only, steps=tuple(steps))


def read_scenarios() -> list[Scenario]:
    """All of them, by name."""
    return [parse_scenario(path.stem, path.read_text()) for path in sorted(SCENARIOS.glob("*.txt"))]


def run_scenario(scenario: Scenario, steps: Sequence[Step], play: Play, show: Callable[[str], None] = print) -> None:
    """Plays all steps, then removes what was made; AssertionError names the line that failed."""
    try:
        for number, line in scenario.steps:
            started = time.monotonic()
            _run_line(f"{scenario.name}.txt:{number}: {line}", line, steps, play)
            show(f"{time.monotonic() - started:5.1f} s  {line}")
    except BaseException:
        with suppress(*FAILURES):  # what failed first is what to look at
            _clean(play)
        raise
    _clean(play)


def find_step(line: str, steps: Sequence[Step]) -> tuple[Step, Mapping[str, str]]:
    """The one step whose pattern fits the line; AssertionError if there is none or more than one."""
    found = [(step, match.groupdict()) for step in steps if (match := step.pattern.fullmatch(line))]
    assert len(found) == 1, f"{len(found)} steps fit the line {line!r}"
    return found[0]


def _run_line(where: str, line: str, steps: Sequence[Step], play: Play) -> None:
    word, _, rest = line.partition(" ")
    if word == "refused":
        _run_refused(where, rest, steps, play)
        return
    if word not in ("expect", "still"):
        step, groups = find_step(line, steps)
        step.do(play, **groups)
        return
    step, groups = find_step(rest, steps)
    deadline = time.monotonic() + (play.world.patience_s if word == "expect" else 0)
    pause = threading.Event()
    while True:
        try:
            holds, seen = step.do(play, **groups)
        except FAILURES as error:
            holds, seen = False, str(error)
        if holds:
            return
        assert time.monotonic() < deadline, f"{where}: seen instead: {seen}"
        pause.wait(0.3)


def _run_refused(where: str, line: str, steps: Sequence[Step], play: Play) -> None:
    naming, _, rest = line.partition(": ")
    text = play.fill(naming.removeprefix("naming "))
    step, groups = find_step(rest, steps)
    message = _refusal(lambda: step.do(play, **groups))
    assert message is not None, f"{where}: it was not refused"
    assert text in message, f"{where}: refused, but with: {message}"


def _refusal(do: Callable[[], object]) -> str | None:
    try:
        do()
    except FAILURES as error:
        return str(error)
    return None


def step_text(line: str) -> str:
    """The step in a line, without the word that says what to make of its outcome."""
    word, _, rest = line.partition(" ")
    if word == "refused":
        return rest.partition(": ")[2]
    return rest if word in ("expect", "still") else line


def _clean(play: Play) -> None:
    for part, where in play.stopped:
        play.world.strike("start", part, where)
    for slice_, name in play.exports:
        play.world.slicectl("unexport", slice_, name, "--namespace", play.namespace)
    play.world.cleanup(play.namespace)
    for slice_ in play.slices:
        play.world.slicectl("delete-slice", slice_, "--force", "--yes")
