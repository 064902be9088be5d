"""The agent's log: one JSON line on stderr for each change made; an event name that never varies, values as keys."""

from __future__ import annotations

import json
import sys
import threading
import time

_lock = threading.Lock()


def event(name: str, /, **values: object) -> None:
    """Write one line. Values are printed by `str` where JSON has no form for them; no caller hands in a secret."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    line = json.dumps({"time": f"{stamp}Z", "event": name, **values}, default=str, separators=(",", ":"))
    with _lock:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class Repeated:
    """Says a thing again only when it changed: for loops that try again and again."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def event(self, name: str, subject: str, text: str) -> None:
        """Log `text` about `subject` unless that was the last thing said about it; empty means it is well again."""
        if self._said.get(subject, "") == text:
            return
        self._said[subject] = text
        event(name if text else f"{name}.over", subject=subject, error=text)
