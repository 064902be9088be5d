"""Networks on demand, and nodes that are gone."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from slicer.model.clusters import Node
from slicer.model.errors import DeniedError, NotFoundError, UnauthenticatedError
from slicer_controller.access import Peer
from slicer_controller.kube.networks import LINGER_S, PLURAL, REFUSED_S, Networks
from slicer_controller.kube.nodes import GONE_S, NODES, Nodes, slim_node
from slicer_controller.kube.objects import Objects
from tests.unit.kube.fake_api import FakeApi

PATH = "/apis/k8s.cni.cncf.io/v1/namespaces/shop/network-attachment-definitions"


def test_a_network_lives_from_the_first_pod_to_a_while_after_the_last() -> None:
    """Made once, kept while it is needed, removed after the time that a webhook's pod may take to appear."""
    api, objects, clock = FakeApi(), Objects(), [0.0]
    networks = Networks(api, objects, lambda: clock[0])
    networks.provide("shop", "red")
    networks.provide("shop", "red")

    for now_s, needed, there in (
        (1.0, set(), True),
        (LINGER_S - 1, {("shop", "red")}, True),
        (LINGER_S, set(), True),
        (2 * LINGER_S - 1, set(), True),
        (2 * LINGER_S, set(), False),
    ):
        clock[0] = now_s
        networks.reconcile(needed)
        assert (api.find(f"{PATH}/slicer-red") is not None) == there, now_s
    assert api.writes == [("create", f"{PATH}/slicer-red"), ("delete", f"{PATH}/slicer-red")]


def test_a_network_that_was_just_promised_lives_on() -> None:
    """The webhook let a pod in a moment before the network's time was over: it stays for that pod to appear."""
    api, objects, clock = FakeApi(), Objects(), [0.0]
    networks = Networks(api, objects, lambda: clock[0])
    networks.provide("shop", "red")
    networks.reconcile(set())

    clock[0] = LINGER_S - 1
    networks.provide("shop", "red")
    for now_s, there in ((LINGER_S, True), (2 * LINGER_S - 1, True), (2 * LINGER_S, False)):
        clock[0] = now_s
        networks.reconcile(set())
        assert (api.find(f"{PATH}/slicer-red") is not None) == there, now_s


def test_without_multus_it_is_tried_now_and_then_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The kind is missing: not one request a round for each namespace; a webhook's own try is made and told."""
    tries: list[str] = []

    class Without(FakeApi):
        there = False

        def create(self, path: str, body: Any) -> Any:
            tries.append(path)
            if not self.there:
                raise NotFoundError("the server could not find the requested resource")
            return super().create(path, body)

    api, clock = Without(), [0.0]
    networks, needed = Networks(api, Objects(), lambda: clock[0]), {("shop", "red"), ("bank", "red")}
    for now_s, count in ((0.0, 2), (1.0, 2), (REFUSED_S - 1, 2), (REFUSED_S, 4)):
        clock[0] = now_s
        networks.reconcile(needed)
        assert len(tries) == count, now_s
    assert [record.message for record in caplog.records] == ["network not made"] * 2

    with pytest.raises(NotFoundError):
        networks.provide("shop", "red")
    api.there, clock[0] = True, 2 * REFUSED_S
    networks.reconcile(needed)
    assert api.find(f"{PATH}/slicer-red") is not None


def test_networks_of_others_are_left_alone() -> None:
    """One with our name and without our mark is neither changed nor removed."""
    api, objects, clock = FakeApi(), Objects(), [0.0]
    foreign = api.create(PATH, {"metadata": {"name": "slicer-red"}, "spec": {"config": "{}"}})
    objects.learn(PLURAL, foreign)
    networks = Networks(api, objects, lambda: clock[0])

    networks.reconcile({("shop", "red")})
    networks.reconcile(set())
    clock[0] = 10 * LINGER_S
    networks.reconcile(set())

    assert api.get(f"{PATH}/slicer-red") == foreign


def node(name: str) -> Node:
    return Node(cluster="a", name=name, addresses=(ip_address("198.18.1.1"),), vtep_mac="02:00:00:00:00:01")


def test_only_a_node_whose_object_was_deleted_is_forgotten(world: Any) -> None:
    """After a while, and not while its agent is connected; before nodes were listed, none is."""
    nodes = Nodes(world.context, world.objects)
    for name in ("n1", "n2", "n3"):
        world.state.put(node(name))
    world.context.connected["slicer://node/a/n3"] = 1
    nodes.reconcile()
    world.now_s += 10 * GONE_S
    nodes.reconcile()
    assert "node/a/n2" in world.state.documents

    world.objects.replace(NODES, [slim_node({"metadata": {"name": "n1", "uid": "u", "resourceVersion": "1"}})])
    nodes.reconcile()
    world.now_s += GONE_S - 1
    nodes.reconcile()
    assert "node/a/n2" in world.state.documents
    world.now_s += 1
    nodes.reconcile()

    assert sorted(key for key in world.state.documents if key.startswith("node/")) == ["node/a/n1", "node/a/n3"]


def test_a_node_that_comes_back_is_let_in_again(world: Any) -> None:
    """With the certificate that it has: nobody asked for it to be sent away. One that a user deleted stays out."""
    nodes, door = Nodes(world.context, world.objects), world.context.door
    seen = [slim_node({"metadata": {"name": name, "uid": "u", "resourceVersion": "1"}}) for name in ("n1", "n2")]
    n1, n2 = (Peer(kind="node", cluster="a", name=name) for name in ("n1", "n2"))
    world.objects.replace(NODES, [])
    world.context.reports.replace(n1, {"node/a/n1": node("n1")})
    nodes.reconcile()
    world.now_s += GONE_S
    nodes.reconcile()
    world.context.dismiss(n2)
    for peer in (n1, n2):
        with pytest.raises(UnauthenticatedError, match="was deleted here"):
            door.admit(peer.uri)

    world.objects.replace(NODES, seen)
    nodes.reconcile()

    assert door.admit(n1.uri) == n1
    with pytest.raises(UnauthenticatedError, match="was deleted here"):
        door.admit(n2.uri)


def test_surroundings_come_from_the_node(world: Any) -> None:
    """The annotation, else the ExternalIPs; zone and role by labels; a slip says nothing, as a node that is unknown."""
    external = {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "192.0.2.9"}]
    }
    metadata = {"uid": "u", "resourceVersion": "1"}
    never = {"labels": {"slicer.io/gateway": "false"}}
    labels = {"topology.kubernetes.io/zone": "eu-1a", "slicer.io/gateway": "true"}
    annotations = {"slicer.io/outside-addresses": "192.0.2.7, tomato, 2001:db8::7"}
    world.objects.replace(
        NODES,
        [
            slim_node({"metadata": {"name": "plain", **metadata, "labels": {"slicer.io/gateway": "perhaps"}}}),
            slim_node({"metadata": {"name": "cloud", **metadata, "labels": labels}, "status": external}),
            slim_node(
                {"metadata": {"name": "said", **metadata, "annotations": annotations, **never}, "status": external}
            ),
        ],
    )
    nodes = Nodes(world.context, world.objects)

    known = {name: nodes.surroundings(name) for name in ("plain", "cloud", "said", "unknown")}

    assert {name: ([str(a) for a in k.outside_addresses], k.zone, k.gateway) for name, k in known.items()} == {
        "plain": ([], "", None),
        "cloud": (["192.0.2.9"], "eu-1a", True),
        "said": (["192.0.2.7", "2001:db8::7"], "", False),
        "unknown": ([], "", None),
    }


def test_a_namespace_that_takes_no_network_keeps_no_other_from_its_own() -> None:
    """One that is ending, or has a quota, is refused by the API server; the next one by name is served."""

    class Ending(FakeApi):
        def create(self, path: str, body: Any) -> Any:
            if "/ending/" in path:
                raise DeniedError("unable to create new content in namespace ending because it is being terminated")
            return super().create(path, body)

    api = Ending()
    Networks(api, Objects(), lambda: 0.0).reconcile({("ending", "red"), ("shop", "red")})

    assert api.find(f"{PATH}/slicer-red") is not None
