"""Drains and rotations over REST: what is refused and why, what their status says, and when they are over."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from slicer.model.clusters import Cluster, Gateway, Rotation, RotationState
from slicer.model.documents import Document, key_of
from slicer.model.slices import Slice, SliceState
from slicer.plan.rotation import progress
from slicer_controller.hub import Hub
from slicer_controller.state import State

RED = {"name": "red", "prefixes": ["10.7.0.0/16"], "clusters": ["a", "b"]}
KEY = "A" * 42 + "A="


def node(cluster: str, name: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """A node's document."""
    spec = {"cluster": cluster, "name": name, "addresses": ["192.0.2.1"], "vtep_mac": "02:00:00:00:00:01"}
    return f"node/{cluster}/{name}", spec | fields


def gateway(cluster: str, slot: int, name: str, *generations: int, **fields: Any) -> tuple[str, dict[str, Any]]:
    """A gateway's document, with one device of each generation."""
    ends = [
        {"tunnel_set": 0, "index": 0, "public_key": KEY, "port": 51820 + generation, "generation": generation}
        for generation in generations
    ]
    spec = {"cluster": cluster, "tunnel_set": 0, "slot": slot, "node": name, "tunnels": ends}
    return f"gateway/{cluster}/0/{slot}", spec | fields


def report(hub: Any, cluster: str, *documents: tuple[str, dict[str, Any]]) -> None:
    """All that a cluster says."""
    body = {"documents": dict(documents)}
    assert hub.call("PUT", "/v1/reports/cluster", body, peer=f"slicer://cluster/{cluster}")[0] == 200


@pytest.fixture
def two(hub: Any) -> Any:
    """Slice red over a (gateways n1 and n2, node n3 that cannot be one) and b (one gateway, no other node)."""
    hub.create("slices", RED)
    nodes = (node("a", "n1"), node("a", "n2"), node("a", "n3", gateway_capable=False))
    report(hub, "a", *nodes, gateway("a", 0, "n1", 0, uses=[0]), gateway("a", 1, "n2", 0, uses=[0]))
    report(hub, "b", node("b", "n1"), gateway("b", 0, "n1", 0, uses=[0]))
    return hub


REFUSED = [
    ("drains", {"cluster": "a", "node": "n9"}, 404, "NotFound", ["'n9'", "'a'"]),
    ("drains", {"cluster": "c", "node": "n1"}, 404, "NotFound", ["'n1'", "'c'"]),
    ("drains", {"cluster": "a", "node": "n3"}, 409, "NoGateway", ["'n3'", "no gateway", "cannot be one"]),
    ("drains", {"cluster": "b", "node": "n1"}, 409, "LastGateway", ["'n1'", "last gateway", "'b'", "red", "force"]),
    ("drains", {"cluster": "a", "node": "N 1"}, 422, "Invalid", ["'N 1'"]),
    ("rotations", {"tunnel_set": 7}, 404, "NotFound", ["tunnel set 7"]),
    ("rotations", {"tunnel_set": 256}, 422, "Invalid", ["256"]),
    ("rotations", {"tunnel_set": 0, "generation": 9}, 409, "Conflict", ["is 1, not 9"]),
]


@pytest.mark.parametrize(("collection", "spec", "status", "reason", "words"), REFUSED)
def test_what_is_wrong_is_refused_by_name(two, collection, spec, status, reason, words):
    """Status, reason, a message that names the thing; and nothing was written."""
    answer, problem = two.call("POST", f"/v1/{collection}", {"spec": spec})

    assert (answer, problem["reason"]) == (status, reason)
    assert [word for word in words if word not in problem["detail"]] == []
    assert two.call("GET", f"/v1/{collection}")[1]["items"] == []


def test_the_second_of_two_gateways_cannot_be_drained_as_well(two):
    """The first drain counts: what is left must be able to carry the traffic."""
    two.create("drains", {"cluster": "a", "node": "n1"})

    status, problem = two.call("POST", "/v1/drains", {"spec": {"cluster": "a", "node": "n2"}})
    assert (status, problem["reason"]) == (409, "LastGateway")
    two.create("drains", {"cluster": "a", "node": "n2", "force": True})


def test_a_drain_tells_who_is_waited_for(two):
    """Nodes of the cluster and gateways of the others, until they say that they have left; then the node itself."""
    two.create("drains", {"cluster": "a", "node": "n1", "reason": "new disk"})
    name, left = "drains/a/n1", "a/0/0@5"
    going: dict[str, Any] = {"uses": [0], "state": "draining", "since_ms": 5}
    others = (node("a", "n3", gateway_capable=False), gateway("a", 1, "n2", 0, uses=[0]))

    report(two, "a", node("a", "n1"), node("a", "n2"), *others, gateway("a", 0, "n1", 0, **going))
    found = two.call("GET", f"/v1/{name}")[1]["status"]
    assert found == {
        "state": "draining",
        "slots": [{"tunnel_set": 0, "slot": 0, "state": "draining"}],
        "waiting_for": ["a/n2", "a/n3", "b/n1"],
    }

    report(two, "b", node("b", "n1"), gateway("b", 0, "n1", 0, uses=[0], left=[left, "a/0/0@4"]))
    report(two, "a", node("a", "n1"), node("a", "n2", left=[left]), *others, gateway("a", 0, "n1", 0, **going))
    assert two.call("GET", f"/v1/{name}")[1]["status"]["waiting_for"] == ["a/n3"]

    last = gateway("a", 0, "n1", 0, **going | {"state": "leaving", "since_ms": 9})
    report(two, "a", node("a", "n1"), node("a", "n2"), *others, last)
    assert two.call("GET", f"/v1/{name}")[1]["status"]["waiting_for"] == ["a/n1"]

    report(two, "a", node("a", "n1"), node("a", "n2"), *others)
    assert two.call("GET", f"/v1/{name}")[1]["status"] == {"state": "drained", "slots": [], "waiting_for": []}
    assert two.call("DELETE", f"/v1/{name}")[0] == 204


def test_a_drain_goes_with_its_cluster(two):
    """A cluster of the same name that joins later has all its gateways."""
    two.create("drains", {"cluster": "a", "node": "n1"})
    assert two.call("DELETE", "/v1/slices/red?force=true")[0] == 204

    assert two.call("DELETE", "/v1/clusters/a?force=true")[0] == 204
    assert two.call("GET", "/v1/drains")[1]["items"] == []


def steps(hub: Any, *generations: int, uses: tuple[int, ...]) -> tuple[str, list[str]]:
    """State of rotation 0/1, and who is waited for, when b is done and a's n1 has these devices and uses."""
    report(hub, "b", node("b", "n1"), gateway("b", 0, "n1", 1, uses=[1]))
    done = gateway("a", 1, "n2", 1, uses=[1])
    report(hub, "a", node("a", "n1"), node("a", "n2"), done, gateway("a", 0, "n1", *generations, uses=uses))
    status = hub.call("GET", "/v1/rotations/0/1")[1]["status"]
    return status["state"], status["waiting_for"]


def test_a_rotation_goes_through_its_steps_and_into_the_history(two):
    """Keys, handshake, removal, done; each tells who is not that far. Once it is over another one may begin."""
    made = two.create("rotations", {"tunnel_set": 0, "reason": "leaked"})
    assert made["metadata"]["name"] == "0/1"
    assert made["spec"] == {"tunnel_set": 0, "generation": 1, "reason": "leaked"}
    assert made["status"]["state"] == "keys"
    assert made["status"]["waiting_for"] == ["a/n1", "a/n2", "b/n1"]
    assert made["status"]["finished_at_s"] is None

    assert steps(two, 0, uses=(0,)) == ("keys", ["a/n1"])
    assert steps(two, 0, 1, uses=(0,)) == ("handshake", ["a/n1"])
    assert steps(two, 0, 1, uses=(0, 1)) == ("handshake", ["a/n1"])
    assert steps(two, 0, 1, uses=(1,)) == ("removal", ["a/n1"])
    assert two.call("POST", "/v1/rotations", {"spec": {"tunnel_set": 0}})[1]["reason"] == "RotationRuns"
    two.clock.now_s += 60
    assert steps(two, 1, uses=(1,)) == ("done", [])

    status = two.call("GET", "/v1/rotations/0/1")[1]["status"]
    assert status["finished_at_s"] - status["started_at_s"] == 60
    assert two.call("DELETE", "/v1/rotations/0/1")[1]["reason"] == "RotationOver"
    two.create("rotations", {"tunnel_set": 0})
    names = [one["metadata"]["name"] for one in two.call("GET", "/v1/rotations")[1]["items"]]
    assert names == ["0/1", "0/2"]


def test_a_rotation_that_runs_can_be_taken_back(two):
    """The generation before is in force again; a new rotation waits until the devices are gone, and counts on."""
    two.create("rotations", {"tunnel_set": 0})
    steps(two, 0, 1, uses=(0,))
    assert two.call("DELETE", "/v1/rotations/0/1")[0] == 204

    status, problem = two.call("POST", "/v1/rotations", {"spec": {"tunnel_set": 0}})
    assert (status, problem["reason"]) == (409, "RotationRuns")
    assert "devices of another generation" in problem["detail"]

    for cluster, slot, name in (("a", 0, "n1"), ("b", 0, "n1")):
        report(two, cluster, node(cluster, name), gateway(cluster, slot, name, 0, uses=[0]))
    status, problem = two.call("POST", "/v1/rotations", {"spec": {"tunnel_set": 0, "generation": 1}})
    assert (status, problem["reason"]) == (409, "Conflict")
    assert "is 2, not 1" in problem["detail"]
    assert two.create("rotations", {"tunnel_set": 0})["metadata"]["name"] == "0/2"


def test_no_gateway_ever_meets_the_number_of_a_rotation_that_was_taken_back(two):
    """Not though nobody has a device of it: who was cut off may still have its keys."""
    for generation in (1, 2, 3):
        assert two.create("rotations", {"tunnel_set": 0})["spec"]["generation"] == generation
        assert two.call("DELETE", f"/v1/rotations/0/{generation}")[0] == 204

    tried = two.call("POST", "/v1/rotations?dry_run=true", {"spec": {"tunnel_set": 0}})[1]
    assert tried["spec"]["generation"] == 4
    assert two.create("rotations", {"tunnel_set": 0})["spec"]["generation"] == 4


def test_an_interval_begins_rotations_by_itself(two):
    """The first one interval after the set's first slice, and never while one runs."""
    state: State = two.context.state
    hub = Hub(state, two.clock, rotate_every_s=3600)

    def generations() -> list[str]:
        hub.reconcile()
        return [key for key in state.documents if key.startswith("rotation/")]

    assert generations() == []
    two.clock.now_s += 3600
    assert generations() == ["rotation/0/1"]
    two.clock.now_s += 7200
    assert generations() == ["rotation/0/1"]
    steps(two, 1, uses=(1,))
    assert generations() == ["rotation/0/1", "rotation/0/2"]


def test_what_an_interval_began_can_be_taken_back_for_an_interval(two):
    """However long it ran: the hub does not begin it again at once, only when another interval is over."""
    hub = Hub(two.context.state, two.clock, rotate_every_s=3600)

    def after(seconds: int) -> list[str]:
        two.clock.now_s += seconds
        hub.reconcile()
        return [key for key in two.context.state.documents if key.startswith("rotation/")]

    assert after(3600) == ["rotation/0/1"]
    two.clock.now_s += 7200
    assert two.call("DELETE", "/v1/rotations/0/1")[0] == 204

    assert after(0) == []
    assert after(3599) == []
    assert after(1) == ["rotation/0/2"]


def test_a_rotation_that_another_follows_was_done_before(two):
    """The next one was let in because all gateways were that far, be it that the hub had not noted the end yet."""
    for number in (1, 2):
        two.context.state.put(RotationState(spec=Rotation(tunnel_set=0, generation=number), started_at_s=5))
    two.context.hub.reconcile()

    first, second = two.call("GET", "/v1/rotations")[1]["items"]
    assert first["status"] == {
        "state": "done",
        "waiting_for": [],
        "started_at_s": 5,
        "finished_at_s": int(two.clock.now_s),
    }
    assert (second["status"]["state"], second["status"]["finished_at_s"]) == ("keys", None)


def test_the_history_has_an_end(two):
    """The hub remembers the last twenty rotations of a set."""
    for number in range(1, 23):
        two.create("rotations", {"tunnel_set": 0})
        for cluster, slots in (("a", (("n1", 0), ("n2", 1))), ("b", (("n1", 0),))):
            ends = [gateway(cluster, slot, name, number, uses=[number]) for name, slot in slots]
            report(two, cluster, node(cluster, "n1"), node(cluster, "n2"), *ends)

    names = {one["spec"]["generation"] for one in two.call("GET", "/v1/rotations")[1]["items"]}
    assert names == set(range(3, 23))


class Counted(dict[str, Document]):
    """Documents that count how often they are looked through."""

    looks = 0

    def items(self) -> Any:
        self.looks += 1
        return super().items()


def test_a_rotation_of_many_gateways_and_slices_costs_no_more_looks(two):
    """The hub asks after every change, for as long as one runs."""

    def looks(slices: int, gateways: int) -> int:
        states = [
            SliceState(spec=Slice(name=f"s{n}", prefixes=(ip_network("10.7.0.0/16"),)), vni=n, tunnel_set=0)
            for n in range(1, slices + 1)
        ]
        held = [Gateway(cluster=c, tunnel_set=0, slot=n, node=f"n{n}") for c in ("a", "b") for n in range(gateways)]
        values = (*states, *held, Cluster(name="a"), Cluster(name="b"))
        documents = Counted({key_of(value): value for value in values})
        assert len(progress(0, documents).waiting_for) == 2 * gateways
        return documents.looks

    assert 0 < looks(1, 1) == looks(20, 5) < 10


@pytest.mark.parametrize("interval_s", [-1, 1, 59, 10**12])
def test_an_interval_that_makes_no_sense_is_refused(two, interval_s):
    """Under a minute, or beyond ten years."""
    with pytest.raises(ValueError, match=f"rotation interval {interval_s} "):
        Hub(two.context.state, two.clock, rotate_every_s=interval_s)
