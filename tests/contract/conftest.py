"""Real controllers on loopback (hub and members as processes, TLS and all) and agents made of slicer.client.

      slicectl's Api ──► hub 127.0.0.1:p ◄── member a ◄── agent a-n1
                                         ◄── member b ◄── agent b-n1

Nothing here waits for time: for a line in a log, a document in a view, an answer.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from slicer.client.follow import Follower
from slicer.client.identity import Identity, load_or_join
from slicer.client.report import Reporter
from slicer.client.rest import Api
from slicer.model.attachments import Attachment, AttachmentState
from slicer.model.clusters import Node, TunnelEndpoint
from slicer.model.documents import Document, Documents, key_of
from tests.contract.preloaded import Preloaded

WAIT_S = 90
"""A test that waits this long has failed; nothing succeeds by it."""


class Controller:
    """A slicer-controller process, its state directory and its log."""

    def __init__(self, directory: Path, port: int, *arguments: str) -> None:
        self.directory, self.port, self.arguments = directory, port, arguments
        self.url = f"https://127.0.0.1:{port}"
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.lines.clear()
        listen = f"127.0.0.1:{self.port}"
        options = ["--state", str(self.directory), "--listen", listen, *self.arguments]
        self.process = Preloaded(options)
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self.wait_log("serving")

    def wait_log(self, event: str) -> dict[str, Any]:
        """The first line with this event since the start."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line.get("event") == event]

        with self._news:
            assert self._news.wait_for(lambda: found() or self.process.poll() is not None, WAIT_S), self.lines
        assert found(), self.lines
        return found()[0]

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def api(self, token: str | None = None) -> Api:
        """A user's client; with the administrator's token if no other is given."""
        real = (self.directory / "admin.token").read_text().strip()
        return Api(self.url, self.directory / "ca.pem", real if token is None else token)

    def metrics(self, token: str | None = None) -> httpx.Response:
        """The answer to GET /metrics; with the administrator's token if no other is given."""
        shown = token or (self.directory / "admin.token").read_text().strip()
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        return httpx.get(f"{self.url}/metrics", verify=context, headers={"Authorization": f"Bearer {shown}"})

    def token(self, kind: str, name: str, ttl_s: int = 600) -> str:
        """A join token."""
        with self.api() as api:
            return str(api.create("join-tokens", {"kind": kind, "name": name, "ttl_s": ttl_s})["status"]["token"])

    def _end(self, number: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return status

    def _read(self, process: Preloaded) -> None:
        with process.stderr:
            for line in process.stderr:
                with self._news:
                    self.lines.append(json.loads(line) if line.startswith("{") else {"event": line})
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()


class Agent:
    """What an agent is to the control plane: it follows a view and reports documents."""

    def __init__(self, identity: Identity, directory: Path) -> None:
        self.identity, self._news = identity, threading.Condition()
        self.told: list[Documents] = []
        self.reported: dict[str, Document] = {}
        kind = {"node": "node", "dns": "zone"}[identity.kind]
        self.follower = Follower(identity, f"/v1/views/{kind}", directory / "view.json", self._tell)
        self.reporter = Reporter(identity, "/v1/reports/node")
        self.follower.start()
        self.reporter.start()

    def report(self, *documents: Document, without: tuple[str, ...] = ()) -> None:
        """These documents are now in the report, `without` are not any more."""
        self.reported |= {key_of(value): value for value in documents}
        for key in without:
            del self.reported[key]
        self.reporter.publish(self.reported)

    def wait(self, wanted: Callable[[Documents], Any]) -> Documents:
        """The first view that is as wanted."""
        with self._news:
            assert self._news.wait_for(lambda: wanted(self.follower.view), WAIT_S), sorted(self.follower.view)
            return self.follower.view

    def wait_key(self, key: str) -> Any:
        """The document under a key, as soon as the view has it."""
        return self.wait(lambda view: key in view)[key]

    def stop(self) -> None:
        """End both threads."""
        self.follower.stop()
        self.reporter.stop()

    def _tell(self, view: Documents) -> None:
        with self._news:
            self.told.append(view)
            self._news.notify_all()


class ControlPlane:
    """A hub, members and agents in one directory; all of it ends with the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hub = self._controller("hub", "--role", "hub")
        self.members: dict[str, Controller] = {}
        self.agents: list[Agent] = []

    def _controller(self, name: str, *arguments: str) -> Controller:
        return Controller(self.directory / name, free_port(), *arguments)

    def member(self, name: str, *arguments: str) -> Controller:
        """A member of the hub, joined and synced."""
        file = self.directory / f"{name}.token"
        file.write_text(self.hub.token("cluster", name))
        arguments = ("--role", "member", "--cluster", name, "--join-token-file", str(file), *arguments)
        self.members[name] = self._controller(name, *arguments)
        self.members[name].wait_log("view synced")
        return self.members[name]

    def identity(self, cluster: str, name: str, kind: str = "node") -> Identity:
        """A joined identity."""
        token = self.members[cluster].token(kind, name)
        return load_or_join(self.directory / f"identity-{name}", token)

    def agent(self, cluster: str, name: str, kind: str = "node") -> Agent:
        """An agent that follows and has reported its node (or a DNS server that only follows)."""
        agent = Agent(self.identity(cluster, name, kind), self.directory / f"identity-{name}")
        self.agents.append(agent)
        if kind == "node":
            agent.report(node(cluster, name))
        return agent

    def close(self) -> None:
        """End everything."""
        for agent in self.agents:
            agent.stop()
        for controller in (*self.members.values(), self.hub):
            controller.kill()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node(cluster: str, name: str, *, port: int = 51820) -> Node:
    """A gateway-capable node."""
    key = "A" * 42 + "A="
    return Node(
        cluster=cluster,
        name=name,
        addresses=(ipaddress.ip_address("198.18.1.11"),),
        vtep_mac="02:00:00:00:00:01",
        wireguard="kernel",
        tunnels=(TunnelEndpoint(tunnel_set=0, index=0, public_key=key, port=port),),
    )


def attachment(cluster: str, node_name: str, pod: str, address: str, *, slice_: str = "red") -> Attachment:
    """An attached pod of namespace `shop`, labelled `app=web`."""
    return Attachment(
        container_id=f"c-{pod}",
        interface="net1",
        slice=slice_,
        cluster=cluster,
        node=node_name,
        namespace="shop",
        pod=pod,
        labels=(("app", "web"),),
        netns="/run/netns/x",
        addresses=(ipaddress.ip_address(address),),
        mac="02:00:00:00:00:02",
        host_interface="p00000001",
        mtu=1420,
        state=AttachmentState.ATTACHED,
    )


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A hub alone; tests add what they need."""
    made = ControlPlane(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A hub and members a and b for tests that leave nothing behind."""
    made = ControlPlane(tmp_path_factory.mktemp("plane"))
    made.member("a", "--cidr", "10.244.0.0/16")
    made.member("b")
    yield made
    made.close()


@pytest.fixture
def make_attachment() -> Callable[..., Attachment]:
    """Builds attached pods."""
    return attachment


@pytest.fixture
def make_node() -> Callable[..., Node]:
    """Builds nodes."""
    return node
