"""From a command to the first packet, or the first answer: what somebody waits for who declares something."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from tests.bench.lab import NAMESPACE, BenchError, Lab, running, until
from tests.bench.measure import Goal, Row, Samples
from tests.bench.outcome import Outcome

OURS = "slicer"
WAIT = "create-slice --wait, until it returns"
TWO_JOIN = "create-slice and member add of two pods, until their first packet"
ONE_JOINS = "member add of a third pod, until its first packet"
EXPORT = "export, until the other cluster's pod gets the address"
GOALS = {WAIT: 2000, TWO_JOIN: 2000}
"""Milliseconds at most."""


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` once."""
    rounds = 1 if quick else 9
    samples = {name: Samples([OURS]) for name in (WAIT, TWO_JOIN, ONE_JOINS, EXPORT)}
    with running() as lab:
        pods = {"one": lab.pod("one", "a-n1"), "two": lab.pod("two", "b-n1"), "three": lab.pod("three", "b-n2")}
        for number in range(rounds):
            _waiting(lab, pods, number, samples)
            _joining(lab, pods, number, samples)
    rows = [
        Row(name=name, unit="ms", samples=found.frozen(), goals=(Goal(subject=OURS, at_most=GOALS.get(name)),))
        for name, found in samples.items()
    ]
    return Outcome(
        title="From a command to the first packet",
        how=(
            "Two clusters of two nodes; the pods run already and have no slice. Wall clock from the start of "
            "`slicectl` (its own start included) to what is named, each on a new slice."
        ),
        rows=tuple(rows),
        settings={"rounds": rounds},
    )


def _waiting(lab: Lab, pods: dict[str, str], number: int, samples: dict[str, Samples]) -> None:
    name = f"wait-{number}"
    samples[WAIT].add(OURS, _ms(lambda: _create(lab, name, number, "--wait")))
    _join(lab, name, pods["one"], pods["two"])
    _first_packet(lab, pods["one"], pods["two"])

    def third() -> None:
        _join(lab, name, pods["three"])
        _first_packet(lab, pods["one"], pods["three"])

    samples[ONE_JOINS].add(OURS, _ms(third))
    samples[EXPORT].add(OURS, _export_ms(lab, name, pods["one"]))
    lab.slicectl("delete-slice", name, "--yes", "--force")
    _gone(lab, list(pods.values()))


def _joining(lab: Lab, pods: dict[str, str], number: int, samples: dict[str, Samples]) -> None:
    name = f"join-{number}"

    def both() -> None:
        _create(lab, name, 100 + number)
        _join(lab, name, pods["one"], pods["two"])
        _first_packet(lab, pods["one"], pods["two"])

    samples[TWO_JOIN].add(OURS, _ms(both))
    lab.slicectl("delete-slice", name, "--yes", "--force")
    _gone(lab, list(pods.values()))


def _create(lab: Lab, name: str, number: int, *words: str) -> None:
    lab.slicectl("create-slice", name, "--prefix", f"10.{number + 1}.0.0/16", *words)


def _join(lab: Lab, name: str, *pods: str) -> None:
    lab.slicectl("member", "add", name, *(word for pod in pods for word in ("--pod", pod)))


def _first_packet(lab: Lab, client: str, server: str) -> None:
    until(lambda: _has_interface(lab, client) and _has_interface(lab, server), f"{client} and {server} have net1")
    # With -w, ping sends until one is answered, not until one is sent. It ends at once while there is no route yet.
    argv = lab.argv(client, "ping", "-n", "-i", "0.005", "-c", "1", "-w", "30", lab.address(server))
    until(lambda: subprocess.run(argv, capture_output=True, check=False).returncode == 0, f"{client} reaches {server}")


def _has_interface(lab: Lab, pod: str) -> bool:
    try:
        return bool(lab.address(pod))
    except BenchError:
        return False


def _gone(lab: Lab, pods: list[str]) -> None:
    until(lambda: not any(_has_interface(lab, pod) for pod in pods), f"{', '.join(pods)} have lost net1")


def _export_ms(lab: Lab, name: str, pod: str) -> float:
    question = f"three.{NAMESPACE}.svc.{name}.slice.local"
    argv = lab.argv(pod, sys.executable, "-m", "tests.bench.resolve", question)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        if asker.stdout.readline() != "ready\n":
            raise BenchError(f"{' '.join(argv)}: exit {asker.wait()}")
        started = time.monotonic_ns()
        selector = ("--selector", "app=three", "--port", "http:80")
        lab.slicectl("export", name, f"{NAMESPACE}/three", *selector)
        answered = asker.stdout.readline()
    if not answered:
        raise BenchError(f"{question} was not answered within 30 s of its export")
    return (int(answered) - started) / 1e6


def _ms(work: Callable[[], None]) -> float:
    started = time.monotonic_ns()
    work()
    return (time.monotonic_ns() - started) / 1e6
