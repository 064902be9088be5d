"""The store's contract on the real API server, and what is Kubernetes' own about it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from slicer.client.kube_api import Api
from slicer.model.errors import StaleError, UnavailableError
from slicer_controller.kube.client import load_configuration
from slicer_controller.kube.naming import RECORD
from slicer_controller.kube.records import Durability, record_name, render_record
from slicer_controller.kube.store import KubernetesStore, Rules
from slicer_controller.store import Store, TooOldError
from tests.contract import store_contract
from tests.kubernetes.control.waiting import records

globals().update({name: test for name, test in vars(store_contract).items() if name.startswith("test_")})


@pytest.fixture
def open_store(api: Api, namespace: str) -> Iterator[store_contract.Open]:
    """Opens a store in a namespace of its own."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        ticks = count(1000)
        opened.append(KubernetesStore(api, namespace, clock=lambda: float(next(ticks)), **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_a_store_is_the_same_after_its_process_has_gone(open_store: store_contract.Open) -> None:
    """Entries and epoch come back; no revision is given out twice, and who watched before gets everything anew."""
    store = open_store()
    store.put("a", [1])
    store.put("b", None)
    store.put("gone", 1)
    store.delete("gone")
    before = [(entry.key, entry.value) for entry in store.list()]

    again = open_store()

    assert ([(entry.key, entry.value) for entry in again.list()], again.epoch) == (before, store.epoch)
    assert again.revision > store.revision
    with pytest.raises(TooOldError):
        again.watch(store.revision)
    assert again.put("a", [2]).revision > again.list()[1].revision


def test_a_record_changed_behind_the_store_is_noticed(
    open_store: store_contract.Open, api: Api, namespace: str
) -> None:
    """A write over somebody else's is refused, nothing is lost, and what is there now is known and told."""
    store = open_store()
    store.put("a", 1)
    watch = store.watch(store.revision)
    path = RECORD.path(record_name("a"), namespace)
    other = render_record("a", 7)
    other["metadata"]["resourceVersion"] = api.get(path)["metadata"]["resourceVersion"]
    api.replace(path, other)

    with pytest.raises(StaleError):
        store.put("a", 2)

    entry = store.get("a")
    assert entry is not None
    assert entry.value == 7
    assert [event.entry and event.entry.value for event in watch.take()] == [7]
    assert store.put("a", 3).value == 3


def test_a_record_removed_behind_the_store_is_noticed(
    open_store: store_contract.Open, api: Api, namespace: str
) -> None:
    """As above; afterwards the key can be written again."""
    store = open_store()
    store.put("a", 1)
    api.delete(RECORD.path(record_name("a"), namespace))

    with pytest.raises(StaleError):
        store.put("a", 2)

    assert store.get("a") is None
    assert store.put("a", 3).value == 3
    assert records(api, namespace)["a"]["spec"]["value"] == "3"


def test_who_does_not_lead_writes_nothing(api: Api, namespace: str) -> None:
    """put() and delete() are refused; what others wrote stays."""
    leading = [True]
    store = KubernetesStore(api, namespace, clock=lambda: 0.0, rules=Rules(may_write=lambda: leading[0]))
    store.put("a", 1)

    leading[0] = False
    for write in (lambda: store.put("a", 2), lambda: store.delete("a"), lambda: store.put("b", 1)):
        with pytest.raises(UnavailableError):
            write()

    assert records(api, namespace)["a"]["spec"]["value"] == "1"
    assert "b" not in records(api, namespace)
    store.close()


def test_reports_are_written_a_little_later_and_measurements_never(api: Api, namespace: str) -> None:
    """Ten changes of one late entry are there in the end as the last; one removed before its turn is never made."""
    kept = {"late": Durability.SOON, "never": Durability.NEVER, "now": Durability.NOW}
    rules = Rules(durability=lambda key: kept[key.partition("/")[0]])
    store = KubernetesStore(api, namespace, clock=lambda: 0.0, rules=rules)

    for number in range(10):
        store.put("late/a", number)
    store.put("late/b", 1)
    store.delete("late/b")
    store.put("never/a", 1)
    store.put("now/a", 1)
    assert store.flush(20)

    assert {key: one["spec"]["value"] for key, one in records(api, namespace).items() if key != "store"} == {
        "late/a": "9",
        "now/a": "1",
    }
    assert store.get("never/a") is not None
    store.close()


def test_an_api_server_that_is_away_costs_promises_only(server: Any, namespace: str) -> None:
    """While it is away reports go on in memory and promises are refused; when it is back the reports are written."""
    api = Api(load_configuration(server.kubeconfig))
    durability = {"r": Durability.SOON, "p": Durability.NOW}
    store = KubernetesStore(
        api, namespace, clock=lambda: 0.0, rules=Rules(durability=lambda key: durability[key.partition("/")[0]])
    )
    server.stop("apiserver")
    try:
        store.put("r/a", 1)
        with pytest.raises(UnavailableError):
            store.put("p/a", 1)

        assert store.get("p/a") is None
        assert [entry.key for entry in store.list()] == ["r/a"]
        assert not store.flush(0.1)
    finally:
        server.start()
    assert store.flush(30)

    assert store.put("p/a", 2).value == 2
    assert records(api, namespace).keys() >= {"r/a", "p/a"}
    store.close()
    api.close()
