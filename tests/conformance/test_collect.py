"""GC: lines G1 to G9 of the black-box list (G8: nothing is delegated, so nothing is forwarded)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.node import Node, Pod, configuration

pytestmark = pytest.mark.root


def collect(pod: Pod, keep: list[Pod] | None, key: str = "cni.dev/valid-attachments", **changes: Any) -> Any:
    """GC that keeps net1 of these pods; None leaves the list out."""
    listed = None if keep is None else [{"containerID": p.container, "ifname": "net1"} for p in keep]
    config = configuration(**({} if listed is None else {key: listed}), **changes)
    return pod.call("GC", config, CNI_CONTAINERID="", CNI_NETNS="", CNI_IFNAME="")


def attached(node: Node) -> set[str]:
    """Container ids of what is attached."""
    return {attachment.container_id for attachment in node.service.attacher.journal.attachments()}


@pytest.fixture
def pods(node: Node) -> list[Pod]:
    """Three attached pods."""
    pods = [node.pod() for _ in range(3)]
    for pod in pods:
        pod.add().ok()
    return pods


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_G1_G4_keeps_the_listed(node: Node, pods: list[Pod], key: str) -> None:
    """The listed stay, the others go; libcni's second spelling of the key counts as well."""
    answer = collect(pods[0], pods[:2], key).ok()

    assert answer.stdout == b""
    assert attached(node) == {pods[0].container, pods[1].container}


def test_G2_empty_list(node: Node, pods: list[Pod]) -> None:
    """An empty list removes all of this network."""
    collect(pods[0], []).ok()

    assert attached(node) == set()


def test_G3_absent_key(node: Node, pods: list[Pod]) -> None:
    """An absent list removes nothing."""
    collect(pods[0], None).ok()

    assert len(attached(node)) == 3


def test_G5_other_networks(node: Node, pods: list[Pod]) -> None:
    """Attachments of another network stay."""
    collect(pods[0], [], name="another").ok()

    assert len(attached(node)) == 3


def test_G6_unknown_ids(node: Node, pods: list[Pod]) -> None:
    """Listed containers that nobody knows are ignored."""
    stranger = Pod(node=node, name="none", container="nobody")
    collect(pods[0], [*pods, stranger]).ok()

    assert len(attached(node)) == 3


def test_G7_one_failure_does_not_stop_the_rest(node: Node, pods: list[Pod], monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is reported at the end; the rest is gone all the same."""
    kernel = node.service.attacher.kernel
    detach, bad = kernel.detach, node.service.attacher.journal.attachments()[0]

    def refuse(vni: int, host_name: str) -> None:
        if host_name == bad.host_interface:
            raise OSError(5, "made to fail")
        detach(vni, host_name)

    monkeypatch.setattr(kernel, "detach", refuse)
    answer = collect(pods[0], [])

    assert "1 attachments" in answer.error(5)
    assert bad.container_id in answer.json["details"]
    assert attached(node) == {bad.container_id}


def test_G9_idempotent(node: Node, pods: list[Pod]) -> None:
    """Twice is as once."""
    for _ in range(2):
        collect(pods[0], pods[:1]).ok()

    assert attached(node) == {pods[0].container}


def test_malformed_list(pods: list[Pod]) -> None:
    """A list that is none is refused; nothing is removed by a misunderstanding."""
    pods[0].call("GC", configuration(**{"cni.dev/valid-attachments": "all"})).error(6)
