"""What each benchmark module gives back: `run(quick) -> Outcome`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.measure import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A report without the circumstances, which are the runner's to tell."""

    title: str
    how: str
    rows: tuple[Row, ...]
    settings: Mapping[str, str | int | float]
