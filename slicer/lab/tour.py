"""How a demonstration speaks: chapters, the commands that it runs, their output, and claims that hold or end it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slicer.model.errors import SlicerError

WIDTH = 98
_BOLD, _DIM, _GREEN, _RED, _CYAN, _OFF = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


class ClaimError(SlicerError):
    """Something that the demonstration says does not hold."""

    reason = "ClaimFailed"


@dataclass(slots=True)
class Tour:
    """One demonstration on one terminal. Every command is shown as a user would type it, and really run."""

    env: Mapping[str, str] = field(default_factory=dict)
    color: bool = field(default_factory=lambda: sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    started_s: float = field(default_factory=time.monotonic)
    chapters: int = 0
    claims: int = 0

    def title(self, text: str) -> None:
        """The first line."""
        self._say(f"\n{self._paint(_BOLD, text)}")

    def chapter(self, text: str) -> None:
        """A new part, with the time that has passed."""
        self.chapters += 1
        passed = f"{time.monotonic() - self.started_s:.0f} s"
        head = f"{self.chapters}. {text}"
        line = "─" * max(3, WIDTH - len(head) - len(passed) - 2)
        self._say(f"\n{self._paint(_BOLD, head)} {self._paint(_DIM, f'{line} {passed}')}")

    def tell(self, text: str) -> None:
        """A sentence of explanation."""
        for line in textwrap.wrap(text, WIDTH - 2):
            self._say(f"  {line}")

    def run(self, *argv: str, fails: bool = False, quiet: bool = False) -> str:
        """Show and run a command; its output. ClaimError unless it ends as expected: well, or (`fails`) not."""
        self._show(argv)
        env = {**os.environ, **self.env}
        done = subprocess.run(
            _found(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, check=False
        )
        output = done.stdout
        if not quiet or (done.returncode != 0) != fails:
            for line in filter(str.strip, output.splitlines()):
                self._say(self._paint(_DIM, f"    {line.rstrip()}"))
        if (done.returncode != 0) != fails:
            expected = "to fail" if fails else "to work"
            raise ClaimError(f"expected this {expected} (exit {done.returncode}): {_typed(argv)}")
        return output

    def stream(self, *argv: str) -> None:
        """Show and run a command that reports its own progress."""
        self._show(argv)
        done = subprocess.run(_found(argv), env={**os.environ, **self.env}, check=False)
        if done.returncode != 0:
            raise ClaimError(f"expected this to work (exit {done.returncode}): {_typed(argv)}")

    def claim(self, text: str, holds: bool, instead: str = "") -> None:
        """Say what was just shown, if it holds; ClaimError with what was seen instead if it does not."""
        if not holds:
            raise ClaimError(f"does not hold: {text}" + (f"\n  seen instead: {instead}" if instead else ""))
        self.claims += 1
        first, *rest = textwrap.wrap(text, WIDTH - 6)
        self._say(f"  {self._paint(_GREEN, '✔')} {first}")
        for line in rest:
            self._say(f"    {line}")

    def failed(self, text: str) -> None:
        """The end of a demonstration that did not hold."""
        first, *rest = text.splitlines()
        self._say(f"\n  {self._paint(_RED, '✘ ' + first)}")
        for line in rest:
            self._say(f"  {line}")

    def _show(self, argv: Sequence[str]) -> None:
        for line in _wrapped(argv):
            self._say(f"  {self._paint(_CYAN, line)}")

    def _paint(self, code: str, text: str) -> str:
        return f"{code}{text}{_OFF}" if self.color else text

    def _say(self, text: str) -> None:
        print(text, flush=True)


def _typed(argv: Sequence[str]) -> str:
    return " ".join(word if word == "--" else shlex.quote(word) for word in argv)


def _wrapped(argv: Sequence[str]) -> list[str]:
    """The command in lines that fit, each but the last continued as a shell has it."""
    lines = ["$"]
    for typed in _units(argv):
        if len(lines[-1]) + len(typed) + 3 > WIDTH - 2:
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {typed}"
    return lines


def _units(argv: Sequence[str]) -> list[str]:
    """The words, an option together with its value."""
    units: list[str] = []
    for word in argv:
        if units and units[-1].startswith("-") and " " not in units[-1] and units[-1] != "--" and word[0] != "-":
            units[-1] += f" {_typed([word])}"
        else:
            units.append(_typed([word]))
    return units


def _found(argv: Sequence[str]) -> list[str]:
    """`slicectl` is the one beside the Python that runs this, whatever PATH says."""
    beside = Path(sys.executable).parent / argv[0]
    return [str(beside) if beside.exists() else argv[0], *argv[1:]]
