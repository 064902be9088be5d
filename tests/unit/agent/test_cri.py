"""What is read out of a container runtime's answers, and what an agent does before there are any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from slicer.agent import cri
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


@pytest.mark.parametrize(
    ("ready", "unclear", "detached"),
    [(False, (), []), (True, (), ["c1"]), (True, ("c2",), ["c1"]), (True, ("c1",), [])],
)
def test_no_pod_has_ended_before_the_runtime_said_so(ready: bool, unclear: tuple[str, ...], detached: list[str]):
    """While the runtime is down, or lists a pod and cannot describe it, what memberships attached is kept."""
    from tests.unit.agent.test_parts import attachment, view

    gone: list[str] = []
    record = SimpleNamespace(key=("c1", "net1"), attachment=attachment(by=AttachedBy.MEMBERSHIP))
    journal = SimpleNamespace(all=list, attachments=lambda: [record.attachment])
    attacher = SimpleNamespace(journal=journal, changed=Changes(), detach=lambda key: gone.append(key[0]))
    pods = Pods(
        service=SimpleNamespace(attacher=attacher, sweep=lambda: None),  # type: ignore[arg-type]
        sandboxes=SimpleNamespace(ready=ready, unclear=frozenset(unclear), all=dict),  # type: ignore[arg-type]
        view=view,
        cluster="a",
        node="a-n1",
        changed=Changes(),
    )
    pods.look()

    assert gone == detached


class Told:
    """A runtime with pods `good` and what `bad` answers; stands in for the class Runtime."""

    def __init__(self, bad: Callable[[], Any]) -> None:
        self.bad, self.asked, self.listed = bad, {"good": 0, "bad": 0}, ["bad", "good"]
        self.done: Callable[[], bool] = lambda: True

    def __call__(self, _socket: Path) -> Told:
        return self

    def close(self) -> None:
        """Nothing is open."""

    async def ready(self) -> list[Any]:
        if self.done():
            raise asyncio.CancelledError
        found = [item() for _ in self.listed]
        for one, name in zip(found, self.listed, strict=True):
            one.id = name
        return found

    async def status(self, container_id: str) -> Any:
        self.asked[container_id] += 1
        return self.bad() if container_id == "bad" else status(CRIO)


def follow(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, until: Callable[[CriSandboxes], bool]) -> Any:
    """A source that follows this runtime until the condition holds."""
    monkeypatch.setattr(cri, "Runtime", told)
    monkeypatch.setattr(cri, "POLL_S", 0.001)
    monkeypatch.setattr(cri, "RETRY_S", 0.001)
    monkeypatch.setattr(cri, "UNCLEAR_S", (0.001, 0.002))
    source = CriSandboxes((tmp_path,), Changes())
    told.done = lambda: until(source)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(source.follow())
    return source


def raising(*errors: Exception | None) -> Callable[[], Any]:
    """Raises these in turn, the last for ever; None: answers."""
    left = list(errors)

    def answer() -> Any:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error
        return status(CRIO)

    return answer


@pytest.mark.parametrize(
    "error", [GRPCError(Status.INTERNAL, "broken"), TimeoutError(), InvalidError("nobody names its namespace")]
)
def test_a_sandbox_that_cannot_be_described_hides_no_other(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The others are seen, nobody connects anew, and it is known to run."""
    told = Told(raising(error))
    source = follow(told, monkeypatch, tmp_path, lambda source: source.looks > 5 and told.asked["bad"] > 3)

    assert list(source.all()) == ["good"]
    assert source.unclear == {"bad"}
    assert (source.ready, source.failures, told.asked["good"]) == (True, 0, 1)


def test_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What was in the way is often over soon."""
    told = Told(raising(GRPCError(Status.UNKNOWN, "busy"), TimeoutError(), None))
    source = follow(told, monkeypatch, tmp_path, lambda source: len(source.all()) == 2)

    assert source.unclear == frozenset()
    assert told.asked == {"bad": 3, "good": 1}


def test_one_that_is_gone_is_unclear_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What the runtime lists no more has ended, whether it was ever described or not."""
    told = Told(raising(GRPCError(Status.UNKNOWN, "busy")))

    def gone(source: CriSandboxes) -> bool:
        if source.unclear and "bad" in told.listed:
            told.listed.remove("bad")
        return "bad" not in told.listed and not source.unclear

    source = follow(told, monkeypatch, tmp_path, gone)

    assert list(source.all()) == ["good"]


def test_no_surprise_ends_the_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Whatever a library raises: it is counted, and the runtime is asked again."""
    told = Told(raising(KeyError("x"), DecodeError("y"), None))
    source = follow(told, monkeypatch, tmp_path, lambda source: len(source.all()) == 2)

    assert source.failures == 2
