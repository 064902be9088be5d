"""What an experiment showed, in words for a terminal or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from slicer.lab.chaos.choosing import Stage
from slicer.lab.chaos.experiments import Experiment, Hold
from slicer.lab.chaos.judging import HEALED_S, Figures, Limits, Opinion, most_silence_s
from slicer.lab.chaos.running import Outcome
from slicer.model.slices import Objectives

PIPE_WIDTH = 10_000
"""Where nobody's terminal is, lines are not broken."""
INDENT = "  "
PASS, FAIL = "PASS", "FAIL"


def show_catalogue(experiments: Iterable[Experiment]) -> None:
    """Every experiment, what it does and what must hold meanwhile."""
    table = _table("EXPERIMENT", "WHAT IT DOES", "WHAT MUST HOLD MEANWHILE")
    for one in experiments:
        table.add_row(Text(one.name), Text(one.summary), Text(one.hold.value))
    _print(_console(), table)


def show_stage(stage: Stage) -> None:
    """Between whom flows run, and what the slice wants."""
    page = _console()
    ends = f"{stage.source.full_name} on {stage.source.node}, {stage.target.full_name} on {stage.target.node}"
    page.print(f"slice {stage.slice}: flows between {ends}")
    page.print(f"objectives: {words_of_aims(stage.objectives)}")


def words_of_aims(aims: Objectives | None) -> str:
    """A slice's objectives, in words."""
    if aims is None:
        return "the slice has none (slicectl objectives set)"
    words = [f"a round trip of at most {aims.latency_ms} ms"] if aims.latency_ms is not None else []
    words += [f"at most {aims.loss_percent} % lost"] if aims.loss_percent is not None else []
    return ", ".join(words) or "that packets pass"


def show_experiment(experiment: Experiment, limits: Limits) -> None:
    """What is about to be done, and what is wanted meanwhile."""
    page = _console()
    page.print(f"\n{experiment.name}: {experiment.summary}")
    most = f"{most_silence_s(experiment.hold, limits):g} s"
    if experiment.hold is Hold.NOTHING:
        page.print(f"{INDENT}wanted: packets flow again {most} after the repair")
    else:
        page.print(f"{INDENT}wanted: no flow silent for more than {most}")


def show_outcome(experiment: Experiment, outcome: Outcome) -> None:
    """One experiment's end."""
    page, found = _console(), outcome.figures
    table = _table("", *(f"{one.source} to {one.target}" for one in found))
    for title, word in _ROWS:
        table.add_row(title, *map(word, found))
    _print(page, Padding(table, (0, 0, 0, len(INDENT))))
    if outcome.limits.objectives is not None:
        page.print(f"{INDENT}objectives: {words_of_opinion(outcome.opinion)}")
    _verdict(page, experiment, outcome)


def words_of_opinion(opinion: Opinion) -> str:
    """What the hub said, in words."""
    during = ", then ".join(opinion.during) or "not asked"
    return f"before {opinion.before or 'not asked'}; during {during}; after {opinion.after or 'not asked'}"


def show_summary(outcomes: Sequence[tuple[str, Outcome | str]]) -> None:
    """A line for each experiment: its outcome, or why it could not be played."""
    table = _table("EXPERIMENT", "", "SILENT", "AFTER REPAIR", "LOST", "WHY")
    for name, found in outcomes:
        if isinstance(found, str):
            table.add_row(name, Text("not played", "yellow"), "", "", "", Text(found))
        else:
            after = max(one.silence_after_s for one in found.figures)
            lost = str(sum(one.lost for one in found.figures))
            table.add_row(
                name, _word(found), f"{_silence_s(found):.2f} s", f"{after:.2f} s", lost, "; ".join(found.reasons)
            )
    _print(_console(), table)


def show_bench(results: Sequence[tuple[str, Outcome | str]]) -> None:
    """A line for each experiment: the longest silence of a flow in each of its repeats, and how many failed."""
    table = _table("EVENT", "REPEATS", "P50", "P99", "MAX", "FAILED")
    for name in dict.fromkeys(name for name, _ in results):
        found = [one for of, one in results if of == name]
        played = [one for one in found if not isinstance(one, str)]
        longest = [_silence_s(one) for one in played]
        ranks = [f"{percentile(longest, rank):.2f} s" if longest else "-" for rank in (50, 99, 100)]
        failed = len(found) - sum(not one.reasons for one in played)
        table.add_row(name, str(len(found)), *ranks, str(failed))
    _print(_console(), table)


def percentile(samples: Sequence[float], rank: int) -> float:
    """The smallest sample that so many per cent are not above."""
    ranked = sorted(samples)
    return ranked[max(0, -(-len(ranked) * rank // 100) - 1)]


def _silence_s(outcome: Outcome) -> float:
    return max(one.silence_s for one in outcome.figures)


def to_json(outcomes: Sequence[tuple[str, Outcome | str]]) -> str:
    """The same for programs."""
    items = []
    for name, found in outcomes:
        if isinstance(found, str):
            items.append({"experiment": name, "result": "NOT PLAYED", "reasons": [found]})
        else:
            items.append({"result": FAIL if found.reasons else PASS, **asdict(found)})
    return json.dumps({"items": items}, indent=2)


def _interrupted(one: Figures) -> str:
    if not one.hit:
        return "none"
    end = "until the repair" if one.back_s is None else f"the last until {one.back_s:.2f} s after the fault"
    return f"{one.hit} of {one.flows}, {end}"


def _lost(one: Figures) -> str:
    return f"{one.lost} of {one.sent} ({100 * one.lost / max(1, one.sent):.1f} %)"


_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("longest silence", lambda one: f"{one.silence_s:.2f} s"),
    (f"flows silent for {HEALED_S:g} s", _interrupted),
    ("silence after the repair", lambda one: f"{one.silence_after_s:.2f} s"),
    ("packets lost", _lost),
    ("time on the way", lambda one: "-" if one.latency_s is None else f"{one.latency_s * 1000:.1f} ms"),
)


def _verdict(page: Console, experiment: Experiment, outcome: Outcome) -> None:
    line = Text(INDENT).append_text(_word(outcome)).append(f" {experiment.name}")
    if not outcome.reasons:
        line.append(f": {_why_passed(experiment, outcome)}")
    page.print(line)
    for reason in outcome.reasons:
        page.print(f"{INDENT}{INDENT}{reason}")


def _why_passed(experiment: Experiment, outcome: Outcome) -> str:
    if experiment.hold is Hold.NOTHING:
        return f"everything was back {max(one.silence_after_s for one in outcome.figures):.2f} s after the repair"
    return f"{_silence_s(outcome):.2f} s of silence at most, of {most_silence_s(experiment.hold, outcome.limits):g} s"


def _print(page: Console, what: RenderableType) -> None:
    """Without spaces at the ends of lines."""
    with page.capture() as captured:
        page.print(what)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _word(outcome: Outcome) -> Text:
    return Text(FAIL, "bold red") if outcome.reasons else Text(PASS, "bold green")


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _console() -> Console:
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)
