"""Waiting with something to look at: a checklist that fills up on a terminal, one line a finished step elsewhere.

What is waited for is a pure function from what the server says to steps; this module only asks again and draws.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from slicer.cli.errors import WaitTimeoutError, cured
from slicer.cli.output import console, note

if TYPE_CHECKING:
    from rich.console import RenderableType

POLL_S = 0.1
"""Between two questions to the server: short against the second or two that a slice takes, and cheap for one user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the checklist."""

    title: str
    done: bool
    detail: str = ""
    """What is there already, or what is still missing."""


def wait(observe: Callable[[], Sequence[Step]], timeout_s: float, what: str, cure: str) -> None:
    """Return when all steps are done; WaitTimeoutError naming the first open one after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    draw = _Checklist() if _is_terminal() else _Lines()
    with draw:
        while True:
            steps = observe()
            draw.update(steps)
            open_ = [step for step in steps if not step.done]
            if not open_:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
    first = open_[0]
    detail = f" ({first.detail})" if first.detail else ""
    raise cured(WaitTimeoutError(f"{what}: after {timeout_s:g} s still waiting for {first.title}{detail}"), cure)


def render_steps(steps: Sequence[Step]) -> list[str]:
    """The checklist as plain lines."""
    return [render_step(step) for step in steps]


def render_step(step: Step) -> str:
    """`✓ title: detail`, or `… title: detail` while it is open."""
    return f"{'✓' if step.done else '…'} {step.title}{f': {step.detail}' if step.detail else ''}"


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Lines:
    """Each step once, when it is done."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def update(self, steps: Sequence[Step]) -> None:
        """Say what is new."""
        for step in steps:
            if step.done and step.title not in self._said:
                self._said.add(step.title)
                note(render_step(step))


class _Checklist:
    """All steps, drawn again in place, with a spinner at the open ones."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=console(stderr=True), refresh_per_second=12)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, steps: Sequence[Step]) -> None:
        """Draw the new state."""
        self._live.update(_drawn(steps))


def _drawn(steps: Sequence[Step]) -> RenderableType:
    from rich.console import Group
    from rich.spinner import Spinner
    from rich.text import Text

    lines: list[RenderableType] = []
    for step in steps:
        rest = f" {step.title}{f': {step.detail}' if step.detail else ''}"
        lines.append(
            Text.assemble(("✓", "green"), rest) if step.done else Spinner("dots", text=Text(rest[1:]), style="cyan")
        )
    return Group(*lines)
