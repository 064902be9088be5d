"""A lab for the benchmarks: built, used, taken down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slicer.lab import building, machines, rest, workloads
from slicer.lab.layout import Layout
from tools.run import say

NAME = "bench"
NAMESPACE = "bench"
PATIENCE_S = 30.0


class BenchError(Exception):
    """Something that a benchmark started did not do what it should; the message has its output."""


class Lab:
    """A running lab, as the benchmarks use it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def create_slice(self, name: str, prefix: str, **fields: object) -> None:
        """Declares a slice over all clusters by REST."""
        with rest.opened(self.layout, self.layout.machine("hub")) as api:
            api.create("slices", {"name": name, "prefixes": [prefix], **fields})

    def items(self, collection: str, **filters: str) -> list[dict[str, Any]]:
        """The resources of a collection of the hub."""
        with rest.opened(self.layout, self.layout.machine("hub")) as api:
            return api.list(collection, **filters)

    def pod(self, name: str, node: str, *slices: str) -> str:
        """Starts a pod that sleeps, on `node`, opted in to `slices`; its name for `run`."""
        cluster = self.layout.machine(node).cluster
        annotations = {"slicer.io/slices": ",".join(slices)} if slices else {}
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}, "annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "none", "command": ["sleep", "infinity"]}]},
        }
        workloads.run(self.layout, cluster, [manifest], [], node)
        return f"{cluster}/{NAMESPACE}/{name}"

    def argv(self, where: str, *words: str) -> list[str]:
        """The command line that runs `words` in a pod or on a machine."""
        return workloads.exec_argv(self.layout, where, list(words))

    def run(self, where: str, *words: str, timeout_s: float = 60) -> str:
        """The output of `words` run in a pod or on a machine; BenchError if it fails."""
        return capture(self.argv(where, *words), timeout_s=timeout_s)

    def address(self, pod: str, interface: str = "net1") -> str:
        """The IPv4 address of a pod's interface, as its kernel has it; BenchError if it has none."""
        found = json.loads(self.run(pod, "ip", "-json", "-4", "addr", "show", "dev", interface))
        # While an interface is taken away, ip lists it without addresses, as an empty object, or not at all.
        addresses = [info["local"] for link in found for info in link.get("addr_info", ())]
        if not addresses:
            raise BenchError(f"{pod} has no IPv4 address on {interface}")
        return str(addresses[0])

    def python(self, machine: str, module: str, job: object, timeout_s: float) -> Any:
        """What `python -m module`, run on a machine with `job` as JSON on stdin, prints as JSON."""
        argv = self.argv(machine, sys.executable, "-m", module)
        return json.loads(capture(argv, stdin=json.dumps(job), timeout_s=timeout_s))

    def slicectl(self, *words: str, timeout_s: float = 60) -> str:
        """The output of slicectl on the machine of the lab; BenchError if it fails."""
        context = {"SLICER_CONFIG": str(self.layout.directory / "slicectl.yaml"), "SLICER_LAB": NAME}
        argv = [str(Path(sys.executable).with_name("slicectl")), *words]
        return capture(argv, timeout_s=timeout_s, env={**os.environ, **context})

    def reach(self, pod: str, address: str) -> None:
        """Returns once `pod` gets an answer from `address`; BenchError if it does not in PATIENCE_S."""
        argv = self.argv(pod, "ping", "-n", "-c", "1", "-W", "1", address)
        until(
            lambda: subprocess.run(argv, capture_output=True, check=False).returncode == 0, f"{pod} reaches {address}"
        )

    def forget_node(self, node: str) -> None:
        """Deletes a node at its cluster's member, as one that is gone for good, whether it has noticed that or not."""
        cluster = self.layout.machine(node).cluster
        with rest.opened(self.layout, self.layout.machine(f"{cluster}-cp")) as api:
            api.request("DELETE", f"/v1/nodes/{cluster}/{node}", params={"force": "true"})

    def pid(self, machine: str) -> int:
        """The process that holds a machine's namespaces."""
        return machines.require(self.layout.directory_of(self.layout.machine(machine))).pid


@contextmanager
def running(
    clusters: tuple[str, ...] = ("a", "b"), nodes: int = 2, agent_options: tuple[str, ...] = ()
) -> Iterator[Lab]:
    """A fresh lab; it is removed at the end, whatever happened."""
    layout = Layout(name=NAME, clusters=clusters, nodes=nodes, agent_options=agent_options)
    say(f"building a lab: clusters {','.join(clusters)}, {nodes} nodes each")
    try:
        building.up(layout, lambda _: None)
        yield Lab(layout)
    finally:
        building.down(NAME, lambda _: None)


def capture(argv: Sequence[str], *, stdin: str = "", timeout_s: float, env: dict[str, str] | None = None) -> str:
    """The output of a command; BenchError with all that it said if it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False, env=env)
    if done.returncode != 0:
        said = (done.stdout[-2000:] + done.stderr[-2000:]).strip() or "it said nothing"
        raise BenchError(f"{' '.join(argv)}: exit {done.returncode}: {said.splitlines()[-1]}\nIn full:\n{said}")
    return done.stdout


def until(condition: Callable[[], bool], what: str, *, pause_s: float = 0.005) -> float:
    """Seconds until `condition` held; BenchError naming `what` if it does not in PATIENCE_S."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > PATIENCE_S:
            raise BenchError(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(pause_s)
    return time.monotonic() - started
