"""CNI ADD and DEL: our executable and agent against the Go plugins `bridge` + `host-local`, on one node of a lab."""

from __future__ import annotations

import json
from typing import Any

from slicer.plan import pods
from tests.bench.lab import running
from tests.bench.measure import Goal, Row
from tests.bench.outcome import Outcome
from tools.gomodule import cache_directory
from tools.pins import read_pins
from tools.run import TOOLS

OURS, THEIRS, FLOOR = "slicer", "bridge + host-local", "our executable, idle agent"
ECHO_SOCKET = "/run/bench/echo.sock"
SLICE = "bench"
GOALS = {"ADD": 0.8, "DEL": 0.35}
"""Ratio of the medians at most, one call at a time; many at once wait for as many starts of Python: FLOOR."""


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` makes a few calls only."""
    sequential, parallel, rounds = (5, 5, 1) if quick else (100, 40, 5)
    # Released addresses rest for a minute, so that every ADD of the run wants a new one.
    warm_up = sequential + parallel * rounds
    counts = {"sequential": sequential, "parallel": parallel, "rounds": rounds, "warm_up": warm_up}
    job = {"plugins": _plugins(), "echo_socket": ECHO_SOCKET, **counts}
    with running(clusters=("a",), nodes=1) as lab:
        lab.create_slice(SLICE, "10.77.0.0/16")
        samples = lab.python("a-n1", "tests.bench.attach_worker", job, timeout_s=600)
    return Outcome(
        title="CNI ADD and DEL",
        how=(
            f"One node of a lab. Each plugin is started with posix_spawn, as a runtime does, and timed until it exits: "
            f"{sequential} calls one at a time, the plugins in turn; then {parallel} at once, first start to last "
            f"exit, {rounds} rounds. Ours is the installed executable with the agent behind it; theirs are Go: "
            f"{_theirs()}. The third is our executable before an agent that only answers: the cost of starting Python."
        ),
        rows=tuple(_rows(samples, parallel)),
        settings={"sequential": sequential, "at once": parallel, "rounds": rounds},
    )


def _rows(samples: dict[str, Any], parallel: int) -> list[Row]:
    found = []
    for verb, bound in GOALS.items():
        goal = (Goal(subject=OURS, against=THEIRS, at_most=bound), Goal(subject=FLOOR, against=THEIRS))
        open_ = (Goal(subject=OURS, against=THEIRS), Goal(subject=FLOOR, against=THEIRS))
        one, together = samples[f"{verb}/one"], samples[f"{verb}/all"]
        found.append(Row(name=f"{verb}, one at a time", unit="ms", samples=one, goals=goal))
        found.append(Row(name=f"{verb}, one at a time", unit="ms", samples=one, percentile=99, goals=open_))
        found.append(Row(name=f"{verb}, {parallel} at once", unit="ms", samples=together, goals=open_, paired=True))
    return found


def _plugins() -> list[dict[str, Any]]:
    config = json.loads(pods.render_network(SLICE, "default")["spec"]["config"])
    ours = {"executable": "/opt/cni/bin/slicer", "directory": "/opt/cni/bin", "config": config}
    return [
        {**ours, "name": OURS, "environment": {}},
        {
            "name": THEIRS,
            "executable": str(TOOLS / "cni/bridge"),
            "directory": str(TOOLS / "cni"),
            "config": bridge_config(),
            "environment": {},
        },
        {**ours, "name": FLOOR, "environment": {"SLICER_CNI_SOCKET": ECHO_SOCKET}},
    ]


def _theirs() -> str:
    built = (TOOLS / "cni/bridge").resolve().is_relative_to(cache_directory())
    return f"`{read_pins().cni_plugins}`" if built else "Debian's package `containernetworking-plugins`"


def bridge_config() -> dict[str, Any]:
    """A plain bridge with addresses from host-local, as the plugins' documentation shows it."""
    ranges = [[{"subnet": "10.78.0.0/16"}]]
    ipam = {"type": "host-local", "ranges": ranges, "dataDir": "/run/bench/host-local"}
    return {
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": "bridge",
        "bridge": "bench0",
        "isGateway": True,
        "ipam": ipam,
    }
