"""A bell with a counter: threads say "look again", others wait until that has been said since they last looked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_S = 0.02
"""Calls that follow each other closer than this are one burst."""
LIMIT_S = 0.25
"""How long a burst may hold up what others learn of it."""


class Changes:
    """Counts what happened; nothing is lost between looking and waiting, and many rings make one look."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def ring(self) -> None:
        """Something changed."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    @property
    def count(self) -> int:
        """Rings so far; hand it to `wait_beyond` after looking."""
        return self._count

    def wait_beyond(self, count: int, timeout_s: float) -> bool:
        """Wait until it rang after `count`; False if the time passed without."""
        with self._condition:
            return self._condition.wait_for(lambda: self._count != count, timeout_s)


class Calm:
    """Lets work in the background step back while pods wait.

    The interpreter runs one thread at a time: whatever another thread computes while a burst of attachments is being
    made, every one of them waits for.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._busy = 0
        self._since = float("-inf")

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Something that a pod waits for is being done."""
        with self._condition:
            self._busy += 1
        try:
            yield
        finally:
            with self._condition:
                self._busy -= 1
                self._since = time.monotonic()

    def wait(self) -> None:
        """Returns once nothing was being done for QUIET_S, after LIMIT_S in any case."""
        deadline = Deadline(LIMIT_S)
        while (wait_s := min(self._left_s(), deadline.left_s)) > 0:
            time.sleep(wait_s)

    def _left_s(self) -> float:
        with self._condition:
            return QUIET_S if self._busy else QUIET_S - (time.monotonic() - self._since)


class Deadline:
    """A moment after which nobody waits any more."""

    def __init__(self, wait_s: float) -> None:
        self._at = time.monotonic() + wait_s

    @property
    def left_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._at - time.monotonic())
