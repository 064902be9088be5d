"""`make docs`: writes `docs/benchmarks/README.md` from the recorded reports; nothing there is written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.files import DIRECTORY, read_reports
from tests.bench.measure import Goal, Report, Row
from tools.run import say

HEAD = """# Benchmarks

Written by `make docs` from the JSON files beside it, which hold every sample; measured by `make bench`.

* Only **ratios** of one run mean anything; absolute figures belong to one machine on one day.
* The variants of a row were measured in turn, round after round. A figure is the median, or the percentile named.
* ✓ and ✗ say whether the goal was reached in this run.
"""
EMPTY = "\nNo results have been recorded yet.\n"


def render_page(reports: Sequence[Report]) -> str:
    """The whole page."""
    return HEAD + ("".join(map(render_report, reports)) or EMPTY)


def render_report(report: Report) -> str:
    """One benchmark: what was done, the table, the circumstances."""
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    settings = ", ".join(f"{key} {value}" for key, value in report.settings.items())
    lines = [
        f"\n## {report.title}\n",
        f"{report.how}\n",
        *render_table(report.rows),
        f"\n{report.date}, commit `{report.commit}`; {settings}.",
        f"Machine: {machine}. Samples: [{report.name}.json]({report.name}.json).",
    ]
    return "\n".join(lines) + "\n"


def render_table(rows: Sequence[Row]) -> list[str]:
    """The lines of one table: a column for each variant that any row has."""
    variants = list(dict.fromkeys(variant for row in rows for variant in row.samples))
    goals = any(row.goals for row in rows)
    head = ["", *variants, *(["goal"] if goals else [])]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        values = [number(row.value(variant)) if row.samples.get(variant) else "" for variant in variants]
        name = row.name if row.percentile == 50 else f"{row.name}, p{row.percentile:g}"
        found = ["; ".join(render_goal(row, goal) for goal in row.goals)] if goals else []
        lines.append(_line([f"{name} ({row.unit})", *values, *found]))
    return lines


def render_goal(row: Row, goal: Goal) -> str:
    """As `slicer: **0.93 times** bare ≥ 0.9 ✓`, with the sign for times."""
    achieved = row.achieved(goal)
    bounds = [f"≥ {goal.at_least:g}"] if goal.at_least is not None else []
    bounds += [f"≤ {goal.at_most:g}"] if goal.at_most is not None else []
    what = f"**{achieved:.2f} \N{MULTIPLICATION SIGN}** {goal.against}" if goal.against else f"**{number(achieved)}**"
    mark = ("✓" if goal.holds(achieved) else "✗") if bounds else ""
    return f"{goal.subject}: {what} {' and '.join(bounds)} {mark}".rstrip()


def number(value: float) -> str:
    """Three significant digits, thousands apart, no exponent."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Writes the page."""
    page = DIRECTORY / "README.md"
    page.write_text(render_page(read_reports()))
    say(f"wrote {page}")


if __name__ == "__main__":
    main()
