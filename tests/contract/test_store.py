"""The store's contract, on every adapter: each test is one rule of slicer_controller.store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from slicer.model.errors import StaleError, UnavailableError
from slicer_controller.store import Store, TooOldError
from slicer_controller.store.memory import MemoryStore
from slicer_controller.store.sqlite import SqliteStore

Open = Callable[..., Store]


@pytest.fixture(params=["sqlite", "memory"])
def open_store(request: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a store of each kind; the clock ticks once a look."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        ticks = count(1000)
        clock = lambda: float(next(ticks))  # noqa: E731
        kind = request.param
        store = SqliteStore(tmp_path / "s.db", clock=clock, **options) if kind == "sqlite" else None
        opened.append(store or MemoryStore(clock=clock, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


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


def test_two_memories_have_two_epochs(open_store: Open, tmp_path: Path) -> None:
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


def test_a_sqlite_store_is_the_same_after_it_was_closed(tmp_path: Path) -> None:
    """Entries, revision and epoch come back; a watch resumes where nothing was missed."""
    store = SqliteStore(tmp_path / "s.db", clock=lambda: 5.0)
    store.put("a", [1])
    store.put("b", None)
    before = store.list(), store.revision, store.epoch
    store.close()

    again = SqliteStore(tmp_path / "s.db", clock=lambda: 6.0)

    assert (again.list(), again.revision, again.epoch) == before
    assert again.watch(2).take() == []
    with pytest.raises(TooOldError):
        again.watch(1)
    again.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "s.db").write_text("this is not a database" * 100)

    with pytest.raises(UnavailableError, match=r"s\.db"):
        SqliteStore(tmp_path / "s.db", clock=lambda: 0.0)


WRITER = """
import sys
from pathlib import Path
from slicer_controller.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), clock=lambda: 0.0)
number = 0
while True:
    number += 1
    with store.batch():
        store.put("first", number)
        store.put(f"n/{number:06}", number)
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """A writer killed in the middle leaves a whole store with at least every write that it had told of."""
    path = tmp_path / "s.db"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told = 0
        while told < 40:
            told = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        told = max([told, *(int(line) for line in writer.stdout.read().splitlines() if line.strip())])
        writer.wait()
        writer.stdout.close()

        store = SqliteStore(path, clock=lambda: 0.0)
        entry = store.get("first")
        assert entry is not None
        assert entry.value >= told
        assert store.get(f"n/{entry.value:06}") is not None
        assert store.revision == max(one.revision for one in store.list())
        store.close()
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
