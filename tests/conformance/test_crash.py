"""kill -9 at every effect of an ADD and of a DEL, then a restart: nothing leaks, nobody's address changes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slicer.client.codec import encode_documents
from slicer.kernel import netns
from slicer.model.attachments import AttachmentState
from slicer.plan.dataplane_slice import NEXT_HOP
from tests.conformance import mortal
from tests.conformance.node import WAIT_S, Node, Pod, eventually, links_of, sh

pytestmark = pytest.mark.root
ADD_EFFECTS = 7
"""Tombstone looked for; record written, renamed; host batch, pod batch; record written, renamed."""
DEL_EFFECTS = 4
"""Record written, renamed; host end down; record renamed. (Then the reaper's, after the answer.)"""


def start_mortal(node: Node, fatal: int) -> None:
    """Start an agent that dies before its `fatal`-th effect; returns when it serves."""
    view = node.state / "view-of-the-test.json"
    node.state.mkdir(parents=True, exist_ok=True)
    view.write_text(json.dumps(encode_documents(node.view)))
    arguments = [sys.executable, Path(mortal.__file__), node.state, node.run, view, str(fatal)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    node.processes.append(process)
    assert process.stdout.readline() == b"ready\n"


def end(node: Node, *, died: bool) -> None:
    """Kill the mortal agent, which must have died by itself just when it should."""
    process = node.processes[-1]
    if died:
        assert process.wait(WAIT_S) == -signal.SIGKILL
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def bystander(bare_node: Node) -> Iterator[Pod]:
    """A pod that is attached before anything dies; at the end its address and its route are what they were."""
    bare_node.start()
    pod = bare_node.pod()
    address = pod.add().ok().json["ips"][0]["address"].removesuffix("/32")
    bare_node.stop()
    yield pod
    held = {a.container_id: str(a.addresses[0]) for a in bare_node.service.attacher.journal.attachments()}

    assert held == {pod.container: address}
    assert address in sh(f"ip -n {pod.name} addr show dev net1")
    assert f"{address} dev" in sh(f"ip -n {bare_node.slice_netns()} route")


def only_the_bystander_is_left(node: Node, pod: Pod) -> None:
    """One host end, and no interface of ours in the pod."""
    eventually(lambda: len(links_of(node.slice_netns())) == 2)
    eventually(lambda: pod.contents().link("net1") is None)


@pytest.mark.parametrize("fatal", range(1, ADD_EFFECTS + 2))
def test_killed_during_add(bare_node: Node, bystander: Pod, fatal: int) -> None:
    """After the restart the pod is attached whole or not at all; the runtime's DEL then leaves nothing."""
    assert bystander
    start_mortal(bare_node, fatal)
    pod = bare_node.pod()
    answer = pod.add()
    end(bare_node, died=fatal <= ADD_EFFECTS)
    bare_node.start()
    bare_node.service.sweep()
    record = bare_node.service.attacher.journal.get((pod.container, "net1"))

    assert answer.code == 0 or answer.json["code"] == 11
    assert record or answer.code == 1
    if record:
        link = pod.contents().link("net1")
        assert record.attachment.state is AttachmentState.ATTACHED
        assert set(record.attachment.addresses) <= pod.contents().addresses_of(link.index)
        assert NEXT_HOP[4] in {hop for _, hop in pod.contents().routes_of(link.index)}
    pod.delete().ok()
    only_the_bystander_is_left(bare_node, pod)


@pytest.mark.parametrize("fatal", range(1, DEL_EFFECTS + 3))
def test_killed_during_del(bare_node: Node, bystander: Pod, fatal: int) -> None:
    """The DEL succeeds whatever happens, and after the restart the attachment is gone without another one."""
    assert bystander
    bare_node.start()
    pod = bare_node.pod()
    pod.add().ok()
    bare_node.stop()
    start_mortal(bare_node, fatal)
    pod.delete().ok()
    end(bare_node, died=fatal <= DEL_EFFECTS)
    bare_node.start()
    bare_node.service.sweep()

    assert bare_node.service.attacher.journal.get((pod.container, "net1")) is None
    only_the_bystander_is_left(bare_node, pod)


def test_multus_forgets_del(bare_node: Node, bystander: Pod) -> None:
    """An attachment whose pod's namespace is gone is released by the sweep, without any DEL."""
    assert bystander
    bare_node.start()
    pod = bare_node.pod()
    pod.add().ok()
    netns.delete(pod.name)
    bare_node.service.sweep()

    assert bare_node.service.attacher.journal.get((pod.container, "net1")) is None
    eventually(lambda: len(links_of(bare_node.slice_netns())) == 2)


def test_namespace_made_anew_under_the_same_path(bare_node: Node, bystander: Pod) -> None:
    """Another namespace under an attachment's path is not its pod: the attachment is released."""
    assert bystander
    bare_node.start()
    pod = bare_node.pod()
    pod.add().ok()
    netns.delete(pod.name)
    netns.create(pod.name)
    bare_node.service.sweep()

    assert bare_node.service.attacher.journal.get((pod.container, "net1")) is None


def test_lost_host_end_is_made_again(bare_node: Node, bystander: Pod) -> None:
    """A live pod whose interface was taken away gets it again, with its address and MAC."""
    assert bystander
    bare_node.start()
    pod = bare_node.pod()
    result = pod.add().ok().json
    sh(f"ip -n {bare_node.slice_netns()} link del {result['interfaces'][0]['name']}")
    bare_node.service.sweep()

    link = pod.contents().link("net1")
    assert link.mac == result["interfaces"][1]["mac"]
    assert result["ips"][0]["address"].removesuffix("/32") in map(str, pod.contents().addresses_of(link.index))
    pod.delete().ok()
    only_the_bystander_is_left(bare_node, pod)


def test_link_that_nobody_owns(bare_node: Node, bystander: Pod) -> None:
    """A host end that no record names is removed."""
    assert bystander
    bare_node.start()
    sh(f"ip -n {bare_node.slice_netns()} link add p12345678 type veth peer name p12345679")
    bare_node.service.sweep()

    eventually(lambda: len(links_of(bare_node.slice_netns())) == 2)


def test_slice_is_gone(bare_node: Node) -> None:
    """An attachment whose slice was deleted is released."""
    bare_node.start()
    pod = bare_node.pod()
    pod.add().ok()
    del bare_node.view["slice/red"]
    bare_node.service.sweep()

    assert not bare_node.service.attacher.journal.all()


def test_unreadable_record(bare_node: Node, bystander: Pod) -> None:
    """A record that cannot be read is set aside, and the agent starts all the same."""
    assert bystander
    (bare_node.state / "attachments" / "x:net1.json").write_text("{")
    bare_node.start()

    assert (bare_node.state / "attachments" / "unreadable:x:net1.json").exists()
    bare_node.pod().delete().ok()
