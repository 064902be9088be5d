"""Lists that make up for what watches do not tell: of the kinds that need it, and of no others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client import Configuration

from slicer.model.errors import DeniedError
from slicer_controller.kube import watching
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.watching import Watched, Watcher
from tests.unit.kube.fake_api import FakeApi

A, B, C = (Watched(group="slicer.io", version="v1", plural=plural) for plural in ("as", "bs", "cs"))
Json = dict[str, Any]


class Counting(FakeApi):
    """Notes which kinds were listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed, self.refused = queue.Queue[str](), {""}

    def each(self, path: str, *, selector: str = "") -> Iterator[Json]:
        plural = path.rpartition("/")[2]
        self.listed.put(plural)
        if plural in self.refused:
            raise DeniedError(f"{plural} is forbidden")
        return super().each(path, selector=selector)

    def next(self, count: int) -> list[str]:
        return [self.listed.get(timeout=10) for _ in range(count)]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """(API, objects, watcher, a function that starts the thread which lists again); one object `x` of kind A."""
    for name, value in (("GATHER_S", 0.01), ("RETRY_S", 0.01), ("RESYNC_S", 1000.0), ("FIRST_S", 1000.0)):
        monkeypatch.setattr(watching, name, value)
    api, objects = Counting(), Objects()
    api.create(A.path, {"metadata": {"name": "x"}})
    watcher = Watcher(Configuration(), api, objects, [A, B, C])  # type: ignore[arg-type]
    watcher.list_all()
    api.next(3)
    thread = threading.Thread(target=watcher._resync)
    yield api, objects, watcher, thread.start
    watcher.stop()
    thread.join()


def test_at_the_start_each_kind_is_listed_once_more(watched: Any) -> None:
    """What kopf lists itself, and what it says nothing of: its last object may have gone before kopf listed it."""
    api, objects, watcher, start = watched
    x = api.get(f"{A.path}/x")
    api.delete(f"{A.path}/x")
    watcher.take(B, None, {"metadata": {"name": "y", "uid": "1", "resourceVersion": "200"}})

    start()

    assert sorted(api.next(3)) == ["as", "bs", "cs"]
    watcher.take(B, None, {"metadata": {"name": "z", "uid": "2", "resourceVersion": "201"}})
    assert api.next(1) == ["bs"]
    assert (x["metadata"]["name"], objects.all("as")) == ("x", [])


def test_a_cut_of_one_watch_lists_that_kind_only(watched: Any) -> None:
    """What was removed meanwhile is gone; the other kinds are left as they are."""
    api, objects, watcher, start = watched
    watcher.take(A, None, api.get(f"{A.path}/x"))
    start()
    assert sorted(api.next(3)) == ["as", "bs", "cs"]
    other = api.create(B.path, {"metadata": {"name": "y"}})
    watcher.take(B, "ADDED", other)
    gone = threading.Event()
    objects.on_change(lambda: gone.set() if objects.get("as", "x") is None else None)

    api.delete(f"{A.path}/x")
    watcher.take(A, None, {"metadata": {"name": "w", "uid": "3", "resourceVersion": "90"}})

    assert api.next(1) == ["as"]
    assert gone.wait(10)
    watcher.take(C, None, {"metadata": {"name": "v", "uid": "4", "resourceVersion": "91"}})
    assert api.next(1) == ["cs"]
    assert objects.all("bs") == [other]


def test_a_kind_that_cannot_be_listed_keeps_no_other_from_it(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again until it can. No watch says anything here: they are all listed after a while."""
    monkeypatch.setattr(watching, "FIRST_S", 0.01)
    api, objects, _, start = watched
    api.refused.add("as")
    api.delete(f"{A.path}/x")

    start()

    assert api.next(3) == ["as", "bs", "cs"]
    assert api.next(2) == ["as", "as"]
    assert objects.get("as", "x") is not None
    gone = threading.Event()
    objects.on_change(lambda: gone.set() if objects.get("as", "x") is None else None)
    api.refused.clear()
    assert gone.wait(10)
