"""A bell with a counter: threads say "look again", others wait until that has been said since they last looked."""

from __future__ import annotations

import threading
import time


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


class Deadline:
    """A moment after which nobody waits any more."""

    def __init__(self, wait_s: float) -> None:
        self._at = time.monotonic() + wait_s

    @property
    def left_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._at - time.monotonic())
