"""What is read out of a container runtime's answers, and what an agent does before there are any."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slicer.agent.agent import sandbox_source
from slicer.agent.changes import Changes
from slicer.agent.cri import CriSandboxes
from slicer.agent.cri_client import MESSAGES, sandbox_of
from slicer.agent.pods import Pods
from slicer.agent.sandboxes import SandboxDirectory
from slicer.agent.settings import parse_command_line, parse_settings
from slicer.model.attachments import AttachedBy
from slicer.model.errors import InvalidError

NAMESPACES = [{"type": "pid"}, {"type": "network", "path": "/run/netns/n1"}]
CRIO = {"image": "pause", "pid": 7, "runtimeSpec": {"linux": {"namespaces": NAMESPACES}}}
PATHLESS = {"runtimeSpec": {"linux": {"namespaces": [{"type": "network"}]}}}


def item(**labels: str) -> Any:
    """A PodSandbox, having been on the wire."""
    pairs = [MESSAGES["Pair"](key=key.replace("__", "/"), value=value) for key, value in labels.items()]
    metadata = MESSAGES["PodSandboxMetadata"](name="web", uid="u", namespace="shop")
    message = MESSAGES["PodSandbox"](id="c1", metadata=metadata, labels=pairs)
    return MESSAGES["PodSandbox"].FromString(message.SerializeToString())


def status(info: Any, network: int = 0) -> Any:
    """A PodSandboxStatusResponse."""
    options = MESSAGES["NamespaceOption"](network=network)
    linux = MESSAGES["LinuxPodSandboxStatus"](namespaces=MESSAGES["Namespace"](options=options))
    pairs = [MESSAGES["Pair"](key="info", value=info if isinstance(info, str) else json.dumps(info))]
    return MESSAGES["PodSandboxStatusResponse"](status=MESSAGES["PodSandboxStatus"](linux=linux), info=pairs)


def test_a_sandbox_has_the_pods_own_labels_only():
    """The kubelet's labels, which repeat name, namespace and uid, are left out."""
    pod = MESSAGES["Pair"](key="io.kubernetes.pod.name", value="web")
    given = item(tier="1", app="web")
    given.labels.append(pod)
    found = sandbox_of(given, status(CRIO))

    assert found is not None
    assert (found.container_id, found.namespace, found.name, found.uid) == ("c1", "shop", "web", "u")
    assert found.labels == (("app", "web"), ("tier", "1"))
    assert found.netns == "/run/netns/n1"


def test_a_pod_on_the_nodes_network_has_no_sandbox_here():
    """NamespaceMode NODE, with or without a path."""
    assert sandbox_of(item(), status(CRIO, network=2)) is None


@pytest.mark.parametrize("info", ["", "{", "[]", "{}", {"runtimeSpec": None}, PATHLESS])
def test_a_runtime_that_names_no_namespace_is_refused(info: Any):
    """Whatever else stands there, the message names the pod sandbox."""
    with pytest.raises(InvalidError, match="no network namespace of pod sandbox c1"):
        sandbox_of(item(), status(info))


def test_the_runtime_is_asked_only_where_a_socket_is_given(tmp_path: Path):
    """Without --cri-socket the sandboxes are files, as in the lab."""
    words = ["--node", "n1", "--address", "10.0.0.1", "--run", str(tmp_path)]
    files = sandbox_source(parse_settings(parse_command_line(words)), Changes())
    more = ["--cri-socket", "/run/crio/crio.sock", "--cri-socket", "/run/containerd/containerd.sock"]
    asked = sandbox_source(parse_settings(parse_command_line([*words, *more])), Changes())

    assert isinstance(files, SandboxDirectory)
    assert isinstance(asked, CriSandboxes)
    assert not asked.ready


@pytest.mark.parametrize(("ready", "detached"), [(False, []), (True, ["c1"])])
def test_no_pod_has_ended_before_the_runtime_answered(ready: bool, detached: list[str]):
    """An agent that starts while the runtime is down keeps what memberships attached."""
    from tests.unit.agent.test_parts import attachment, view

    gone: list[str] = []
    record = SimpleNamespace(key=("c1", "net1"), attachment=attachment(by=AttachedBy.MEMBERSHIP))
    journal = SimpleNamespace(all=list, attachments=lambda: [record.attachment])
    attacher = SimpleNamespace(journal=journal, changed=Changes(), detach=lambda key: gone.append(key[0]))
    pods = Pods(
        service=SimpleNamespace(attacher=attacher, sweep=lambda: None),  # type: ignore[arg-type]
        sandboxes=SimpleNamespace(ready=ready, all=dict),  # type: ignore[arg-type]
        view=view,
        cluster="a",
        node="a-n1",
        changed=Changes(),
    )
    pods.look()

    assert gone == detached
