"""What a benchmark finds out, as values, and the little statistics that it takes. Pure.

Only ratios of one run on one machine mean anything: the variants of a row are measured in turn, again and again, so
that a machine that slows down slows down all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What `subject` should reach: a bound of its value, or of its ratio to `against`."""

    subject: str
    against: str = ""
    """The variant to compare with; empty for a bound in the row's unit."""
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` (a ratio, or in the row's unit) is within the bounds."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity, measured for several variants."""

    name: str
    unit: str
    samples: Mapping[str, tuple[float, ...]]
    """Variant → what was measured, in the order of time."""
    percentile: float = 50
    """Which one stands for all samples of a variant."""
    paired: bool = False
    """Sample k of every variant was measured in the same round, so ratios are taken round by round."""
    goals: tuple[Goal, ...] = ()

    def value(self, variant: str) -> float:
        """What stands for the samples of `variant`."""
        return percentile(self.samples[variant], self.percentile)

    def ratio(self, variant: str, against: str) -> float:
        """How `variant` compares to `against`: the median of the rounds' ratios, or the ratio of the values."""
        mine, theirs = self.samples[variant], self.samples[against]
        if self.paired and len(mine) == len(theirs):
            return median(a / b for a, b in zip(mine, theirs, strict=True))
        return self.value(variant) / self.value(against)

    def achieved(self, goal: Goal) -> float:
        """What is to be compared with the goal's bounds."""
        return self.ratio(goal.subject, goal.against) if goal.against else self.value(goal.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One benchmark's outcome."""

    name: str
    title: str
    how: str
    """What was done, for somebody who wants to do it again."""
    rows: tuple[Row, ...]
    settings: Mapping[str, str | int | float]
    machine: Mapping[str, str | int | float]
    commit: str
    date: str
    """Day and time of the end of the run, UTC."""


def percentile(samples: Sequence[float], rank: float) -> float:
    """The value at `rank` percent (0 to 100), between neighbours by proportion; ValueError without samples."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    place = (len(ordered) - 1) * rank / 100
    low = math.floor(place)
    high = math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def interleave(variants: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """(round, variant): every variant once a round, each round beginning with another one."""
    for number in range(rounds):
        shift = number % len(variants)
        for variant in (*variants[shift:], *variants[:shift]):
            yield number, variant


class Samples:
    """Collects the samples of one row while a benchmark runs."""

    def __init__(self, variants: Sequence[str]) -> None:
        self._samples: dict[str, list[float]] = {variant: [] for variant in variants}

    def add(self, variant: str, *values: float) -> None:
        """Appends to the samples of a variant that was named at the beginning."""
        self._samples[variant].extend(values)

    def frozen(self) -> dict[str, tuple[float, ...]]:
        """What was collected."""
        return {variant: tuple(values) for variant, values in self._samples.items()}
