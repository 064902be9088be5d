"""JSON-lines streams: views for members, agents and DNS servers, and watches of collections for users.

Each stream waits for the state to change, looks at the whole (level-triggered), and sends what differs from what it
sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slicer.client.rest import KEEPALIVE_S
from slicer.model.documents import Document
from slicer_controller.state import State
from slicer_controller.store import Event, TooOldError

View = Callable[[Mapping[str, Document]], dict[str, Document]]
_SCOPE_KINDS = frozenset({"slice", "cluster", "block", "gateway"})
"""Documents on which other documents' being in a view depends: after a change of these the whole view is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a client was in the stream."""

    since: int | None = None
    epoch: str = ""


async def view_lines(
    state: State, select: View, place: Place, closing: asyncio.Event, *, watch: bool
) -> AsyncIterator[str]:
    """The lines of a view: hello, documents, synced; with `watch` then changes and keep-alives until `closing`."""
    with state.listening() as changed:
        sent = select(state.documents)
        events = _missed(state, place)
        yield _begin(state, sent, events)
        while watch and await _wait(changed, closing):
            view = select(state.documents)
            lines = "".join(_difference(state, sent, view))
            sent = view
            yield lines or _line(keepalive=True, revision=state.store.revision)


def _begin(state: State, view: Mapping[str, Document], events: list[Event] | None) -> str:
    """Hello and all up to `synced`: the whole view, or (`events`) what the client missed of it."""
    revision = state.store.revision
    keys = sorted(view) if events is None else sorted({event.key for event in events} & view.keys())
    hello = _line(epoch=state.store.epoch, revision=revision, resumed=events is not None)
    return hello + "".join(_put(state, key) for key in keys) + _line(synced=True, revision=revision)


def _missed(state: State, place: Place) -> list[Event] | None:
    """What was written since the client's place, if it can be told from that what its view misses; else None."""
    if place.since is None or place.epoch != state.store.epoch:
        return None
    try:
        watch = state.store.watch(place.since)
    except TooOldError:
        return None
    events = watch.take()
    watch.close()
    whole = any(event.entry is None or event.key.partition("/")[0] in _SCOPE_KINDS for event in events)
    return None if whole else events


def _difference(state: State, sent: Mapping[str, Document], view: Mapping[str, Document]) -> Iterator[str]:
    """Documents before removals: a client that acts on each line adds before it deletes."""
    for key, value in sorted(view.items()):
        if sent.get(key) is not value:
            yield _put(state, key)
    for key in sorted(sent.keys() - view.keys()):
        yield _line(key=key, revision=state.store.revision, removed=True)


def _put(state: State, key: str) -> str:
    return f'{{"key":{json.dumps(key)},"revision":{state.store.revision},"value":{state.text_of(key)}}}\n'


async def watch_lines(
    state: State, items: Callable[[], dict[str, dict[str, Any]]], gone: list[str], closing: asyncio.Event
) -> AsyncIterator[str]:
    """The lines of a watch: all items, removals since the client's place (`gone`), synced, then changes."""
    with state.listening() as changed:
        sent = items()
        revision = state.store.revision
        lines = [_line(type="put", revision=revision, object=item) for _, item in sorted(sent.items())]
        lines += [_removed(name, revision) for name in gone if name not in sent]
        yield "".join(lines) + _line(type="synced", revision=revision)
        while await _wait(changed, closing):
            now, revision = items(), state.store.revision
            new = [_line(type="put", revision=revision, object=now[n]) for n in sorted(now) if sent.get(n) != now[n]]
            new += [_removed(name, revision) for name in sorted(sent.keys() - now.keys())]
            sent = now
            yield "".join(new) or _line(type="keepalive", revision=revision)


def _removed(name: str, revision: int) -> str:
    return _line(type="removed", revision=revision, object={"metadata": {"name": name}})


def _line(**fields: Any) -> str:
    return json.dumps(fields, separators=(",", ":")) + "\n"


async def _wait(changed: asyncio.Event, closing: asyncio.Event) -> bool:
    """Wait for a change, at most until a keep-alive is due; False when the stream is to end."""
    if closing.is_set():
        return False
    try:
        await asyncio.wait_for(changed.wait(), KEEPALIVE_S)
    except TimeoutError:
        return not closing.is_set()
    changed.clear()
    # Let what belongs together come together: one turn of the loop, no time.
    await asyncio.sleep(0)
    return not closing.is_set()
