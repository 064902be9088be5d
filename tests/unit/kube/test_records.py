"""The store's records: how each kind is kept, and what becomes of one that somebody spoiled by hand."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from slicer.model.attachments import AddressGrant, EndpointSet, LostCluster
from slicer.model.clusters import Gateway, NodeBlocks
from slicer.model.documents import KINDS, Document, key_of
from slicer.model.errors import InvalidError, StaleError, UnavailableError
from slicer.model.slices import Membership
from slicer_controller.access import Peer
from slicer_controller.kube.naming import RECORD
from slicer_controller.kube.records import NEVER, NOW, SOON, Durability, durability, record_name, render_record
from slicer_controller.kube.store import META, KubernetesStore, Rules
from slicer_controller.reports import Reports
from slicer_controller.state import State
from tests.contract.conftest import attachment, node
from tests.unit.kube.fake_api import FakeApi

PROMISE, REPORT = "block/red/a", "attachment/a/n1/c/net1"


def open_store(api: FakeApi) -> KubernetesStore:
    """A hub's."""
    return KubernetesStore(
        api, "system", clock=lambda: 0.0, rules=Rules(durability=partial(durability, hub=True, cluster="a"))
    )


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


def test_every_kind_of_document_is_kept_in_one_way_on_purpose() -> None:
    """A kind that is forgotten here would be written before it is answered, or never."""
    ways = (NOW, SOON, NEVER - {"source"})

    assert sorted(kind for way in ways for kind in way) == sorted(KINDS)


def of(cluster: str) -> dict[str, Document]:
    """What a member reports of its cluster."""
    address, place = ip_address("10.22.8.9"), {"slice": "red", "cluster": cluster, "namespace": "shop"}
    found: list[Document] = [
        node(cluster, "n1"),
        attachment(cluster, "n1", "web-0", "10.22.8.5"),
        EndpointSet(**place, name="web", endpoints=()),
        LostCluster(cluster=cluster, node="n1", tunnel_set=0, remote_cluster="c"),
        Gateway(cluster=cluster, tunnel_set=0, slot=0, node="n1"),
        NodeBlocks(slice="red", cluster=cluster, node="n1", blocks=(ip_network("10.22.8.0/26"),)),
        AddressGrant(**place, pod="web-0", addresses=(address,)),
        *(
            Membership(**place, name=f"{kind}.{cluster}.x", declared_in=cluster)
            for kind in ("k8s", "k8s-pod", "k8s-ns")
        ),
    ]
    return {key_of(one): one for one in found}


def test_reports_are_taken_while_the_api_server_is_away() -> None:
    """A hub takes all that another cluster's member says, also what is gone; it is written when the API server is back.

    What the hub's own member promises waits.
    """
    api = FakeApi()
    store = open_store(api)
    state = State(store)
    reports, peer = Reports(state, lambda: 0.0), Peer(kind="cluster", cluster="b", name="b")
    gone = of("b")
    reports.replace(peer, gone)
    assert store.flush(10)

    api.away = True
    left = {key: value for key, value in of("b").items() if not key.startswith("attachment/")}
    left["lost/b/n1/0/d"] = LostCluster(cluster="b", node="n1", tunnel_set=0, remote_cluster="d")
    reports.replace(peer, left)
    assert dict(state.documents) == left
    for key in ("gateway/a/0/0", "nodeblock/red/a/n1", "grant/red/a/shop/web-0", "membership/k8s.a.x"):
        with pytest.raises(UnavailableError):
            state.put(of("a")[key])

    api.away = False
    assert store.flush(10)
    store.close()
    after = open_store(api)
    assert {entry.key for entry in after.list()} == left.keys()
    after.close()


@pytest.mark.parametrize(
    ("key", "hub", "kept"),
    [
        ("rotation/0/1", True, Durability.NOW),
        ("rotation/0/1", False, Durability.SOON),
        ("drain/a/n1", False, Durability.SOON),
        ("gateway/a/0/0", False, Durability.NOW),
        ("gateway/b/0/0", False, Durability.SOON),
        ("grant/red/a/shop/web-0", False, Durability.NOW),
        ("membership/all-of-shop", True, Durability.NOW),
        ("membership/k8s.a.shop.x", True, Durability.NOW),
        ("token/1", False, Durability.NOW),
    ],
)
def test_a_member_keeps_at_once_only_what_it_says_itself(key: str, hub: bool, kept: Durability) -> None:
    """What it has of its hub it hears again, and mirrors while the API server is away."""
    assert durability(key, hub=hub, cluster="a") is kept


def test_a_hub_alone_keeps_no_members_promises_at_once() -> None:
    """It has no cluster of its own."""
    assert durability("gateway/a/0/0", hub=True, cluster="") is Durability.SOON
    assert durability("block/red/a", hub=True, cluster="") is Durability.NOW
