"""A node with one CNI server and no controller, pods as namespaces, and the real shim called as runtimes call it.

  pod netns  tp<token>-<n>              slice netns  s-<vni>                  this process
+--------------------------+          +-----------------------+         +---------------------+
| eth0 (a veth, 10.244.…)  |          | p<8 hex> for each pod |         | AttachService,      |
| net1 ====================|==========|                       |         | CNI socket          |
+--------------------------+          +-----------------------+         +----------^----------+
                                                   `slicer` (installed executable)-+
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.agent.service import AttachService
from slicer.kernel import netns, podview
from slicer.model.attachments import PathHealth
from slicer.model.clusters import NodeBlocks
from slicer.model.documents import Document, key_of
from slicer.model.names import Prefix
from slicer.model.slices import Slice, SliceState

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
WAIT_S = 30.0


@dataclass
class Answer:
    """What one call of the executable left behind."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The one document on stdout."""
        return json.loads(self.stdout)

    def error(self, code: int) -> str:
        """The message of the error with this CNI code, which the call must have ended with."""
        assert self.code == 1, self
        assert self.json["code"] == code, self

        return self.json["msg"]

    def ok(self) -> Answer:
        """This answer, which must be a success."""
        assert self.code == 0, self

        return self


@dataclass
class Node:
    """The node under test."""

    state: Path
    run: Path
    executable: Path
    token: str
    view: dict[str, Document]
    paths: list[PathHealth] = field(default_factory=list)
    service: AttachService | None = None
    namespaces: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    enter: tuple[str, ...] = ()
    """What the executable is started through: a chroot, for example."""
    patience_s: float = 0.2
    starved: int = 0
    """How often an ADD said that it waits."""

    def start(self) -> None:
        """Start (or start again) the agent's attaching half in this process."""
        self.service = AttachService(
            state=self.state,
            run=self.run,
            cluster="a",
            node="a-n1",
            view=lambda: self.view,
            paths=lambda: self.paths,
            starved=self._count_starved,
            patience_s=self.patience_s,
        )

    def _count_starved(self) -> None:
        self.starved += 1

    def stop(self) -> None:
        """End it as SIGTERM does; what is attached stays."""
        if self.service:
            self.service.close()
            self.service = None

    def add_slice(self, name: str, blocks: tuple[str, ...], **spec: Any) -> str:
        """Put a slice into the view, with these blocks for the node; the name of its namespace, which is made."""
        wide = {4: 16, 6: 48}
        given = tuple(map(ipaddress.ip_network, blocks))
        prefixes = spec.pop("prefixes", None) or _widened(given, wide)
        vni = 0xC00000 + secrets.randbelow(0x3FFFFF)
        state = SliceState(spec=Slice(name=name, prefixes=prefixes, **spec), vni=vni, tunnel_set=1)
        self.put(state, NodeBlocks(slice=name, cluster="a", node="a-n1", blocks=given))
        self.make_netns(f"s-{vni:06x}")
        return f"s-{vni:06x}"

    def put(self, *values: Document) -> None:
        """Change the view."""
        self.view = {**self.view, **{key_of(value): value for value in values}}

    def slice_netns(self, name: str = "red") -> str:
        """Name of a slice's namespace."""
        return f"s-{self.view[f'slice/{name}'].vni:06x}"

    def make_netns(self, name: str) -> str:
        """A namespace that is removed at the end."""
        netns.create(name)
        self.namespaces.append(name)
        return name

    def pod(self, **options: Any) -> Pod:
        """A pod: a namespace with an eth0, not attached to anything of ours."""
        number = next(self.numbers)
        name = self.make_netns(f"tp{self.token}-{number}")
        sh(f"ip -n {name} link add eth0 type veth peer name other; ip -n {name} addr add 10.244.0.9/24 dev eth0")
        sh(f"ip -n {name} link set eth0 up; ip -n {name} link set other up")
        sh(f"ip -n {name} route add default via 10.244.0.1 dev eth0")
        return Pod(node=self, name=name, container=f"c{self.token}{number}", **options)

    def close(self) -> None:
        """Take everything away."""
        self.stop()
        for process in self.processes:
            process.kill()
            process.wait()
        for name in self.namespaces:
            netns.delete(name)


@dataclass
class Pod:
    """A pod as a runtime sees it."""

    node: Node
    name: str
    container: str
    namespace: str = "shop"

    @property
    def path(self) -> str:
        """CNI_NETNS."""
        return str(netns.path_of(self.name))

    def environment(self, command: str, interface: str = "net1", **changes: str | None) -> dict[str, str]:
        """What libcni and Multus set for a call; None takes a variable away."""
        environment: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "SLICER_CNI_SOCKET": str(self.node.run / "cni.sock"),
            "SLICER_CNI_TOMBSTONES": str(self.node.state / "tombstones"),
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.path,
            "CNI_IFNAME": interface,
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"IgnoreUnknown=true;K8S_POD_NAMESPACE={self.namespace};K8S_POD_NAME={self.name};"
            f"K8S_POD_INFRA_CONTAINER_ID={self.container};K8S_POD_UID=u1",
            **changes,
        }
        return {key: value for key, value in environment.items() if value is not None}

    def call(self, command: str, config: Any = None, interface: str = "net1", **environment: str | None) -> Answer:
        """Run the executable once."""
        stdin = (
            config if isinstance(config, bytes) else json.dumps(configuration() if config is None else config).encode()
        )
        process = subprocess.run(
            [*self.node.enter, self.node.executable],
            env=self.environment(command, interface, **environment),
            input=stdin,
            capture_output=True,
            check=False,
        )
        return Answer(process.returncode, process.stdout, process.stderr)

    def add(self, config: Any = None, interface: str = "net1", **environment: str | None) -> Answer:
        """ADD."""
        return self.call("ADD", config, interface, **environment)

    def delete(self, config: Any = None, interface: str = "net1", **environment: str | None) -> Answer:
        """DEL."""
        return self.call("DEL", config, interface, **environment)

    def contents(self) -> podview.Contents:
        """What is in the pod's namespace."""
        return podview.observe(self.path)


def configuration(version: str = "1.1.0", slice_name: str = "red", **changes: Any) -> dict[str, Any]:
    """A network configuration as Multus hands it on."""
    return {
        "cniVersion": version,
        "name": "slice-red",
        "type": "slicer",
        "capabilities": {"ips": True, "mac": True, "bandwidth": True},
        "slicer": {"slice": slice_name},
        **changes,
    }


def sh(command: str) -> str:
    """Output of a shell command, which must succeed."""
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; fail when it does not within WAIT_S."""
    deadline, pause = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        pause.wait(0.01)


def links_of(name: str) -> set[str]:
    """Names of the links in a namespace, without those that wait for their deletion."""
    return {link.name for link in podview.links(netns.path_of(name)) if link.group == 0}


def _widened(blocks: tuple[Prefix, ...], wide: dict[int, int]) -> tuple[Prefix, ...]:
    """One prefix a family that holds the blocks."""
    firsts = {block.version: block for block in reversed(blocks)}
    return tuple(
        block.supernet(new_prefix=wide[v]) if block.prefixlen > wide[v] else block
        for v, block in sorted(firsts.items())
    )
