"""What users declare by objects, whatever dies in between: objects are what is wanted, records what was accepted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from slicer.client.marks import FINALIZER
from slicer.model.clusters import Cluster
from slicer.model.errors import DeniedError, StaleError, UnavailableError
from slicer.model.slices import Membership, Slice
from slicer_controller.kube.naming import CLUSTER, MEMBERSHIP, QOS_PROFILE, SLICE

RED = {"prefixes": ["10.22.0.0/16"]}


def slice_of(world: Any, name: str = "red") -> Any:
    return world.state.documents.get(f"slice/{name}")


def test_looking_again_changes_nothing(world: Any) -> None:
    """After the first turn the API server is written to no more, however often the loop turns."""
    world.apply(SLICE, "red", RED)
    world.apply(MEMBERSHIP, "m", {"slice": "red"}, "shop")
    world.turn()
    before = list(world.api.writes)

    for _ in range(3):
        world.turn()

    assert world.api.writes == before
    assert world.declared.refused == {}


def test_each_kill_of_a_write_by_rest_is_mended(world: Any) -> None:
    """The object is written, then the record: a process that dies in between is followed by one that takes it in."""
    state = world.context.hub.plan_slice(Slice(name="red", prefixes=(ip_network("10.22.0.0/16"),)), None)
    from slicer.client.codec import encode

    world.store._rules.declare("slice/red", encode(state))
    assert slice_of(world) is None

    after = world.again()
    after.turn()

    assert slice_of(after).spec == state.spec
    assert after.api.get(SLICE.path("red"))["metadata"]["finalizers"] == [FINALIZER]
    after.close()


@pytest.mark.parametrize("step", ["retired", "removed"])
def test_each_kill_of_a_removal_is_mended(world: Any, step: str) -> None:
    """Marked, record removed, let go: dying after either of the first two leaves nothing for long, revives nothing."""
    world.apply(SLICE, "red", RED)
    world.turn()
    world.store._rules.retire("slice/red")
    if step == "removed":
        world.store._remove_now("slice/red")

    after = world.again()
    after.turn()
    after.turn()

    assert slice_of(after) is None
    assert after.api.find(SLICE.path("red")) is None
    after.close()


def test_what_is_refused_leaves_what_was_accepted(world: Any) -> None:
    """A change that may not be: the document stays as it was, and a later one that may be is taken."""
    world.apply(SLICE, "red", RED)
    world.turn()
    world.apply(SLICE, "red", {**RED, "clusters": ["nowhere"]})
    world.turn()
    assert "'nowhere'" in world.refusal(SLICE, "red")
    assert slice_of(world).spec.clusters == ()

    world.apply(SLICE, "red", {**RED, "clusters": ["a"]})
    world.turn()

    assert world.refusal(SLICE, "red") == ""
    assert slice_of(world).spec.clusters == ("a",)


def test_numbers_stay_with_the_slice(world: Any) -> None:
    """Accepted anew after a restart, changed, it keeps its VNI and its blocks."""
    world.apply(SLICE, "red", RED)
    world.turn()
    before, block = slice_of(world), world.state.documents["block/red/a"]

    after = world.again()
    after.apply(SLICE, "red", {**RED, "gateways": 5})
    after.turn()

    assert slice_of(after).vni == before.vni
    assert after.state.documents["block/red/a"] == block
    assert slice_of(after).spec.gateways == 5
    after.close()


def test_memberships_go_with_their_objects_only_when_these_are_known(world: Any) -> None:
    """A controller that has listed nothing yet ends no membership."""
    world.apply(SLICE, "red", RED)
    world.apply(MEMBERSHIP, "m", {"slice": "red"}, "shop")
    world.turn()
    assert [k for k in world.state.documents if k.startswith("membership/")] == ["membership/k8s.a.shop.m"]

    after = world.again()
    after.declared.reconcile()
    assert "membership/k8s.a.shop.m" in after.state.documents

    after.api.delete(MEMBERSHIP.path("m", "shop"))
    after.turn()
    assert "membership/k8s.a.shop.m" not in after.state.documents
    after.close()


def test_a_namespace_that_is_shut_out_is_refused(world: Any) -> None:
    """The slice's owner decides: a membership of a namespace that is not allowed is none."""
    world.apply(SLICE, "red", {**RED, "namespaces": ["other"]})
    world.apply(MEMBERSHIP, "m", {"slice": "red"}, "shop")
    world.turn()

    assert world.refusal(MEMBERSHIP, "m", "shop").endswith(
        "slice 'red' does not allow namespace 'shop'; ask who may change the slice"
    )
    assert not any(isinstance(value, Membership) for value in world.state.documents.values())


def test_an_api_server_that_is_away_refuses_nobody(world: Any) -> None:
    """What could not be written is tried again; no object is said to be wrong because of it."""
    world.apply(SLICE, "red", RED)
    for kind in (SLICE, CLUSTER):
        world.objects.replace(kind.plural, world.api.each(kind.path()))
    world.api.away = True

    with pytest.raises(UnavailableError):
        world.declared.reconcile()
    assert world.declared.refused == {}

    world.api.away = False
    world.turn()
    assert slice_of(world) is not None


@pytest.mark.parametrize("error", [DeniedError("not yours"), StaleError("changed")])
def test_what_is_not_the_users_fault_is_not_said_to_be(world: Any, error: Exception) -> None:
    """An API server that has just started knows no rights yet, one write was quicker than ours: looked at again."""
    world.apply(SLICE, "red", RED)
    merge = world.api.merge

    def refuse(*_: Any) -> Any:
        raise error

    world.api.merge = refuse
    with pytest.raises((UnavailableError, StaleError)):
        world.turn()
    assert world.declared.refused == {}

    world.api.merge = merge
    world.turn()
    assert slice_of(world) is not None


def test_a_status_that_is_written_meanwhile_stands_in_no_removals_way(world: Any, monkeypatch: Any) -> None:
    """Between reading the object's finalizers and writing them the status changes; others' finalizers stay."""
    world.apply(SLICE, "red", RED)
    world.turn()
    path = SLICE.path("red")
    world.api.merge(path, {"metadata": {"finalizers": [FINALIZER, "example.com/theirs"]}})
    merge, meanwhile = world.api.merge, iter(range(2))

    def merge_late(path: str, patch: Any) -> Any:
        for number in meanwhile:
            world.api.apply(f"{path}/status", {"status": {"vni": number}}, manager="status")
            break
        return merge(path, patch)

    monkeypatch.setattr(world.api, "merge", merge_late)
    world.state.delete("slice/red")

    assert world.api.get(path)["metadata"]["finalizers"] == ["example.com/theirs"]
    assert next(meanwhile, None) is None
    assert "slice/red" not in world.state.documents


def test_an_edit_by_rest_unties_no_profile(world: Any) -> None:
    """As long as it leaves the bandwidth alone; the profile's next change holds for the slice. Other rates untie it."""
    world.apply(QOS_PROFILE, "gold", {"ceilingBps": 10_000_000})
    world.apply(SLICE, "red", {**RED, "qosProfile": "gold"})
    world.turn()
    edit = slice_of(world)

    world.state.put(replace(edit, spec=replace(edit.spec, gateways=5)))
    spec = world.api.get(SLICE.path("red"))["spec"]
    assert (spec["gateways"], spec["qosProfile"], "qos" in spec) == (5, "gold", False)

    world.apply(QOS_PROFILE, "gold", {"ceilingBps": 20_000_000})
    world.turn()
    assert (slice_of(world).spec.gateways, slice_of(world).spec.qos.ceiling_bps) == (5, 20_000_000)

    edit = slice_of(world)
    qos = replace(edit.spec.qos, ceiling_bps=5_000_000)
    world.state.put(replace(edit, spec=replace(edit.spec, qos=qos)))
    spec = world.api.get(SLICE.path("red"))["spec"]
    assert (spec["qos"]["ceilingBps"], "qosProfile" in spec) == (5_000_000, False)
    world.turn()
    assert slice_of(world).spec.qos == qos


def test_clusters_that_join_are_objects(world: Any) -> None:
    """Stored by the hub, there as an object; its ranges follow what the member tells."""
    assert world.api.get(CLUSTER.path("a"))["spec"]["cidrs"] == []

    world.state.put(Cluster(name="a", cidrs=(ip_network("10.244.0.0/16"),)))

    assert world.api.get(CLUSTER.path("a"))["spec"]["cidrs"] == ["10.244.0.0/16"]
    world.turn()
    assert world.refusal(CLUSTER, "a") == ""


def conditions(world: Any) -> dict[str, str]:
    """What slice red's status says, once all is written."""
    world.statuses.look()
    assert world.statuses._writer.flush(10)
    status = world.api.get(SLICE.path("red")).get("status", {})
    return {one["type"]: one["reason"] for one in status.get("conditions", [])}


def test_nothing_is_said_of_what_was_not_looked_at(world: Any) -> None:
    """An object that comes while the loop is at work is not called accepted before it is; nor is a change of one."""
    world.turn()
    world.apply(SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    world.objects.learn(SLICE.plural, world.api.get(SLICE.path("red")))
    assert conditions(world) == {}

    world.turn()
    assert conditions(world)["Valid"] == "Accepted"

    world.apply(SLICE, "red", {"prefixes": ["10.99.0.0/16"]})
    world.objects.learn(SLICE.plural, world.api.get(SLICE.path("red")))
    world.statuses.look()
    assert world.statuses._writer.flush(10)
    assert world.api.get(SLICE.path("red"))["status"]["observedGeneration"] == 1

    world.turn()
    assert conditions(world)["Valid"] != "Accepted"
