"""The agent's pods as a real containerd tells them.

CriSandboxes ── CRI ──▶ containerd ──▶ pods; CNI calls are written down by the test's plugin
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slicer.agent.changes import Changes
from slicer.agent.cri import CriSandboxes
from tests.kubernetes.runtime.containerd import PATIENCE_S, Containerd, running

pytestmark = [pytest.mark.root]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """One containerd for all tests here."""
    with running(tmp_path_factory.mktemp("containerd")) as containerd:
        yield containerd


@pytest.fixture
def source(runtime: Containerd) -> CriSandboxes:
    """A source that has heard of the runtime."""
    return followed(runtime.root / "nobody.sock", runtime.socket)


def followed(*sockets: Path) -> CriSandboxes:
    """A source in a thread of its own, as the agent has it."""
    source = CriSandboxes(sockets, Changes())
    source.start()
    wait_for(lambda: source.ready)
    return source


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_pod_is_what_its_cni_calls_say(runtime: Containerd, source: CriSandboxes):
    """Container id and network namespace are those of the CNI ADD; name, uid and the pod's own labels are there."""
    pod = runtime.run("web", labels={"app": "web", "tier": "front"})
    wait_for(lambda: pod in source.all())
    found = source.all()[pod]

    assert found.netns == runtime.cni_calls()[pod]
    assert Path(found.netns).exists()
    assert (found.container_id, found.namespace, found.name, found.uid) == (pod, "shop", "web", "uid-web")
    assert found.labels == (("app", "web"), ("tier", "front"))


def test_a_pod_that_ends_is_gone(runtime: Containerd, source: CriSandboxes):
    """A removed sandbox leaves the table and rings; others stay."""
    stays, goes = runtime.run("stays"), runtime.run("goes")
    wait_for(lambda: {stays, goes} <= source.all().keys())
    rung = source.changed.count
    runtime.remove(goes)
    wait_for(lambda: goes not in source.all())

    assert source.changed.count > rung
    assert stays in source.all()


def test_a_pod_on_the_nodes_network_is_none_of_ours(runtime: Containerd, source: CriSandboxes):
    """Its namespace is the node's own: no slice could be attached there."""
    host = runtime.run("host", node_network=True)
    after = runtime.run("after")
    wait_for(lambda: after in source.all())

    assert host not in source.all()


def test_a_runtime_that_restarts_changes_nothing(runtime: Containerd, source: CriSandboxes):
    """While it is down the last pods are kept without a ring; then its changes are seen again."""
    pod = runtime.run("before")
    wait_for(lambda: pod in source.all())
    rung = source.changed.count
    runtime.kill()
    wait_for(lambda: source.failures > 1)
    assert pod in source.all()
    assert source.changed.count == rung
    runtime.start()
    later = runtime.run("later")
    wait_for(lambda: later in source.all())

    assert pod in source.all()


def test_nothing_is_known_before_the_runtime_answers(runtime: Containerd):
    """An agent that starts while the runtime is down does not take its pods for ended."""
    runtime.kill()
    source = CriSandboxes((runtime.socket,), Changes())
    source.start()
    wait_for(lambda: source.failures > 0)
    assert not source.ready
    runtime.start()
    wait_for(lambda: source.ready)


def test_looking_costs_little(runtime: Containerd, source: CriSandboxes):
    """With nothing new a look is one call: no pod is asked for again."""
    pod = runtime.run("quiet")
    wait_for(lambda: pod in source.all())
    first = source.all()
    looks = source.looks
    wait_for(lambda: source.looks > looks + 2)

    assert source.all() is first
    assert Path(first[pod].netns).exists()
