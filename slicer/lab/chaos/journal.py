"""What is broken in a lab just now, on disk: written before anything is done, so that nothing stays broken unknown.

`chaos.json` in the lab's directory holds the steps that are to be undone; `chaos.lock` is held by whoever experiments.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from slicer.lab import state
from slicer.lab.chaos import steps
from slicer.lab.chaos.steps import Step
from slicer.lab.layout import Layout
from slicer.model.errors import ConflictError, SlicerError

Say = Callable[[str], None]


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """One experiment at a time; ConflictError if another runs. The kernel drops the lock if we die."""
    with open(layout.directory / "chaos.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another experiment runs in lab {layout.name!r}; wait for its end") from None
        yield


def arm(layout: Layout, wanted: Sequence[Step]) -> None:
    """Write down what will have to be undone, before any of it is done."""
    state.replace(_path(layout), steps.render_journal(tuple(wanted)))


def broken(layout: Layout) -> tuple[Step, ...]:
    """What is to be undone; empty if all is well."""
    try:
        return steps.parse_journal(_path(layout).read_text())
    except FileNotFoundError:
        return ()


def repair(layout: Layout, say: Say) -> None:
    """Undo everything, the last first; SlicerError with all that could not be undone, which stays written down."""
    left, failures = list(broken(layout)), []
    seen = set()
    for step in reversed(tuple(left)):
        what = (step.kind, step.machine, step.detail if step.kind is steps.Kind.PROGRAM else "")
        try:
            if what not in seen:  # a machine's rules are one table, however often they were put there
                steps.undo(layout, step)
                seen.add(what)
                say(step.said.partition(":")[0])
            left.remove(step)
        except (SlicerError, OSError) as error:
            failures.append(f"{step.machine}: {error}")
    if left and layout.directory.is_dir():
        arm(layout, left)
        cure = "slicectl chaos repair tries again; slicectl lab down removes the lab"
        raise SlicerError("\n".join(["not everything is repaired:", *failures, cure]))
    with suppress(FileNotFoundError):
        _path(layout).unlink()


def _path(layout: Layout) -> Path:
    return layout.directory / "chaos.json"
