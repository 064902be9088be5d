"""The store's contract on the adapters that need no other program, and what is SQLite's own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from slicer.model.errors import UnavailableError
from slicer_controller.kube.store import KubernetesStore
from slicer_controller.store import Store, TooOldError
from slicer_controller.store.memory import MemoryStore
from slicer_controller.store.sqlite import SqliteStore
from tests.contract import store_contract
from tests.unit.kube.fake_api import FakeApi

globals().update({name: test for name, test in vars(store_contract).items() if name.startswith("test_")})


@pytest.fixture(params=["sqlite", "memory", "kubernetes"])
def open_store(request: Any, tmp_path: Path) -> Iterator[store_contract.Open]:
    """Opens a store of each kind; the clock ticks once a look. The API server is one in memory here."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        ticks = count(1000)
        clock = lambda: float(next(ticks))  # noqa: E731
        match request.param:
            case "sqlite":
                opened.append(SqliteStore(tmp_path / "s.db", clock=clock, **options))
            case "kubernetes":
                opened.append(KubernetesStore(FakeApi(), "slicer-system", clock=clock, **options))
            case _:
                opened.append(MemoryStore(clock=clock, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


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
