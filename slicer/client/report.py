"""Sends a report: the documents of which this process is the only author, and afterwards what has changed in them.

Used by agents (NODE) and member controllers (CLUSTER). Level-triggered: what is sent is the
difference between the last `publish` and what the server last acknowledged, however many came in between.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

from slicer.client.codec import encode
from slicer.client.http import httpx
from slicer.client.identity import Identity, http_client
from slicer.client.rest import ask
from slicer.model.documents import Document, Documents
from slicer.model.errors import SlicerError, UnavailableError

log = logging.getLogger(__name__)
GATHER_S = 0.003
"""A burst of changes within this time is one request."""
SPACING_S = 0.05
"""A change after a quiet time goes at once, the next not before this: a hundred pods attached in a second are twenty
requests, and neither side's interpreter is busy with reports while pods wait."""
HEARTBEAT_S = 10.0
"""An unchanged report says this often that its author lives, and hears whether the server lost its memory."""
BACKOFF_S = (0.1, 10.0)
NODE, CLUSTER = "/v1/reports/node", "/v1/reports/cluster"
"""Where agents report, and member controllers."""
LAST_S = 2.0
"""How long a process that ends tries to tell what it still knows."""


class Reporter:
    """A thread that makes the server know what was last published; tries for ever."""

    def __init__(self, identity: Identity, path: str) -> None:
        self._identity, self._path = identity, path
        self._wanted: dict[str, Document] | None = None
        self._acknowledged: dict[str, Document] | None = None
        """None: nothing is known of what the server has, so the whole report goes."""
        self._epoch = ""
        self._changed = threading.Condition()
        self._stopping = self._last = False
        self._failed = ""
        self._next_s = 0.0
        """When the next request may go (monotonic clock)."""
        self._client: httpx.Client | None = None
        self._thread = threading.Thread(target=self._run, name=f"report {path}", daemon=True)

    @property
    def acknowledged(self) -> bool:
        """Whether the server has all that was published."""
        with self._changed:
            return self._wanted is not None and self._wanted == self._acknowledged

    def publish(self, documents: Documents) -> None:
        """From now on the report is `documents`. Cheap: nothing is sent or compared in the caller's thread."""
        with self._changed:
            self._wanted = dict(documents)
            self._changed.notify_all()

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, last: Documents | None = None) -> None:
        """Stop sending; returns when the thread has ended (a request on its way is waited for).

        With `last` the report is that from now on, and one more attempt is made to make the server know it.
        """
        with self._changed:
            self._stopping, self._last = True, last is not None
            self._wanted = self._wanted if last is None else dict(last)
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait = BACKOFF_S[0]
        while self._next():
            try:
                self._send()
                wait, self._failed = BACKOFF_S[0], ""
            except (SlicerError, httpx.HTTPError, OSError, ValueError) as error:
                self._forget(error)
                self._pause(wait * random.uniform(0.5, 1.0))  # noqa: S311  # spreading, not secrecy
                wait = min(wait * 2, BACKOFF_S[1])
        if self._last and not self.acknowledged:
            try:
                self._send(timeout=LAST_S)
            except (SlicerError, httpx.HTTPError, OSError, ValueError) as error:
                self._forget(error)
        self._disconnect()

    def _next(self) -> bool:
        """Wait until there is something to send or a heartbeat is due; False to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._wanted is not None)
            self._changed.wait_for(self._has_news, timeout=HEARTBEAT_S)
        self._pause(max(GATHER_S, self._next_s - time.monotonic()))
        self._next_s = time.monotonic() + SPACING_S
        return not self._stopping

    def _has_news(self) -> bool:
        return self._stopping or self._wanted != self._acknowledged

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=seconds)

    def _send(self, **options: Any) -> None:
        with self._changed:
            wanted = dict(self._wanted or {})
        if self._client is None:
            self._client = http_client(self._identity)
        known = self._acknowledged
        if known is None:
            answer = ask(self._client, "PUT", self._path, json={"documents": _encoded(wanted)}, **options)
        else:
            answer = ask(self._client, "PATCH", self._path, json=_difference(known, wanted), **options)
        lost = known is not None and answer["epoch"] != self._epoch
        self._epoch = answer["epoch"]
        with self._changed:
            # Another epoch is another memory: what it had of us is not known, so the whole report goes again.
            self._acknowledged = None if lost else wanted

    def _forget(self, error: Exception) -> None:
        if str(error) != self._failed:
            log.warning("report not sent", extra={"path": self._path, "error": str(error)})
        self._failed = str(error)
        with self._changed:
            self._acknowledged = None
        if isinstance(error, UnavailableError | httpx.HTTPError | OSError):
            self._disconnect()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def report_nothing(identity: Identity, path: str) -> None:
    """Tell the server, in one attempt, that whoever this is has nothing to report any more; raises as `ask` does."""
    with http_client(identity) as client:
        ask(client, "PUT", path, json={"documents": {}}, timeout=LAST_S)


def _encoded(documents: Mapping[str, Document]) -> dict[str, Any]:
    return {key: encode(value) for key, value in documents.items()}


def _difference(known: Mapping[str, Document], wanted: Mapping[str, Document]) -> dict[str, Any]:
    changed = {key: encode(value) for key, value in wanted.items() if known.get(key) != value}
    return {"documents": changed, "removed": sorted(known.keys() - wanted.keys())}
