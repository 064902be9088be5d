"""The lanes of `make test` hold every test."""

from __future__ import annotations

from pathlib import Path

from tools.lanes import ELSEWHERE, LANES

TESTS = Path(__file__).parents[2]


def test_every_directory_of_tests_is_in_one_lane():
    """A new directory below tests/ cannot be forgotten by `make test`."""
    there = {f"tests/{path.parent.relative_to(TESTS).parts[0]}" for path in TESTS.rglob("test_*.py")}
    listed = [directory for lane in LANES for directory in lane]

    assert sorted(there) == sorted([*listed, *ELSEWHERE])
