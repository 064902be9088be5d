"""The agent's log: JSON lines on stderr, one for each change made; an event name that never varies, values as keys."""

from __future__ import annotations

import json
import logging
import sys
import time

_logger = logging.getLogger("slicer.agent")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of every record; all others came in by `extra`."""


def event(what: str, /, **values: object) -> None:
    """Write one line. No caller hands in a secret."""
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


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "at": f"{stamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, separators=(",", ":"))


def to_stderr() -> None:
    """All loggers write JSON lines to stderr from now on; chatty libraries only their warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level="INFO", handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
