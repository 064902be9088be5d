"""The store's records: how each kind is kept, and what becomes of one that somebody spoiled by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from slicer.model.errors import InvalidError, StaleError
from slicer_controller.kube.naming import RECORD
from slicer_controller.kube.records import durability, record_name, render_record
from slicer_controller.kube.store import META, KubernetesStore, Rules
from tests.unit.kube.fake_api import FakeApi

PROMISE, REPORT = "block/red/a", "attachment/a/n1/c/net1"


def open_store(api: FakeApi) -> KubernetesStore:
    """A hub's."""
    return KubernetesStore(api, "system", clock=lambda: 0.0, rules=Rules(durability=partial(durability, hub=True)))


def path(key: str) -> str:
    return RECORD.path(record_name(key), "system")


def filled() -> FakeApi:
    """With a promise and a report in it, and no process."""
    api = FakeApi()
    store = open_store(api)
    store.put(PROMISE, {"x": 1})
    store.put(REPORT, {"x": 2})
    assert store.flush(10)
    store.close()
    return api


@pytest.mark.parametrize("spec", [{"value": "{"}, {"value": None}, {"value": "[" * 100_000}, {"key": "block/blue/a"}])
def test_a_spoiled_promise_is_named_and_nothing_is_given_out(spec: dict[str, Any]) -> None:
    """The controller does not start, says which record it is, and leaves it; restored, everything is there."""
    api = filled()
    before = api.get(path(PROMISE))
    api.merge(path(PROMISE), {"spec": spec})
    spoiled = api.get(path(PROMISE))

    with pytest.raises(InvalidError, match=rf"{before['metadata']['name']}.*: restore from a backup"):
        open_store(api)
    assert api.get(path(PROMISE)) == spoiled

    api.merge(path(PROMISE), {"spec": before["spec"]})
    store = open_store(api)
    assert {entry.key: entry.value for entry in store.list()} == {PROMISE: {"x": 1}, REPORT: {"x": 2}}
    store.close()


def test_a_spoiled_memory_is_named() -> None:
    """The record with the epoch is a promise as well."""
    api = filled()
    api.merge(path(META), {"spec": {"value": "{"}})

    with pytest.raises(InvalidError, match=record_name(META)):
        open_store(api)


def test_a_spoiled_report_stops_nobody() -> None:
    """It is left out and removed; its source sends it again."""
    api = filled()
    api.merge(path(REPORT), {"spec": {"value": "{"}})

    store = open_store(api)
    assert [entry.key for entry in store.list()] == [PROMISE]
    assert store.flush(10)
    assert path(REPORT) not in api.objects

    store.put(REPORT, {"x": 3})
    assert store.flush(10)
    assert api.get(path(REPORT))["spec"] == render_record(REPORT, {"x": 3})["spec"]
    store.close()


def test_what_is_spoiled_under_a_running_controller_is_mended_from_memory() -> None:
    """The write that finds it is told to look again; the next one puts back what was promised."""
    api = filled()
    store = open_store(api)
    api.merge(path(PROMISE), {"spec": {"value": "{"}})

    with pytest.raises(StaleError):
        store.put(PROMISE, {"x": 4})
    entry = store.get(PROMISE)
    assert entry is not None
    assert entry.value == {"x": 1}

    store.put(PROMISE, {"x": 4})
    assert api.get(path(PROMISE))["spec"] == render_record(PROMISE, {"x": 4})["spec"]
    store.close()
