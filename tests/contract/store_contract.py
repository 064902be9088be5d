"""The store's contract: each test is one rule of slicer_controller.store, for every adapter.

Imported by the test modules that have an adapter: each has a fixture `open_store` of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from slicer.model.errors import StaleError
from slicer_controller.store import Store, TooOldError
from slicer_controller.store.memory import MemoryStore

Open = Callable[..., Store]


def test_what_was_put_is_there(open_store: Open) -> None:
    """get() and list() show what put() was given, by key, and only keys that begin with the prefix."""
    store = open_store()
    for key in ("b/1", "a/2", "a/1", "ab"):
        store.put(key, {"key": key, "text": "ü\u0000 ", "none": None})

    assert [entry.key for entry in store.list("a/")] == ["a/1", "a/2"]
    assert [entry.key for entry in store.list()] == ["a/1", "a/2", "ab", "b/1"]
    assert store.get("ab") == store.list("ab")[0]
    assert store.list("ab")[0].value == {"key": "ab", "text": "ü\u0000 ", "none": None}
    assert store.get("a") is None


def test_each_write_has_the_next_revision(open_store: Open) -> None:
    """Puts and deletes count; the entry keeps the revision of its last write and the time of its first."""
    store = open_store()

    first = store.put("a", 1)
    second = store.put("a", 2)
    removed = store.delete("a")

    assert (first.revision, second.revision, removed, store.revision) == (1, 2, 3, 3)
    assert second.created_at_s == first.created_at_s
    assert store.delete("a") is None
    assert store.revision == 3


def test_a_write_with_the_wrong_revision_changes_nothing(open_store: Open) -> None:
    """put() and delete() with an `expected` that is not the current one are refused; 0 means: not there."""
    store = open_store()
    entry = store.put("a", 1, expected=0)

    for write in (
        lambda: store.put("a", 2, expected=0),
        lambda: store.put("a", 2, expected=entry.revision + 1),
        lambda: store.delete("a", expected=entry.revision + 1),
        lambda: store.put("b", 2, expected=7),
        lambda: store.delete("b", expected=7),
    ):
        with pytest.raises(StaleError):
            write()

    assert store.list() == [entry]
    assert store.revision == entry.revision
    assert store.put("a", 2, expected=entry.revision).value == 2


def test_values_do_not_change_with_the_callers(open_store: Open) -> None:
    """What the writer does to its object afterwards is not in the store."""
    store = open_store()
    value = {"list": [1]}
    store.put("a", value)

    value["list"].append(2)

    entry = store.get("a")
    assert entry is not None
    assert entry.value == {"list": [1]}


def test_a_watch_tells_every_write_once_and_in_order(open_store: Open) -> None:
    """take() finds the writes after the revision asked for, those before the watch too, none twice."""
    store = open_store()
    store.put("a", 1)
    store.put("b", 1)
    woken = []
    watch = store.watch(1, lambda: woken.append(store.revision))

    store.delete("a")
    first = watch.take()
    store.put("b", 2)
    second = watch.take()
    watch.close()
    store.put("b", 3)

    assert [(e.key, e.revision, e.entry and e.entry.value) for e in first] == [("b", 2, 1), ("a", 3, None)]
    assert [(e.key, e.revision, e.entry and e.entry.value) for e in second] == [("b", 4, 2)]
    assert watch.take() == []
    assert woken == [3, 4]


def test_a_watch_from_too_long_ago_is_refused(open_store: Open) -> None:
    """Where writes were forgotten, or the revision lies in the future, the watch says so instead of leaving a gap."""
    store = open_store(keep=3)
    for number in range(5):
        store.put("a", number)

    for since in (0, 1, 6):
        with pytest.raises(TooOldError):
            store.watch(since)

    assert [event.revision for event in store.watch(2).take()] == [3, 4, 5]


def test_two_memories_have_two_epochs(open_store: Open) -> None:
    """The epoch names the memory."""
    store = open_store()
    other = MemoryStore(clock=lambda: 0.0)

    assert store.epoch
    assert store.epoch == store.epoch
    assert other.epoch != store.epoch


def test_writes_in_a_batch_are_there_at_once_and_stay_after_an_error(open_store: Open) -> None:
    """batch() only gathers: what is written inside is seen inside, and an error outside the store undoes nothing."""
    store = open_store()

    with pytest.raises(ZeroDivisionError), store.batch():
        store.put("a", 1)
        with store.batch():
            store.put("b", 1)
        assert [entry.key for entry in store.list()] == ["a", "b"]
        raise ZeroDivisionError

    assert [entry.key for entry in store.list()] == ["a", "b"]
    assert store.put("c", 1).revision == 3


def test_only_one_of_many_writers_wins(open_store: Open) -> None:
    """Threads that count up with read, put-if-revision and again lose no step."""
    store = open_store()
    store.put("n", 0)

    def count_up() -> None:
        for _ in range(25):
            while True:
                entry = store.get("n")
                assert entry is not None
                try:
                    store.put("n", entry.value + 1, expected=entry.revision)
                    break
                except StaleError:
                    continue

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.list()[0].value == 100
    assert store.revision == 101
    assert [event.revision for event in store.watch(0).take()] == list(range(1, 102))
