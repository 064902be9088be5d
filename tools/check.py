"""`make check`: every rule that a machine can check. Runs all of them, shows each, and fails if one fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tools import docs, house, manifests
from tools.run import ROOT, TOOLS, finish, say
from tools.tracked import read_texts, tracked_files

VENV = ROOT / ".venv/bin"
COMMANDS: tuple[tuple[str, Sequence[str | Path]], ...] = (
    ("ruff: lint", (VENV / "ruff", "check", "--quiet")),
    ("ruff: format", (VENV / "ruff", "format", "--check", "--quiet")),
    ("mypy: the packages", (VENV / "mypy",)),
    ("mypy: tools, tests/bench, tests/kubernetes/lab", (VENV / "mypy", "tools", "tests/bench", "tests/kubernetes/lab")),
    ("import-linter: layers", (VENV / "lint-imports",)),
    ("uv: uv.lock fits pyproject.toml", (TOOLS / "uv/bin/uv", "lock", "--check", "--quiet")),
)
TEXT = (".py", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".sh", "Makefile", ".ci/run", ".gitignore", ".svg")


def main() -> int:
    """Runs everything; 1 if anything failed."""
    failed = [name for name, command in COMMANDS if not _passes(name, partial(_command, command))]
    files = tracked_files(ROOT)
    failed += [name for name, rule in _rules(files).items() if not _passes(name, rule)]
    say(f"check: {'FAILED: ' + ', '.join(failed) if failed else 'all passed'}")
    return 1 if failed else 0


def _rules(files: tuple[str, ...]) -> dict[str, Callable[[], list[str]]]:
    exceptions = house.parse_exceptions((ROOT / house.EXCEPTIONS).read_text())
    return {
        "sizes of files and functions": lambda: house.check_sizes(read_texts(ROOT, files, ".py"), exceptions),
        "no paths of one machine": lambda: house.check_machine_paths(read_texts(ROOT, files, *TEXT)),
        "docs: links and named files": lambda: docs.check_docs(read_texts(ROOT, files, ".md"), files),
        "YAML parses": lambda: manifests.check_yaml(read_texts(ROOT, files, ".yaml", ".yml")),
    }


def _command(command: Sequence[str | Path]) -> list[str]:
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return (
        [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines() or [f"exit {done.returncode}"]
    )


def _passes(name: str, rule: Callable[[], list[str]]) -> bool:
    started = time.monotonic()
    problems = rule()
    say(f"{'FAIL' if problems else 'ok  '}  {name} ({time.monotonic() - started:.1f} s)")
    for problem in problems:
        say(f"      {problem}")
    return not problems


if __name__ == "__main__":
    finish(main)
