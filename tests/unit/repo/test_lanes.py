"""The parts of `make test` hold every test."""

from __future__ import annotations

from pathlib import Path

from tools.lanes import ELSEWHERE, PARTS

TESTS = Path(__file__).parents[2]


def test_every_directory_of_tests_is_in_one_part():
    """A new directory below tests/ cannot be forgotten by `make test`."""
    there = {f"tests/{path.parent.relative_to(TESTS).parts[0]}" for path in TESTS.rglob("test_*.py")}
    listed = [directory for part in PARTS for directory in part]

    assert sorted(there) == sorted([*listed, *ELSEWHERE])
