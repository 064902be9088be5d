"""A machine of its own for one real `slicer-agent` whose controller is gone: network, mount and PID namespace.

      pod netns p1      slice netns s-00a001        machine (host netns)
    +-----------+     +----------------------+     +---------------------------------+
    | net1 =====|=====| p<8 hex>   lo: router|     | eth0 198.18.1.11, slicer-agent  |
    +-----------+     +----------------------+     +---------------------------------+

Killing the first process takes everything inside along.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slicer.model.documents import Document
from tests.conformance.alone import two_clusters, write_identity, write_view
from tests.conformance.node import Answer, configuration, eventually

SETUP = """
mount --make-rprivate / && mount -t tmpfs none /run && mkdir -p /run/slicer/sandboxes /run/netns /run/wireguard &&
mount --bind /run/netns /run/netns && mount --make-shared /run/netns &&
ip link set lo up && ip link add eth0 type veth peer name inet0 && ip link set eth0 up && ip link set inet0 up &&
ip addr add 198.18.1.11/16 dev eth0 && echo ready && exec sleep infinity
"""


class Machine:
    """One machine; `state` is the agent's state directory, kept between its starts."""

    def __init__(self, directory: Path, executable: Path, extra: Iterable[Document] = ()) -> None:
        self.state, self._executable, self._log = directory / "state", executable, directory / "agent.log"
        self.write_view(extra)
        write_identity(self.state)
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP]
        self._first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._first.stdout.readline() == "ready\n"
        self._enter = ["nsenter", "--target", str(_child(self._first.pid)), "--mount", "--net", "--pid"]
        self.agent: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End everything inside."""
        self._first.kill()
        self._first.wait()
        self._first.stdout.close()
        if self.agent:
            self.agent.wait()

    def write_view(self, extra: Iterable[Document] = ()) -> None:
        """What the agent finds at its next start: slice red over two clusters, and `extra`."""
        self.state.mkdir(parents=True, exist_ok=True)
        write_view(self.state, [*two_clusters(), *extra])

    def start(self) -> None:
        """Start the agent; returns when it answers calls."""
        program = str(Path(sys.executable).with_name("slicer-agent"))
        arguments = ["--state", str(self.state), "--node", "a-n1", "--address", "198.18.1.11"]
        with open(self._log, "ab") as log:
            self.agent = subprocess.Popen([*self._enter, program, *arguments], stderr=log)
        # A listener, not a file: a killed agent leaves its socket's name behind.
        complete = "ss -lxH | grep -q /run/slicer/cni.sock && ip -n t-01 route show 10.22.2.0/24 | grep nhid"
        eventually(lambda: self.run(complete, ok=False))

    def kill(self, number: signal.Signals) -> int:
        """Send a signal to the agent and wait for its end; its exit code."""
        os.kill(_child(self.agent.pid), number)  # nsenter stays outside the PID namespace and waits
        return self.agent.wait()

    def run(self, command: str, *, ok: bool = True) -> str:
        """Output of a shell command in the machine; empty if it failed and may."""
        done = subprocess.run([*self._enter, "sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not ok, f"{command}: {done.stderr}\n{self.log()}"
        return done.stdout if done.returncode == 0 else ""

    def background(self, command: str) -> subprocess.Popen[str]:
        """A shell command that runs on."""
        return subprocess.Popen([*self._enter, "sh", "-c", command], stdout=subprocess.PIPE, text=True)

    def cni(self, command: str, pod: str, config: Any = None) -> Answer:
        """One call of the real executable."""
        environment = f"CNI_COMMAND={command} CNI_CONTAINERID={pod} CNI_NETNS=/run/netns/{pod} CNI_IFNAME=net1"
        done = subprocess.run(
            [*self._enter, "env", *environment.split(), str(self._executable)],
            input=json.dumps(config or configuration()).encode(),
            capture_output=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def add_pod(self, name: str, **labels: str) -> None:
        """A running pod as the kubelet shows it."""
        sandbox = {"id": name, "namespace": "shop", "name": name, "labels": labels, "netns": f"/run/netns/{name}"}
        self.run(f"ip netns add {name}")
        self.run(f"echo '{json.dumps(sandbox)}' > /run/slicer/sandboxes/.new")
        self.run(f"mv /run/slicer/sandboxes/.new /run/slicer/sandboxes/{name}.json")

    def remove_pod(self, name: str) -> None:
        """A pod that ended, without anybody calling DEL."""
        self.run(f"rm /run/slicer/sandboxes/{name}.json; ip netns del {name}")

    def log(self) -> str:
        """What the agent logged."""
        return self._log.read_text()

    def events(self) -> list[str]:
        """The names of what the agent itself logged, in order."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines if line["logger"] == "slicer.agent"]


def _child(pid: int) -> int:
    """The one child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
