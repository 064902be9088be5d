"""Writes that may come a moment late: a thread that makes records what they should be, however often that changes.

Only the key is queued: what is written is what holds when its turn comes, so that ten changes of one entry are one
write. What is refused waits for a later turn of its own and keeps nothing else from being written; while the API server
is away everything waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from slicer.model.errors import NotFoundError, SlicerError, StaleError, UnauthenticatedError, UnavailableError

log = logging.getLogger(__name__)
RETRY_S = 1.0
"""While the API server is away, and after the first refusal of a key; what waits, waits in memory."""
LONGEST_S = 30.0
"""A key that is refused again and again is tried this often."""
CLOSE_S = 3.0
"""At the end the last writes may take this long."""


class LateWriter:
    """A queue of keys, each at most once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._news = threading.Condition()
        self._keys: dict[str, float] = {}
        """When each may be written (monotonic clock), in the order in which they came."""
        self._refused: dict[str, tuple[int, str]] = {}
        """How often in a row, and why."""
        self._busy = False
        self._closing = False
        self._away = ""
        self._thread = threading.Thread(target=self._run, name="late-writer", daemon=True)
        self._thread.start()

    def add(self, key: str) -> None:
        """Write `key` soon; one that was refused in its own time."""
        with self._news:
            self._keys.setdefault(key, 0.0)
            self._news.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to write; whether that was so in time."""
        with self._news:
            return self._news.wait_for(lambda: not self._keys and not self._busy, timeout_s)

    def close(self) -> None:
        """Write what is left, if that goes quickly, and end."""
        self.flush(CLOSE_S)
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (key := self._next()) is not None:
            self._write_one(key)

    def _next(self) -> str | None:
        """Wait for the key whose turn it is; None at the end."""
        with self._news:
            self._busy = False
            self._news.notify_all()
            while not self._closing:
                now_s = time.monotonic()
                key = next((key for key, at_s in self._keys.items() if at_s <= now_s), None)
                if key is not None:
                    del self._keys[key]
                    self._busy = True
                    return key
                self._news.wait(min(self._keys.values()) - now_s if self._keys else None)
            return None

    def _write_one(self, key: str) -> None:
        try:
            self._write(key)
            self._refused.pop(key, None)
            self._away = ""
        except (UnavailableError, UnauthenticatedError) as error:
            self._wait(key, error)
        except SlicerError as error:
            self._postpone(key, error)
        except Exception:
            # The thread must outlive a mistake: other keys wait for it.
            log.exception("writing failed", extra={"key": key})

    def _wait(self, key: str, error: SlicerError) -> None:
        """The API server is away, and would not take anything else."""
        if error.message != self._away:
            log.warning("not written yet", extra={"key": key, "error": error.message})
        self._away = error.message
        with self._news:
            self._keys.setdefault(key, 0.0)
            self._news.wait_for(lambda: self._closing, RETRY_S)

    def _postpone(self, key: str, error: SlicerError) -> None:
        """This key was refused: a later turn. At once if it was only changed meanwhile, and not twice in a row."""
        times, before = self._refused.get(key, (0, ""))
        stale = isinstance(error, StaleError | NotFoundError)
        if not stale and error.message != before:
            log.warning("not written yet", extra={"key": key, "error": error.message})
        self._refused[key] = (times + 1, before if stale else error.message)
        wait_s = 0.0 if stale and times == 0 else min(RETRY_S * 2 ** min(times, 10), LONGEST_S)
        with self._news:
            self._keys.setdefault(key, time.monotonic() + wait_s)
