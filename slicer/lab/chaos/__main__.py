"""`python -m slicer.lab.chaos`: the command line of the experiments, which `slicectl chaos` starts as a process."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from slicer.lab import state
from slicer.lab.chaos import choosing, experiments, journal, report, running
from slicer.lab.chaos.choosing import Stage, Wish
from slicer.lab.chaos.experiments import EXPERIMENTS, MTU_SILENCE_S, SILENCE_S, Experiment, Strength
from slicer.lab.chaos.running import Outcome, Terms
from slicer.lab.layout import Layout
from slicer.model.errors import ConflictError, InvalidError, NotFoundError, SlicerError, UnavailableError
from slicer.model.names import check_range

EXIT_OF = ((InvalidError, 2), (NotFoundError, 4), (ConflictError, 5), (UnavailableError, 7))
"""The same numbers as slicectl's; every other SlicerError is 1."""
FAILED = 9
"""The slice did not stand an experiment, or one could not be played."""
HOLD = "5s"
REPEATS, REPEATS_MAX = 5, 1000
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}

Result = tuple[str, Outcome | str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, FAILED, or the number of the kind of error, whose message goes to stderr."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGHUP):  # repaired like Ctrl-C
        signal.signal(number, signal.default_int_handler)
    given = _parser().parse_args(argv)
    if given.do is not _list and os.geteuid() != 0:
        print("the lab is made of network namespaces: run it as root", file=sys.stderr)
        return 1
    try:
        return int(given.do(given) or 0)
    except SlicerError as error:
        print(error.message, file=sys.stderr)
        return next((number for kind, number in EXIT_OF if isinstance(error, kind)), 1)
    except KeyboardInterrupt:
        print("interrupted; if something is still broken, slicectl chaos repair mends it", file=sys.stderr)
        return 130


def parse_duration(text: str) -> float:
    """`500ms`, `10s`, `1.5m` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like 500ms, 10s or 1m")
    return float(match[1]) * _UNITS_S[match[2]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slicectl chaos", description="Break parts of a running lab on purpose, and see whether a slice stands it."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Any, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_)
        sub.set_defaults(do=do)
        return sub

    command("list", _list, "all experiments")
    run = command("run", _run, "play an experiment, or all of them; exit 9 if the slice does not stand it")
    run.add_argument("experiment", help="see slicectl chaos list; or all")
    _add_run(run)
    _add_strength(run)
    bench = command("bench", _bench, "how long flows stand still when something dies, over some repeats")
    bench.prog = "slicectl bench"
    bench.add_argument("what", choices=("failover",))
    bench.add_argument("--repeat", type=int, default=REPEATS, metavar="N", help="of each event (%(default)s)")
    _add_run(bench)
    _add_name(command("status", _status, "what is broken just now"))
    _add_name(command("repair", _repair, "mend what an experiment left broken that was killed"))
    return parser


def _add_name(sub: argparse.ArgumentParser) -> None:
    name = os.environ.get("SLICER_LAB") or state.default_name()
    sub.add_argument("--name", default=name, help="which lab (%(default)s)")


def _add_run(sub: argparse.ArgumentParser) -> None:
    _add_name(sub)
    sub.add_argument("--slice", default="", help="default: the only one")
    sub.add_argument("--from", default="", dest="source", metavar="POD", help="CLUSTER/NAMESPACE/POD or its last parts")
    sub.add_argument("--to", default="", dest="target", metavar="POD", help="in another cluster")
    sub.add_argument("--cluster", default="", help="where something breaks (the cluster of --from)")
    sub.add_argument("--node", default="", help="which gateway breaks")
    help_ = "how long the fault is there (%(default)s)"
    sub.add_argument("--for", type=parse_duration, default=HOLD, dest="hold_s", metavar="DURATION", help=help_)
    help_ = f"how long a flow may be silent after something happened ({SILENCE_S:g}s; with mtu {MTU_SILENCE_S:g}s)"
    sub.add_argument("--silence", type=parse_duration, dest="silence_s", metavar="DURATION", help=help_)
    sub.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print the answer")
    sub.set_defaults(strength=lambda _given: Strength())


def _add_strength(sub: argparse.ArgumentParser) -> None:
    usual = Strength()
    help_ = "how much of 100 packets `loss` loses (%(default)s)"
    sub.add_argument("--loss", type=int, default=usual.loss_percent, metavar="PERCENT", help=help_)
    help_ = "how much longer packets take with `delay`, each way (%(default)s)"
    sub.add_argument("--delay", type=parse_duration, default=f"{usual.delay_ms}ms", metavar="DURATION", help=help_)
    help_ = "the largest packet that passes with `mtu` (%(default)s)"
    sub.add_argument("--size", type=int, default=usual.size, metavar="BYTES", help=help_)
    sub.set_defaults(strength=_strength)


def _list(_given: argparse.Namespace) -> None:
    report.show_catalogue(EXPERIMENTS)


def _status(given: argparse.Namespace) -> None:
    found = journal.broken(state.load(given.name))
    for step in found:
        print(step.said)
    if not found:
        print("nothing is broken by an experiment")


def _repair(given: argparse.Namespace) -> None:
    layout = state.load(given.name)
    with journal.locked(layout):
        if not journal.broken(layout):
            print("nothing is broken by an experiment")
        journal.repair(layout, lambda what: print(f"{what}: repaired", flush=True))


def _run(given: argparse.Namespace) -> int:
    results = _play_all(given, experiments.find(given.experiment))
    if given.output == "table" and len(results) > 1:
        print()
        report.show_summary(results)
    return _code(results)


def _bench(given: argparse.Namespace) -> int:
    check_range("repeats", given.repeat, 1, REPEATS_MAX)
    wanted = tuple(one for name in experiments.BENCH for one in experiments.find(name) * given.repeat)
    results = _play_all(given, wanted)
    if given.output == "table":
        print()
        report.show_bench(results)
    return _code(results)


def _play_all(given: argparse.Namespace, wanted: Sequence[Experiment]) -> list[Result]:
    """One after the other, each told as it ends; in JSON all at the end."""
    layout, terms, quiet = state.load(given.name), _terms(given), given.output == "json"
    with journal.locked(layout):
        _mend_first(layout)
        stage = choosing.choose(layout, Wish(slice=given.slice, source=given.source, target=given.target))
        if not quiet:
            report.show_stage(stage)
        results = [_play(layout, stage, one, terms, alone=len(wanted) == 1, quiet=quiet) for one in wanted]
    if quiet:
        print(report.to_json(results))
    return results


def _code(results: Sequence[Result]) -> int:
    return FAILED if any(isinstance(found, str) or found.reasons for _, found in results) else 0


def _strength(given: argparse.Namespace) -> Strength:
    return Strength(loss_percent=given.loss, delay_ms=round(given.delay * 1000), size=given.size)


def _terms(given: argparse.Namespace) -> Terms:
    return Terms(
        cluster=given.cluster,
        node=given.node,
        hold_s=given.hold_s,
        silence_s=given.silence_s,
        strength=given.strength(given),
    )


def _mend_first(layout: Layout) -> None:
    if journal.broken(layout):
        print("an earlier experiment was killed; mending what it left broken", file=sys.stderr)
        journal.repair(layout, lambda what: print(f"{what}: repaired", file=sys.stderr))


def _play(layout: Layout, stage: Stage, one: Experiment, terms: Terms, *, alone: bool, quiet: bool) -> Result:
    """One experiment; of several, one that cannot be played does not keep the others from it."""
    began = time.monotonic()
    try:
        if quiet:
            return one.name, running.play(layout, stage, one, terms, lambda _: None)
        report.show_experiment(one, running.limits_of(stage, one, terms))
        outcome = running.play(
            layout, stage, one, terms, lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)
        )
        report.show_outcome(one, outcome)
    except SlicerError as error:
        if alone or journal.broken(layout):
            raise
        print(f"  not played: {error.message}", file=sys.stderr)
        return one.name, error.message
    return one.name, outcome


if __name__ == "__main__":
    sys.exit(main())
