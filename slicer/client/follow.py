"""Follows a view: the one client of the stream in ARCHITECTURE.md, "Documents, views, reports".

Used by agents, DNS servers and member controllers. The view lies on disk and is there at once after a restart; the
controller is needed to learn of changes, never to go on.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from slicer.client.codec import decode_document
from slicer.client.files import read_if_there, write_atomic
from slicer.client.http import httpx
from slicer.client.identity import Identity, http_client, renew, renewal_due
from slicer.client.rest import error_from
from slicer.client.viewstate import ViewState
from slicer.model.documents import Document, Documents
from slicer.model.errors import SlicerError

log = logging.getLogger(__name__)
BACKOFF_S = (0.1, 10.0)
"""Shortest and longest wait between two connections; jitter keeps clients of a dead server from coming back at once."""


class Follower:
    """A thread that keeps one view up to date and tells `on_view` each whole new one (in that thread).

    `on_view` is called with the view from disk by `start`, and then at every change; bursts are told once.
    """

    def __init__(
        self,
        identity: Identity,
        path: str,
        cache_path: Path,
        on_view: Callable[[Documents], None] = lambda _: None,
    ) -> None:
        self._identity, self._path, self._cache_path, self._on_view = identity, path, cache_path, on_view
        self._state = ViewState.parse(read_if_there(cache_path))
        self._decoded: dict[str, tuple[Any, Document | None]] = {}
        self._view: Documents = MappingProxyType(self._decode())
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._dirty = threading.Condition()
        self._unsaved = self._complete = False
        self._lost = ""
        self._socket: socket.socket | None = None
        self._following = threading.Thread(target=self._follow, name=f"follow {path}", daemon=True)
        self._keeping = threading.Thread(target=self._keep, name=f"keep {path}", daemon=True)

    @property
    def view(self) -> Documents:
        """The last view; empty until there is one. Swapped whole, so a reader keeps a consistent one."""
        return self._view

    @property
    def synced(self) -> bool:
        """Whether there has ever been a whole view, now or before a restart."""
        return self._state.epoch != ""

    @property
    def connected(self) -> bool:
        """Whether the view is known to be current: connected, and the whole view was heard."""
        return self._connected.is_set()

    def start(self) -> None:
        """Tell the view from disk, if there is one, and begin to follow."""
        if self.synced:
            self._tell()
        self._following.start()
        self._keeping.start()

    def stop(self) -> None:
        """Stop following and write what is not on disk yet; returns when both threads have ended."""
        self._stopping.set()
        if self._socket is not None:
            _wake(self._socket)
        _join(self._following)  # what it is telling just now is to be written as well
        with self._dirty:
            self._complete = True
            self._dirty.notify()
        _join(self._keeping)

    def _follow(self) -> None:
        wait = BACKOFF_S[0]
        while not self._stopping.is_set():
            try:
                self._renew_if_due()
                self._listen()
            except (SlicerError, httpx.HTTPError, OSError, ValueError) as error:
                self._tell_lost(str(error))
            wait = BACKOFF_S[0] if self._connected.is_set() else min(wait * 2, BACKOFF_S[1])
            self._connected.clear()
            self._stopping.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311  # spreading, not secrecy

    def _tell_lost(self, error: str) -> None:
        """Log why there is no connection; once, however often it is tried again for the same reason."""
        if error != self._lost and not self._stopping.is_set():
            log.warning("view lost", extra={"path": self._path, "error": error})
        self._lost = error

    def _listen(self) -> None:
        params = {"watch": "true"} | self._state.resume_params()
        with http_client(self._identity) as client, client.stream("GET", self._path, params=params) as answer:
            if answer.is_error:
                raise error_from(answer.status_code, answer.read())
            self._socket = answer.extensions["network_stream"].get_extra_info("socket")
            for batch in _batches(answer.iter_bytes()):
                if self._stopping.is_set():
                    return
                self._take(batch)

    def _take(self, batch: list[bytes]) -> None:
        """Apply the lines that came together, then tell the result once."""
        changed = False
        for raw in batch:
            line = json.loads(raw)
            changed |= self._state.apply(line)
            if line.get("synced"):
                self._connected.set()
                self._lost = ""
                log.info("view synced", extra={"path": self._path, "documents": len(self._state.documents)})
            if line.get("keepalive"):
                self._renew_if_due()
        if changed:
            self._tell_new()

    def _tell_new(self) -> None:
        self._view = MappingProxyType(self._decode())
        self._tell()
        with self._dirty:
            self._unsaved = True
            self._dirty.notify()

    def _tell(self) -> None:
        try:
            self._on_view(self._view)
        except Exception:
            # The thread must outlive a mistake of its user: the next change may be the one that mends it.
            log.exception("view refused", extra={"path": self._path})

    def _decode(self) -> dict[str, Document]:
        """The documents as values; one that cannot be read keeps its last value (a newer server may send more)."""
        decoded: dict[str, tuple[Any, Document | None]] = {}
        for key, data in self._state.documents.items():
            known = self._decoded.get(key)
            decoded[key] = known if known and known[0] is data else (data, _decode_one(key, data, known))
        self._decoded = decoded
        return {key: value for key, (_, value) in decoded.items() if value is not None}

    def _renew_if_due(self) -> None:
        if renewal_due(self._identity):
            try:
                renew(self._identity)
            except SlicerError as error:
                log.warning("certificate not renewed", extra={"error": error.message})

    def _keep(self) -> None:
        """Write the view to disk whenever it has changed; changes that come while it writes are one more write."""
        while True:
            with self._dirty:
                self._dirty.wait_for(lambda: self._unsaved or self._complete)
                if not self._unsaved:
                    return
                self._unsaved = False
                data = self._state.render()
            try:
                write_atomic(self._cache_path, data)
            except OSError as error:
                log.warning("view not kept", extra={"path": str(self._cache_path), "error": str(error)})


def _join(thread: threading.Thread) -> None:
    if thread.is_alive() and thread is not threading.current_thread():
        thread.join()


def _decode_one(key: str, data: Any, known: tuple[Any, Document | None] | None) -> Document | None:
    try:
        return decode_document(key, data)
    except SlicerError as error:
        log.warning("document unreadable", extra={"key": key, "error": error.message})
        return known[1] if known else None


def _batches(chunks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The whole lines of a stream, those that arrived together in one list."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        batch = [line for line in whole if line.strip()]
        if batch:
            yield batch


def _wake(sock: socket.socket) -> None:
    """End a blocked read of another thread (only the system call: SSLSocket.shutdown pulls TLS from under it)."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return
