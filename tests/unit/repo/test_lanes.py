"""The parts of `make test` hold every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.lanes import ELSEWHERE, PARTS, find_files

TESTS = Path(__file__).parents[2]


def test_every_test_is_in_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file or directory below tests/ cannot be forgotten by `make test`, and none runs twice."""
    monkeypatch.chdir(TESTS.parent)
    there = {path.relative_to(TESTS.parent) for path in TESTS.rglob("test_*.py")}
    found = [_below(name) for part in (*map(find_files, PARTS), ELSEWHERE) for name in part]

    assert sorted(path for paths in found for path in paths) == sorted(there)
    assert all(found)


def _below(name: str) -> list[Path]:
    path = Path(name)
    return [path] if path.is_file() else sorted(path.rglob("test_*.py"))
