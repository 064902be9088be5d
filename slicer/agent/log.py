"""The agent's log: one line for each change made; an event name that never varies, values as keys."""

from __future__ import annotations

import logging

_logger = logging.getLogger("slicer.agent")


def event(what: str, /, **values: object) -> None:
    """Write one line (its form is `slicer.client.log`'s). No caller hands in a secret."""
    _logger.info(what, extra=values)


class Repeated:
    """Says a thing again only when it changed: for loops that try again and again."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def event(self, what: str, subject: str, text: str) -> None:
        """Log `text` about `subject` unless that was the last thing said about it; empty means it is well again."""
        if self._said.get(subject, "") == text:
            return
        self._said[subject] = text
        event(what if text else f"{what}.over", subject=subject, error=text)
