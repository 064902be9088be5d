"""The same gaps where agents probe twice as often, and believe two losses."""

from __future__ import annotations

from tests.bench.failover import describe, number_of_repeats, run_at
from tests.bench.outcome import Outcome

PACE = "slicer, 50 ms / 2 losses"
OPTIONS = ("--probe-interval-ms", "50", "--probe-losses", "2")
GOAL_MS = 200.0


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` one event, once."""
    return Outcome(
        title="Failover, probed twice as often",
        how="As above, but for the agents' `--probe-interval-ms 50 --probe-losses 2`.",
        rows=run_at(PACE, OPTIONS, GOAL_MS, quick=quick),
        settings=describe(number_of_repeats(quick=quick)),
    )
