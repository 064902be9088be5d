"""Reports as JSON files: `docs/benchmarks/<name>.json`, raw samples included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.measure import Goal, Report, Row
from tools.run import ROOT

DIRECTORY = ROOT / "docs/benchmarks"
DIGITS = 5
"""Significant digits that are kept of a sample."""


def render_json(report: Report) -> str:
    """The report as JSON text."""
    value = asdict(report)
    for row in value["rows"]:
        row["samples"] = {
            variant: [_round(sample) for sample in samples] for variant, samples in row["samples"].items()
        }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def parse_json(text: str) -> Report:
    """The report in JSON text."""
    value = json.loads(text)
    return Report(**{**value, "rows": tuple(_row(row) for row in value["rows"])})


def read_reports(directory: Path = DIRECTORY) -> list[Report]:
    """All reports, by file name."""
    return [parse_json(path.read_text()) for path in sorted(directory.glob("*.json"))]


def write_report(report: Report, directory: Path = DIRECTORY) -> Path:
    """Writes the report and gives its file."""
    path = directory / f"{report.name}.json"
    path.write_text(render_json(report))
    return path


def _row(value: Mapping[str, Any]) -> Row:
    samples = {variant: tuple(samples) for variant, samples in value["samples"].items()}
    return Row(**{**value, "samples": samples, "goals": tuple(Goal(**goal) for goal in value["goals"])})


def _round(sample: float) -> float:
    return float(f"{sample:.{DIGITS}g}")
