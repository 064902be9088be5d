"""The store's documents as values of the model, always current, and who wants to know when they change.

Lives in the event loop's thread; the one place where the controller's other parts read and write documents.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from slicer.client.codec import decode_document, encode
from slicer.model.documents import KINDS, Document, key_of
from slicer.model.errors import SlicerError
from slicer_controller.store import Entry, Store

log = logging.getLogger(__name__)


class State:
    """All documents of one controller, over its store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._documents: dict[str, Document] = {}
        self._texts: dict[str, tuple[Document, str]] = {}
        self._listeners: set[asyncio.Event] = set()
        self._watch = store.watch(store.revision)
        for entry in store.list():
            self._learn(entry.key, entry)
        self.documents: Mapping[str, Document] = MappingProxyType(self._documents)
        """Current at every moment; copy it to keep it."""

    def put(self, value: Document, *, expected: int | None = None) -> Entry:
        """Store a document under its key; nothing is written if that is what is there."""
        key = key_of(value)
        entry = self.store.get(key) if expected is None and self._documents.get(key) == value else None
        if entry is None:
            entry = self.store.put(key, encode(value), expected=expected)
            self.refresh()
        return entry

    def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Remove a document; whether it was there."""
        removed = self.store.delete(key, expected=expected) is not None
        self.refresh()
        return removed

    def refresh(self) -> None:
        """Take in what was written to the store, and wake the listeners if that was anything."""
        events = self._watch.take()
        for event in events:
            self._learn(event.key, event.entry)
        if events:
            self.wake()

    def wake(self) -> None:
        """Let all listeners look again."""
        for listener in self._listeners:
            listener.set()

    @contextmanager
    def listening(self, event: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """An event (a new one, or `event`) that is set at every change; clear it before you look."""
        event = event or asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    def text_of(self, key: str) -> str:
        """The document under `key` as JSON text; made once a value, however many clients are sent it."""
        value = self._documents[key]
        known = self._texts.get(key)
        if known is None or known[0] is not value:
            known = (value, json.dumps(encode(value), separators=(",", ":")))
            self._texts[key] = known
        return known[1]

    def _learn(self, key: str, entry: Entry | None) -> None:
        if key.partition("/")[0] not in KINDS:
            return
        if entry is None:
            self._documents.pop(key, None)
            self._texts.pop(key, None)
            return
        try:
            self._documents[key] = decode_document(key, entry.value)
        except SlicerError as error:
            # Written by a newer version: it stays in the store, and what cannot be read cannot be served.
            log.exception("document unreadable", extra={"key": key, "error": error.message})
