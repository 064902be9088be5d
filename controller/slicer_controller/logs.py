"""Log lines as JSON on stderr: a constant event name, and values as keys.

`log.info("tunnel added", extra={"peer": name})` becomes `{"at": …, "level": "info", "event": "tunnel added",
"logger": …, "peer": …}`. Called once, by each component's `main`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""The attributes of every record; all others came in by `extra`."""


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(level: str = "INFO") -> None:
    """All loggers write JSON lines to stderr from now on; chatty libraries only their warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "asyncio", "uvicorn", "kopf"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Each try again is a warning there; what comes of it is told by who asked.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # It says that it takes no signals, which is how it is meant.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
