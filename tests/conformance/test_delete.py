"""DEL: lines D1 to D11 of the black-box list."""

from __future__ import annotations

import pytest

from slicer.kernel import netns
from tests.conformance.node import Node, Pod, configuration, eventually, links_of, sh

pytestmark = pytest.mark.root


def is_clean(node: Node, pod: Pod) -> None:
    """Nothing of the attachment is left: journal at once, links as soon as they have been reaped."""
    assert not node.service.attacher.journal.all()
    eventually(lambda: links_of(node.slice_netns()) == {"lo"})
    eventually(lambda: not netns.exists(netns.path_of(pod.name)) or pod.contents().link("net1") is None)


def test_D1_succeeds_in_silence(pod: Pod, node: Node) -> None:
    """DEL after ADD: exit 0, nothing on stdout or stderr, nothing left."""
    pod.add().ok()
    answer = pod.delete().ok()

    assert (answer.stdout, answer.stderr) == (b"", b"")
    is_clean(node, pod)


def test_D2_three_times(pod: Pod, node: Node) -> None:
    """DEL may come as often as it likes."""
    pod.add().ok()
    for _ in range(3):
        pod.delete().ok()

    is_clean(node, pod)


def test_D3_without_netns(pod: Pod, node: Node) -> None:
    """RemovePodSandbox sends an empty CNI_NETNS."""
    pod.add().ok()
    pod.delete(CNI_NETNS="").ok()

    is_clean(node, pod)


def test_D4_netns_gone(pod: Pod, node: Node) -> None:
    """The namespace may be gone already, its file too."""
    pod.add().ok()
    netns.delete(pod.name)
    pod.delete().ok()

    is_clean(node, pod)


def test_D5_interface_gone(pod: Pod, node: Node) -> None:
    """The pod may have removed the interface itself."""
    pod.add().ok()
    sh(f"ip -n {pod.name} link del net1")
    pod.delete().ok()

    is_clean(node, pod)


@pytest.mark.parametrize("previous", [None, {"cniVersion": "1.1.0"}, {"interfaces": [{"name": "other"}]}])
def test_D6_any_prev_result(pod: Pod, node: Node, previous: object) -> None:
    """prevResult may be missing or strange."""
    pod.add().ok()
    pod.delete(configuration(prevResult=previous)).ok()

    is_clean(node, pod)


def test_D7_record_gone(pod: Pod, node: Node) -> None:
    """A journal that was lost makes no DEL fail; the sweep takes the link."""
    pod.add().ok()
    node.stop()
    (node.state / "attachments" / f"{pod.container}:net1.json").unlink()
    node.start()
    pod.delete().ok()
    node.service.sweep()

    is_clean(node, pod)


def test_D8_agent_down(pod: Pod, node: Node) -> None:
    """Without the agent a DEL succeeds at once, and the agent does it when it is back."""
    pod.add().ok()
    node.stop()
    pod.delete().ok()

    assert [path.name for path in (node.state / "tombstones").iterdir()] == [f"{pod.container}:net1"]
    node.start()
    is_clean(node, pod)
    assert list((node.state / "tombstones").iterdir()) == []


def test_D8_tombstone_is_for_the_old_attachment_only(pod: Pod, node: Node) -> None:
    """A tombstone that nobody has honoured yet does not end an attachment that is made afterwards."""
    pod.add().ok()
    (node.state / "tombstones" / f"{pod.container}:net1").touch()
    pod.add().ok()
    node.service.sweep()

    assert pod.contents().link("net1") is not None


@pytest.mark.parametrize(("name", "value"), [("CNI_CONTAINERID", "../../etc/x"), ("CNI_IFNAME", "../x")])
def test_D8_tombstones_stay_in_their_directory(pod: Pod, node: Node, name: str, value: str) -> None:
    """Without the agent a forbidden name is refused as well, and nothing is written."""
    node.stop()
    pod.call("DEL", **{name: value}).error(4)

    assert list((node.state / "tombstones").iterdir()) == []


def test_D9_without_add(pod: Pod, node: Node) -> None:
    """DEL of what never was succeeds."""
    pod.delete().ok()

    is_clean(node, pod)


def test_D10_releases_address_and_route(pod: Pod, node: Node) -> None:
    """With the answer the slice has no route to the pod any more, and the address rests."""
    address = pod.add().ok().json["ips"][0]["address"].removesuffix("/32")
    pod.delete().ok()

    assert address not in sh(f"ip -n {node.slice_netns()} route; ip -n {node.slice_netns()} neigh")
    assert address in {str(a) for a in node.service.attacher.journal.resting()["red"]}


def test_D11_leaves_the_others(pod: Pod, node: Node) -> None:
    """Another attachment of the same container stays whole."""
    pod.add(interface="net1").ok()
    pod.add(interface="net2").ok()
    before = pod.contents().link("net2")
    pod.delete(interface="net1").ok()
    eventually(lambda: pod.contents().link("net1") is None)

    assert pod.contents().link("net2") == before
    assert len(links_of(node.slice_netns())) == 2


def test_interface_name_is_free_at_once(pod: Pod) -> None:
    """ADD right after DEL of the same interface works: what waits for its deletion is not in the way."""
    for _ in range(5):
        pod.add().ok()
        pod.delete().ok()


def test_own_netns(pod: Pod) -> None:
    """A DEL that names the node's own namespace is refused with code 8, as the reference does."""
    pod.delete(CNI_NETNS="/proc/self/ns/net").error(8)


def test_does_not_read_the_slicer_section(pod: Pod, node: Node) -> None:
    """DEL must not fail on a configuration that was changed since ADD."""
    pod.add().ok()
    pod.delete(configuration(slicer={"typo": 1})).ok()

    is_clean(node, pod)


def test_full_disk(pod: Pod, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be written keeps no pod from ending."""
    pod.add().ok()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node.service.attacher.journal, "put", refuse)
    pod.delete().ok()

    is_clean(node, pod)
