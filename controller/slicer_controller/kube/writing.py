"""Writes that may come a moment late: a thread that makes records what they should be, however often that changes.

Only the key is queued: what is written is what holds when its turn comes, so that ten changes of one entry are one
write.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from slicer.model.errors import SlicerError

log = logging.getLogger(__name__)
RETRY_S = 1.0
"""After a write that failed; what waits, waits in memory."""
CLOSE_S = 3.0
"""At the end the last writes may take this long."""


class LateWriter:
    """A queue of keys, each at most once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._news = threading.Condition()
        self._keys: dict[str, None] = {}
        self._busy = False
        self._closing = False
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="late-writer", daemon=True)
        self._thread.start()

    def add(self, key: str) -> None:
        """Write `key` soon."""
        with self._news:
            self._keys[key] = None
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
        while True:
            with self._news:
                self._busy = False
                self._news.notify_all()
                self._news.wait_for(lambda: self._closing or self._keys)
                if self._closing:
                    return
                key = next(iter(self._keys))
                del self._keys[key]
                self._busy = True
            self._write_one(key)

    def _write_one(self, key: str) -> None:
        try:
            self._write(key)
            self._failed = ""
        except SlicerError as error:
            if error.message != self._failed:
                log.warning("not written yet", extra={"key": key, "error": error.message})
            self._failed = error.message
            with self._news:
                self._keys.setdefault(key, None)
                self._news.wait_for(lambda: self._closing, RETRY_S)
        except Exception:
            # The thread must outlive a mistake: other keys wait for it.
            log.exception("writing failed", extra={"key": key})
