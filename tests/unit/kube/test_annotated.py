"""Pods and namespaces over an API server in memory: what is taken in, what they are told, and what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slicer.model.attachments import PathHealth
from slicer.model.clusters import Cluster
from slicer.model.documents import of_kind
from slicer.model.errors import UnavailableError
from slicer.model.slices import Membership
from slicer_controller.kube.annotated import NAMESPACES, PODS, Annotated
from slicer_controller.kube.naming import SLICE
from slicer_controller.kube.networks import Networks
from slicer_controller.kube.pods import slim_namespace, slim_pod
from tests.contract.conftest import attachment
from tests.unit.kube.conftest import World

NETWORKS = "k8s.v1.cni.cncf.io/networks"
Json = dict[str, Any]


@pytest.fixture
def member(world: Any) -> Any:
    """With slice red; `member.turn(pods)` is one turn of the loop with these pods."""
    world.apply(SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    world.turn()
    networks = Networks(world.api, world.objects, lambda: world.now_s)
    world.annotated = Annotated(world.context, world.api, world.objects, networks)

    def turn(*pods: Json) -> None:
        world.objects.replace(PODS, [one for pod in pods if (one := slim_pod(pod))])
        world.objects.replace(NAMESPACES, [])
        world.annotated.reconcile()
        world.annotated.wish()
        world.annotated.provide()
        world.annotated.tell()
        assert world.annotated._writer.flush(10)

    def look(*asking: Json) -> None:
        """Only what these slim objects ask for is looked at."""
        for kind, plural in (("Pod", PODS), ("Namespace", NAMESPACES)):
            world.objects.replace(plural, [])
            for one in asking:
                if one["kind"] == kind:
                    world.objects.learn(plural, one)
        world.annotated.reconcile()

    world.turn, world.look = turn, look
    yield world
    world.annotated.close()


def pod(world: Any, annotations: Json, *, gated: bool = False) -> Json:
    """Pod shop/web-0 on n1, in the API server."""
    path = "/api/v1/namespaces/shop/pods"
    gates = [{"conditionType": "slicer.io/connected"}] if gated else []
    body = {
        "metadata": {"name": "web-0", "annotations": annotations},
        "spec": {"nodeName": "n1", "readinessGates": gates},
    }
    found = world.api.find(f"{path}/web-0")
    return found or world.api.create(path, {"apiVersion": "v1", "kind": "Pod", **body})


def keys(world: Any, kind: str) -> list[str]:
    return [key for key in world.state.documents if key.startswith(f"{kind}/")]


def test_nothing_is_ended_before_everything_was_listed(member: Any) -> None:
    """A controller that has just started knows no pods yet, and that means nothing."""
    asking = pod(member, {"slicer.io/slices": "red"})
    member.turn(asking)
    assert len(keys(member, "membership")) == 1

    member.objects.synced.clear()
    member.objects.replace(NAMESPACES, [])
    member.annotated.reconcile()
    assert len(keys(member, "membership")) == 1

    member.turn()
    assert keys(member, "membership") == []


def test_looking_at_other_objects_ends_no_membership(member: Any) -> None:
    """Those of pods are not SliceMemberships': the loop turns, and nothing is written, not even for a moment."""
    asking = pod(member, {"slicer.io/slices": "red"})
    member.turn(asking)
    before, revision = keys(member, "membership"), member.store.revision

    World.turn(member)
    member.turn(asking)

    assert keys(member, "membership") == before != []
    assert member.store.revision == revision


def test_a_fixed_address_is_wished_as_long_as_the_pod_is_there(member: Any) -> None:
    """The wish is the member's own (no node), and goes with the pod."""
    asking = pod(member, {NETWORKS: '[{"name": "slicer-red", "ips": ["10.22.4.9"]}]'})

    member.turn(asking)
    assert keys(member, "wish") == ["wish/red/a/-/shop/web-0"]

    member.turn()
    assert keys(member, "wish") == []


def test_a_refusal_is_told_once(member: Any) -> None:
    """An event on the pod; looking again says nothing new."""
    asking = pod(member, {"slicer.io/slices": "nowhere"})

    for _ in range(3):
        member.turn(asking)

    events = [path for verb, path in member.api.writes if verb == "create" and "/events/" in path]
    assert len(events) == 1
    assert "which does not exist" in member.api.get(events[0])["note"]
    assert keys(member, "membership") == []


def test_a_pod_is_told_what_it_has_and_only_when_that_changes(member: Any) -> None:
    """One write for an attachment, none for looking again, one for its end; other pods are not touched."""
    asking = pod(member, {NETWORKS: "slicer-red"}, gated=True)
    member.state.put(attachment("a", "n1", "web-0", "10.22.4.5"))
    member.turn(asking)
    path = "/api/v1/namespaces/shop/pods/web-0"
    told = json.loads(member.api.get(path)["metadata"]["annotations"]["slicer.io/attachments"])
    assert (told[0]["slice"], told[0]["ips"], told[0]["state"]) == ("red", ["10.22.4.5"], "attached")
    assert member.api.get(path)["status"]["conditions"][0]["status"] == "True"

    before = len(member.api.writes)
    member.turn(member.api.get(path))
    assert len(member.api.writes) == before

    member.state.delete("attachment/a/n1/c-web-0/net1")
    member.turn(member.api.get(path))
    assert "slicer.io/attachments" not in member.api.get(path)["metadata"]["annotations"]
    assert member.api.get(path)["status"]["conditions"][0]["reason"] == "NotAttached"


def test_the_gate_waits_for_a_packet_between_clusters(member: Any) -> None:
    """With another cluster in the slice: attached is not enough, a path that its node measured is."""
    asking = pod(member, {NETWORKS: "slicer-red"}, gated=True)
    member.state.put(Cluster(name="b"))
    member.state.put(attachment("a", "n1", "web-0", "10.22.4.5"))
    path = "/api/v1/namespaces/shop/pods/web-0"

    def reason() -> str:
        member.turn(member.api.find(path) or asking)
        return str(member.api.get(path)["status"]["conditions"][0]["reason"])

    assert reason() == "NoPath"
    other = {"slice": "red", "cluster": "a", "remote_cluster": "b"}
    member.state.put(PathHealth(**other, node="n2", up=True))
    assert reason() == "NoPath"
    member.state.put(PathHealth(**other, node="n1", up=False))
    assert reason() == "NoPath"
    member.state.put(PathHealth(**other, node="n1", up=True))
    assert reason() == "Connected"


@pytest.mark.parametrize("name", ["slicer-blue", "slicer-nowhere", "slicer-" + "x" * 70])
def test_addresses_are_wished_for_nobody_who_may_not_have_them(member: Any, name: str) -> None:
    """Multus' annotation passes no webhook: a namespace that the slice does not allow reserves no address of it."""
    member.apply(SLICE, "blue", {"prefixes": ["10.23.0.0/16"], "namespaces": ["bank"]})
    World.turn(member)

    member.turn(pod(member, {NETWORKS: f'[{{"name": "{name}", "ips": ["10.23.4.9"]}}]'}))

    assert keys(member, "wish") == []


def test_an_annotation_that_cannot_be_read_stops_nothing(member: Any) -> None:
    """Nested deeper than any parser goes: the pod is told so, and the turn goes on to its end."""
    asking = pod(member, {"slicer.io/slices": "[" * 100_000, NETWORKS: "[" * 100_000})

    member.turn(asking)

    assert any("/events/" in path for verb, path in member.api.writes if verb == "create")
    assert keys(member, "membership") == []


def test_a_gate_that_was_open_stays_open_when_paths_are_forgotten(member: Any) -> None:
    """A controller that has just started has heard of no path yet; only an attachment that is gone closes the gate."""
    asking = pod(member, {NETWORKS: "slicer-red"}, gated=True)
    member.state.put(Cluster(name="b"))
    member.state.put(attachment("a", "n1", "web-0", "10.22.4.5"))
    member.state.put(PathHealth(slice="red", cluster="a", remote_cluster="b", node="n1", up=True))
    member.turn(asking)
    path = "/api/v1/namespaces/shop/pods/web-0"
    member.turn(member.api.get(path))
    assert member.api.get(path)["status"]["conditions"][0]["status"] == "True"

    member.state.delete("path/red/a/n1/b")
    member.turn(member.api.get(path))
    assert member.api.get(path)["status"]["conditions"][0]["status"] == "True"

    member.state.delete("attachment/a/n1/c-web-0/net1")
    member.turn(member.api.get(path))
    assert member.api.get(path)["status"]["conditions"][0]["reason"] == "NotAttached"


def slices_of(world: Any) -> set[str]:
    """Slices of the memberships that are stored."""
    return {member.slice for member in of_kind(world.state.documents, Membership)}


def two_slices(world: Any, **spec: Any) -> None:
    """Slice blue beside red; `spec` is said of blue."""
    world.apply(SLICE, "blue", {"prefixes": ["10.23.0.0/16"], **spec})
    World.turn(world)


def asking(world: Any, kind: str, wish: str) -> Json:
    """Pod shop/web-0, or namespace shop, with the annotation."""
    if kind == "Pod":
        return slim_pod({**pod(world, {}), "metadata": metadata(wish)}) or {}
    return slim_namespace({"kind": "Namespace", "metadata": metadata(wish)}) or {}


def metadata(wish: str) -> Json:
    place = {"name": "web-0", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"}
    return {**place, "annotations": {"slicer.io/slices": wish}}


@pytest.mark.parametrize("kind", ["Pod", "Namespace"])
@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ("nowhere, blue", {"blue"}),
        ("nowhere, red, blue", {"red", "blue"}),
        ('[{"slice": "red", "interface": "no/such"}]', {"red", "blue"}),
        ("{", {"red", "blue"}),
        ("red", {"red"}),
    ],
)
def test_a_refusal_takes_nobody_out_of_other_slices(member: Any, kind: str, second: str, kept: set[str]) -> None:
    """One slice of an annotation is refused, or all of it cannot be read: the rest goes on; what is left out ends."""
    two_slices(member)
    member.look(asking(member, kind, "red, blue"))
    assert slices_of(member) == {"red", "blue"}

    member.look(asking(member, kind, second))

    assert slices_of(member) == kept


def test_a_namespace_that_is_shut_out_is_taken_out(member: Any) -> None:
    """The slice's owner decides: that refusal ends what was accepted, in this slice only."""
    two_slices(member)
    member.look(asking(member, "Namespace", "blue, red"))

    two_slices(member, namespaces=["other"])
    member.look(asking(member, "Namespace", "blue, red"))

    assert slices_of(member) == {"red"}


def test_a_store_that_is_away_refuses_nobody(member: Any) -> None:
    """What could not be stored is no refusal: the other slices are tried, nobody is told, and it is said at the end."""
    two_slices(member)
    put, tried = member.state.put, []

    def fail(value: Any, **more: Any) -> Any:
        tried.append(value.slice)
        if value.slice == "blue":
            raise UnavailableError("the answer was lost")
        return put(value, **more)

    member.state.put = fail
    with pytest.raises(UnavailableError, match="the answer was lost"):
        member.look(asking(member, "Pod", "blue, red"))

    assert (tried, slices_of(member)) == (["blue", "red"], {"red"})
    assert not any("/events/" in path for _, path in member.api.writes)
    member.state.put = put
    member.look(asking(member, "Pod", "blue, red"))
    assert slices_of(member) == {"red", "blue"}


def test_every_refusal_is_told_and_forgotten_with_its_object(member: Any) -> None:
    """An event for each refused slice, once; nothing is remembered of a pod that is gone or was mended."""
    wish = asking(member, "Pod", "nowhere, red, never")

    for _ in range(2):
        member.look(wish)
    assert sum("/events/" in path for _, path in member.api.writes) == 2

    member.look()
    assert member.annotated._told == {}
