"""`slicectl uninstall`, on a cluster that is a dictionary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slicer.cli.errors import WaitTimeoutError
from slicer.cli.install import uninstalling
from slicer.model.errors import ConflictError, NotFoundError
from tests.unit.ship.cluster import FakeCluster
from tests.unit.ship.test_install import HUB, cures, install, uninstall


def test_uninstall_leaves_what_was_there(cluster: FakeCluster) -> None:
    """Every object that the installation made is gone, and no other."""
    before = cluster.kinds()
    install(cluster)
    cluster.put("NetworkAttachmentDefinition", "slicer-red", "shop", labels={"app.kubernetes.io/managed-by": "slicer"})
    cluster.put("NetworkAttachmentDefinition", "macvlan", "shop")

    assert cluster.kinds() > before

    uninstall(cluster)

    assert cluster.kinds() == before | {"NetworkAttachmentDefinition macvlan"}


def test_uninstall_while_in_use_is_refused(cluster: FakeCluster) -> None:
    """Attached pods, and the clusters that depend on a hub, are named; nothing is changed."""
    install(cluster)
    cluster.put("Pod", "web", "shop", annotations={"slicer.io/attachments": '[{"slice": "red"}]'})
    cluster.put("Pod", "other", "shop", annotations={"slicer.io/attachments": "[]"})
    cluster.put("SliceCluster", "a")
    cluster.put("SliceCluster", "b")
    before = cluster.kinds()

    with pytest.raises(ConflictError, match=r"in use by pod shop/web, cluster b\n") as error:
        uninstall(cluster)

    assert "--force" in cures(error)
    assert cluster.kinds() == before


def of_hub(connected: str) -> dict[str, object]:
    """Status of a SliceCluster."""
    return {"conditions": [{"type": "Connected", "status": connected}]}


def test_a_hub_goes_after_its_members(cluster: FakeCluster) -> None:
    """In the documented order no force is needed: a member that was uninstalled is still declared, and in no way."""
    install(cluster)
    cluster.put("SliceCluster", "a", status=of_hub("True"))
    cluster.put("SliceCluster", "b", status=of_hub("False"))
    cluster.put("Slice", "red", status={"clusters": [{"name": "b", "attachments": 0}]})

    uninstall(cluster)

    assert "Namespace slicer-system" not in cluster.kinds()


@pytest.mark.parametrize(("status", "name"), [
    (of_hub("True"), "cluster b"),
    ({}, "cluster b"),
    (of_hub("False"), r"cluster b \(cut off, with 3 attached pods\)"),
])  # fmt: skip
def test_a_hub_that_members_depend_on_stays(cluster: FakeCluster, status: dict[str, object], name: str) -> None:
    """One that is connected, of which nothing is known, or that is cut off with attached pods is named, with cures."""
    install(cluster)
    cluster.put("SliceCluster", "b", status=status)
    parts = [[{"name": "b", "attachments": 1}], [{"name": "a"}, {"name": "b", "attachments": 2}]]
    for slice_name, clusters in zip(("red", "blue"), parts, strict=True):
        cluster.put("Slice", slice_name, status={"clusters": clusters} if status == of_hub("False") else {})
    before = cluster.kinds()

    with pytest.raises(ConflictError, match=rf"in use by {name}\n") as error:
        uninstall(cluster)

    assert "slicectl uninstall --context" in cures(error)
    assert "kubectl --context a annotate slicecluster NAME slicer.io/force-delete=true" in cures(error)
    assert "get attachments" not in cures(error)
    assert cluster.kinds() == before


def test_uninstall_by_force(cluster: FakeCluster) -> None:
    """With force the pods stay, without our annotation."""
    install(cluster)
    cluster.put("Pod", "web", "shop", annotations={"slicer.io/attachments": '[{"slice": "red"}]', "x": "y"})

    uninstall(cluster, force=True)

    assert cluster.get("Pod", "web", "shop")["metadata"]["annotations"] == {"x": "y"}
    assert "Namespace slicer-system" not in cluster.kinds()


def test_uninstall_stops_the_controller_before_it_cleans(cluster: FakeCluster) -> None:
    """What the controller makes for pods is removed when it cannot make it anew."""
    install(cluster)
    cluster.put("NetworkAttachmentDefinition", "slicer-red", "shop", labels={"app.kubernetes.io/managed-by": "slicer"})
    cluster.calls.clear()
    uninstall(cluster)
    deleted = [call for call in cluster.calls if call.startswith("delete")]

    assert deleted.index("delete Deployment slicer-controller") < deleted.index(
        "delete NetworkAttachmentDefinition slicer-red"
    )


def test_uninstall_without_a_controller(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that nobody gives up any more are freed: a finalizer of ours holds nothing for ever."""
    monkeypatch.setattr(uninstalling, "GIVING_UP_S", 0.01)
    install(cluster)
    cluster.put("Slice", "red", finalizers=["slicer.io/finalizer"])

    uninstall(cluster)

    assert "Slice red" not in cluster.kinds()


def test_others_finalizers_are_theirs(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a controller our finalizer alone is taken off; whoever holds the object still is named."""
    monkeypatch.setattr(uninstalling, "GIVING_UP_S", 0.01)
    install(cluster)
    cluster.put("Slice", "red", finalizers=["slicer.io/finalizer", "backup.example.org/copy"])
    said: list[str] = []

    with pytest.raises(WaitTimeoutError, match=r"CustomResourceDefinition slices\.slicer\.io"):
        uninstalling.uninstall(cluster, HUB, force=False, timeout_s=0.05, say=said.append)

    assert cluster.get("Slice", "red")["metadata"]["finalizers"] == ["backup.example.org/copy"]
    assert "Slice red waits for whoever put backup.example.org/copy on it" in said


def test_a_node_that_does_not_answer(cluster: FakeCluster) -> None:
    """Without force the uninstallation stops and can be repeated; with force it goes on and says what stays."""
    install(cluster)
    cluster.ready = False

    with pytest.raises(WaitTimeoutError, match="nodes cleaned") as error:
        uninstall(cluster)

    assert "--force" in cures(error)
    assert "Namespace slicer-system" in cluster.kinds()

    uninstall(cluster, force=True)

    assert "Namespace slicer-system" not in cluster.kinds()


def test_the_cleanup_follows_the_agent(cluster: FakeCluster) -> None:
    """It runs the images of the agent that was there, and looks where that one had put its files."""
    install(cluster, replace(HUB, platform="openshift", registry="r.example.org"))
    found: list[dict[str, object]] = []
    apply = cluster.apply
    cluster.apply = lambda wanted: (found.append(wanted), apply(wanted))[1]  # type: ignore[method-assign]
    uninstall(cluster)
    (daemon_set,) = found
    pod = daemon_set["spec"]["template"]["spec"]
    files = pod["initContainers"][1]

    assert {container["image"] for container in (*pod["initContainers"], *pod["containers"])} == {
        "r.example.org/slicer-agent:0.1.0"
    }
    assert "--bin-dir=/var/lib/cni/bin" in files["args"]
    assert "--uninstall" in files["args"]


def test_uninstall_of_nothing(cluster: FakeCluster) -> None:
    """Where it is not installed, that is said."""
    with pytest.raises(NotFoundError, match="not installed in cluster a"):
        uninstall(cluster)
