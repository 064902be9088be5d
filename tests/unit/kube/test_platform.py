"""The parts of a controller's work in Kubernetes: what one cannot do keeps no other from its work."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from slicer.model.clusters import Resolvers
from slicer.model.errors import DeniedError, SlicerError, UnavailableError
from slicer_controller.kube import platform as platform_module
from slicer_controller.kube.annotated import NAMESPACES, PODS
from slicer_controller.kube.naming import SLICE
from slicer_controller.kube.nodes import GONE_S, NODES
from slicer_controller.kube.platform import KubernetesPlatform, Setting
from slicer_controller.kube.pods import slim_pod
from tests.contract.conftest import node
from tests.unit.kube.conftest import World
from tests.unit.kube.test_pods import dns_pod

NETWORK = "/apis/k8s.cni.cncf.io/v1/namespaces/shop/network-attachment-definitions/slicer-red"


@pytest.fixture
def platform(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Over the API server in memory, with slice red and its loop in the test's hands; the lease is held."""
    world.apply(SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    world.turn()
    lease = SimpleNamespace(held=True, writable=True, release=lambda: None)
    monkeypatch.setattr(platform_module, "load_configuration", lambda _: None)
    monkeypatch.setattr(platform_module, "Api", lambda *_: world.api)
    monkeypatch.setattr(platform_module, "Watcher", lambda *_: SimpleNamespace(start=lambda: None, stop=lambda: None))
    monkeypatch.setattr(platform_module, "Lease", lambda *_, **__: lease)
    monkeypatch.setattr(platform_module, "fill_ca", lambda *_: None)
    world.api.seal, world.api.close = (lambda: True), (lambda: None)
    roles = frozenset({"hub", "member"})
    setting = Setting(
        kubeconfig=None, namespace="system", service="s", roles=roles, cluster="a", directory=world.directory
    )
    made: Any = KubernetesPlatform(setting, lambda: world.now_s)
    made.start(world.context, lambda: None)
    made.world, made.lease = world, lease
    yield made
    made.close()


def work(parts: Any) -> list[SlicerError]:
    """As the loop does: each part by itself; what they could not do."""
    errors = []
    for part in parts:
        try:
            part()
        except SlicerError as error:
            errors.append(error)
    return errors


def see(platform: Any) -> World:
    """A pod that asks, a node that is gone, and a slice to take in."""
    world: World = platform.world
    place = {"name": "web-0", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"}
    annotations = {"slicer.io/slices": "red", "k8s.v1.cni.cncf.io/networks": ""}
    pod = slim_pod({"metadata": {**place, "annotations": annotations}, "spec": {}})
    assert pod is not None
    platform._objects.replace(PODS, [pod])
    platform._objects.replace(NAMESPACES, [])
    platform._objects.replace(NODES, [])
    platform._objects.replace(SLICE.plural, world.api.each(SLICE.path()))
    world.state.put(node("a", "n9"))
    return world


def test_an_object_that_may_not_be_written_stops_nothing_else(platform: Any) -> None:
    """One lasting 403: memberships, networks and nodes go on, and it is said."""
    world = see(platform)

    def refuse(*_: Any) -> None:
        raise DeniedError("slices is forbidden")

    platform._declared._doors.hold = refuse
    first = work(platform.intake())
    world.now_s += GONE_S
    second = work(platform.intake())

    assert [error.message for error in (*first, *second)] == ["slices is forbidden"] * 2
    assert "membership/k8s-pod.a.u-1.red" in world.state.documents
    assert world.api.find(NETWORK) is not None
    assert "node/a/n9" not in world.state.documents


def test_statuses_are_told_although_files_cannot_be_kept(platform: Any) -> None:
    """And the files are tried again at the next look, not after the time between two good ones."""
    world = see(platform)
    tries = []

    def fail() -> None:
        tries.append(1)
        raise DeniedError("secrets is forbidden")

    platform._keepsakes.keep = fail
    filled = []
    platform_module.fill_ca = lambda *_: filled.append(1)  # type: ignore[assignment]

    assert work(platform.intake()) == []
    for _ in range(2):
        assert [error.message for error in work(platform.telling())] == ["secrets is forbidden"]

    assert (len(tries), len(filled)) == (2, 1)
    assert platform._statuses._writer.flush(10)
    assert world.api.get(SLICE.path("red"))["status"]["conditions"] != []


def test_nothing_is_taken_in_without_the_lease(platform: Any) -> None:
    """Another controller may lead by now: no object is looked at, and it is said why."""
    world = see(platform)
    platform.lease.writable = False
    before = list(world.api.writes)

    (error,) = work(platform.intake())

    assert isinstance(error, UnavailableError)
    assert "the lease is not held" in error.message
    assert world.api.writes == before
    assert "membership/k8s-pod.a.u-1.red" not in world.state.documents


def test_the_loop_says_where_cluster_dns_is(platform: Any) -> None:
    """The name servers' view follows the DNS pods."""
    world = see(platform)
    platform._objects.learn(PODS, slim_pod(dns_pod("coredns-1", "10.244.0.5")))
    work(platform.intake())

    assert world.state.documents["resolvers/a"] == Resolvers(cluster="a", addresses=(ip_address("10.244.0.5"),))
