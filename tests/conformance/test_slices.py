"""ADD and slices: which slice, whose namespace, which other slices; and packets between attached pods."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest

from slicer.kernel import netns
from slicer.model.documents import key_of
from tests.conformance.node import Answer, Node, Pod, configuration, eventually, sh

pytestmark = pytest.mark.root


def test_packets_pass_between_two_pods(node: Node) -> None:
    """Two pods of a slice on one node reach each other through the slice's namespace, by their slice addresses."""
    first, second = node.pod(), node.pod()
    first.add().ok()
    address = second.add().ok().json["ips"][0]["address"].removesuffix("/32")
    sh(f"ip netns exec {node.slice_netns()} sysctl -qw net.ipv4.ip_forward=1")

    sh(f"ip netns exec {first.name} ping -c1 -W5 {address}")


def test_slice_that_is_not_here(pod: Pod) -> None:
    """A slice that the cluster is not in is named."""
    assert "'blue'" in pod.add(configuration(slice_name="blue")).error(103)


def test_slice_without_a_namespace_yet(node: Node) -> None:
    """A slice whose namespace is not made yet is "try again later", and nothing is left."""
    name = node.add_slice("late", ("10.50.0.0/26",))
    netns.delete(name)

    assert name in node.pod().add(configuration(slice_name="late")).error(11)
    assert not node.service.attacher.journal.all()


@pytest.mark.parametrize("missing", ["nodeblock/late/a/a-n1", "slice/late"])
def test_slice_that_comes_while_waiting(node: Node, missing: str) -> None:
    """An ADD waits a little for a slice that is just being made, and for one that its node has not heard of yet."""
    name = node.add_slice("late", ("10.50.0.0/26",))
    document = node.view.pop(missing)
    node.stop()
    node.patience_s = 60.0
    node.start()
    pod = node.pod()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(pod.add(configuration(slice_name="late"))))
    thread.start()
    eventually(lambda: node.starved)
    node.put(document)
    node.service.attacher.hopes.ring()
    thread.join()

    assert answers[0].ok().json["ips"][0]["address"] == "10.50.0.2/32"
    assert name == node.slice_netns("late")


def test_namespace_that_the_slice_does_not_admit(node: Node) -> None:
    """A pod of another namespace than the slice admits is refused, naming both."""
    node.add_slice("closed", ("10.60.0.0/26",), namespaces=("bank",))
    pod = node.pod()
    message = pod.add(configuration(slice_name="closed")).error(104)

    assert "bank" in message
    assert "shop" in message
    pod.namespace = "bank"
    pod.add(configuration(slice_name="closed")).ok()


def test_pod_in_two_overlapping_slices(pod: Pod, node: Node) -> None:
    """A pod cannot be in two slices with overlapping prefixes; the refusal names both."""
    node.add_slice("twin", ("10.22.7.0/26",))
    pod.add().ok()
    message = pod.add(configuration(slice_name="twin"), interface="net2").error(101)

    assert "'red'" in message
    assert "'twin'" in message


def test_pod_in_two_slices(pod: Pod, node: Node) -> None:
    """A pod may be in two slices that do not overlap."""
    node.add_slice("blue", ("10.70.0.0/26",))
    pod.add().ok()
    pod.add(configuration(slice_name="blue"), interface="net2").ok()

    assert {"net1", "net2"} <= {link.name for link in pod.contents().links}


def test_two_slices_with_one_prefix(node: Node) -> None:
    """Two pods in two slices with the same prefix may have the same address; they do not hear each other."""
    node.add_slice("twin", ("10.22.5.0/26",))
    first, second = node.pod(), node.pod()
    addresses = [
        pod.add(configuration(slice_name=name)).ok().json["ips"][0]["address"]
        for pod, name in ((first, "red"), (second, "twin"))
    ]
    third = node.pod()
    third.add(configuration(slice_name="twin")).ok()

    assert addresses == ["10.22.5.2/32", "10.22.5.2/32"]
    third_address = third.contents().addresses_of(third.contents().link("net1").index)
    target = next(a for a in third_address if a.version == 4)
    lost = subprocess.run(["ip", "netns", "exec", first.name, "ping", "-c1", "-W1", str(target)], check=False)
    assert lost.returncode == 1


def test_journal_is_there_before_the_answer(pod: Pod, node: Node) -> None:
    """What is attached lies on disk, readable by root only."""
    pod.add().ok()
    path = Path(node.state / "attachments" / f"{pod.container}:net1.json")

    assert json.loads(path.read_text())["attachment"]["state"] == "attached"
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_of(node.service.attacher.journal.attachments()[0]).endswith(f"{pod.container}/net1")
