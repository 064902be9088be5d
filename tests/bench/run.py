"""`make bench`: runs the benchmarks, writes `docs/benchmarks/*.json` and the page made from them.

    python -m tests.bench.run [--quick] [NAME…]

--quick runs everything as shortly as it can, to prove that it works: it writes nothing and judges no goal.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback

from tests.bench import machine, render
from tests.bench.files import write_report
from tests.bench.measure import Report, Row
from tools.run import say

BENCHMARKS = ("attach", "between", "gateways", "inside", "first_packet", "memory", "dns", "failover", "failover_fast")
"""Modules of tests.bench; each has `run(quick) -> Outcome` (see tests.bench.outcome)."""
BUSY = 1.0
"""Load above which the machine is not quiet: with two cores, figures are off then."""


def main() -> int:
    """The benchmarks that were asked for, or all; 1 if one of them broke."""
    parser = argparse.ArgumentParser(description="Runs Slicer's benchmarks.")
    parser.add_argument("--quick", action="store_true", help="prove that they work; measure and write nothing")
    parser.add_argument("name", nargs="*", help=f"which ones: {' '.join(BENCHMARKS)}")
    given = parser.parse_args()
    unknown = set(given.name) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {' '.join(sorted(unknown))}; there are {' '.join(BENCHMARKS)}")
    if not given.quick and machine.load() > BUSY:
        say(f"WARNING: the load is {machine.load()}; other work on this machine makes the figures worthless")
    broken = [name for name in given.name or BENCHMARKS if not _run_stubbornly(name, quick=given.quick)]
    if not given.quick:
        render.main()
    say(f"bench: {'BROKEN: ' + ' '.join(broken) if broken else 'all ran'}")
    return 1 if broken else 0


def _run_stubbornly(name: str, *, quick: bool) -> bool:
    """The quick run says whether a benchmark still works, also where the machine stood still: two tries."""
    if _run(name, quick=quick):
        return True
    if not quick:
        return False
    say(f"--- {name} failed; once more")
    return _run(name, quick=True)


def _run(name: str, *, quick: bool) -> bool:
    say(f"--- {name}{' (quick)' if quick else ''}")
    started = time.monotonic()
    load = machine.load()
    try:
        report = measure(name, quick=quick, load=load)
    except Exception:
        traceback.print_exc()
        return False
    _show(report, judge=not quick)
    say(f"--- {name}: {time.monotonic() - started:.0f} s")
    if not quick:
        say(f"wrote {write_report(report)}")
    return True


def measure(name: str, *, quick: bool, load: float) -> Report:
    """Runs one benchmark and puts the circumstances to what it found."""
    outcome = importlib.import_module(f"tests.bench.{name}").run(quick=quick)
    return Report(
        name=name,
        title=outcome.title,
        how=outcome.how,
        rows=outcome.rows,
        settings={**outcome.settings, "load before": load},
        machine=machine.describe(),
        commit=machine.commit(),
        date=machine.now(),
    )


def _show(report: Report, *, judge: bool) -> None:
    for row in report.rows:
        _check(row)
        values = "  ".join(f"{variant} {render.number(row.value(variant))}" for variant in row.samples)
        say(f"  {row.name} p{row.percentile:g}: {values} {row.unit}")
        for goal in row.goals if judge else ():
            say(f"      {render.render_goal(row, goal)}")


def _check(row: Row) -> None:
    empty = [variant for variant, samples in row.samples.items() if not samples]
    if empty:
        raise ValueError(f"row {row.name!r} has no samples of {empty}")


if __name__ == "__main__":
    sys.exit(main())
