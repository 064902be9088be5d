"""Two clusters, brought up and taken down. It works in the network namespace of its caller, which becomes the router.

Meant to be run in `tools.sandbox`: whatever happens to the caller, its end ends every process, namespace and mount.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from slicer.lab import machines
from tests.kubernetes.lab import cgroups, control, images, node
from tests.kubernetes.lab.certificates import write_pair
from tests.kubernetes.lab.layout import Cluster, Layout, Node, render_router
from tools import gomodule, kubernetes
from tools.kubernetes import PROGRAMS
from tools.pins import read_pins
from tools.run import ToolError, say

MANIFESTS = Path(__file__).parent / "manifests"
PATIENCE_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can differ between labs."""

    names: tuple[str, ...] = ("a", "b")
    nodes: int = 2
    multus: str = "thick"
    """`thick`, `thin`, or empty for none."""


@dataclass(slots=True)
class Lab:
    """A lab on disk; `up` makes it live."""

    layout: Layout
    options: Options
    archives: list[Path] = field(default_factory=list)
    held: IO[str] | None = None
    """The lock that says that this lab's owner lives."""

    @property
    def group(self) -> str:
        return self.layout.root.name

    def up(self, progress: Callable[[str], None] = say) -> None:
        """Everything, until nodes, cluster DNS and Multus are ready."""
        started = time.monotonic()

        def report(text: str) -> None:
            progress(f"  {time.monotonic() - started:5.1f} s  {text}")

        need_everything()
        self.archives = images.provide(read_pins())
        node.batch(render_router(self.layout))
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for cluster in self.layout.clusters:
            self._start_control(cluster)
        report("control planes started")
        every = [(cluster, machine) for cluster in self.layout.clusters for machine in cluster.nodes]
        side_by_side(lambda pair: self._start_node(*pair), every)
        report("containerd has the small images on every node")
        for cluster in self.layout.clusters:
            control.wait_ready(cluster.plane)
            self._install(cluster)
        for cluster in self.layout.clusters:
            self._wait_nodes(cluster)
            report(f"{cluster.name}: nodes are ready")
        side_by_side(lambda pair: node.load(pair[1], self.archives[-1]), every)
        for cluster in self.layout.clusters:
            self._wait_system(cluster)
            report(f"{cluster.name}: cluster DNS and Multus are ready")

    def down(self) -> None:
        """Ends every process and removes every trace."""
        side_by_side(_pull_plug, [machine for cluster in self.layout.clusters for machine in cluster.machines])
        # The kernel takes its time with namespaces that ended; their cables need not wait for it.
        links = [each.port for c in self.layout.clusters for each in c.machines]
        for link in (*links, *(cluster.bridge for cluster in self.layout.clusters)):
            subprocess.run(("ip", "link", "del", link), capture_output=True, check=False)
        cgroups.remove(self.group)
        subprocess.run(("rm", "-rf", str(self.layout.root)), check=True)
        if self.held is not None:
            self.held.close()
            Path(self.held.name).unlink(missing_ok=True)

    def kubectl(self, cluster: str, *words: str, stdin: str = "", check: bool = True) -> str:
        """Output of kubectl; ToolError with its message if it fails and that matters."""
        done = self.try_kubectl(cluster, *words, stdin=stdin)
        if check and done.returncode:
            raise ToolError(f"kubectl ({cluster}) {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def try_kubectl(self, cluster: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """kubectl as administrator of a cluster."""
        argv = [str(PROGRAMS / "kubectl"), f"--kubeconfig={self.layout.cluster(cluster).plane.kubeconfig}", *words]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    def get(self, cluster: str, *words: str) -> Any:
        """What kubectl prints as JSON."""
        return json.loads(self.kubectl(cluster, "get", *words, "-o", "json"))

    def load(self, archive: Path, nodes: Iterable[Node] | None = None) -> None:
        """Imports an image archive into all nodes, or these."""
        wanted = nodes if nodes is not None else [each for c in self.layout.clusters for each in c.nodes]
        side_by_side(lambda each: node.load(each, archive), list(wanted))

    def stop_node(self, name: str) -> None:
        """Pulls a node's plug."""
        node.stop(self.layout.machine(name), self.group)

    def start_node(self, name: str) -> None:
        """Boots a stopped node: its disk is as it was, all else is gone."""
        machine = self.layout.machine(name)
        cluster = self.layout.cluster(machine.cluster)
        node.start(cluster, machine, self.group)
        node.start_kubelet(cluster, machine)

    def kubeconfig(self) -> str:
        """One kubeconfig with a context for each cluster, named like it."""
        merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": self.options.names[0]}
        for cluster in self.layout.clusters:
            one = json.loads(cluster.plane.kubeconfig.read_text())
            for kind in ("clusters", "users", "contexts"):
                merged.setdefault(kind, []).extend(one[kind])
        path = self.layout.root / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(merged))
        return str(path)

    def _start_control(self, cluster: Cluster) -> None:
        plane = cluster.plane
        plane.directory.mkdir(parents=True)
        authority = control.make_authority(plane)
        users = [("proxy", authority.issue("system:kube-proxy"))]
        for machine in cluster.nodes:
            who = (machine.name, machine.address)
            pair = authority.issue(f"system:node:{machine.name}", groups=("system:nodes",), reachable_as=who)
            write_pair(plane.directory / "pki", machine.name, pair)
            users.append((machine.name, pair))
        control.write_files(plane, authority, users)
        node.boot(cluster, cluster.control)
        # No kube-proxy here: webhooks are reached at their pods' addresses.
        apiserver = control.render_apiserver(plane, "--enable-aggregator-routing=true")
        for name, argv in (("etcd", control.render_etcd(plane)), ("apiserver", apiserver)):
            node.start_program(cluster.control, name, argv, {"PATH": "/usr/bin:/bin"})
        later = (("controller-manager", control.render_controller_manager), ("scheduler", control.render_scheduler))
        for name, render in later:
            node.start_program(cluster.control, name, render(plane), {"PATH": "/usr/bin:/bin"})

    def _start_node(self, cluster: Cluster, machine: Node) -> None:
        node.start(cluster, machine, self.group)
        for archive in self.archives[:-1]:
            node.load(machine, archive)
        node.start_kubelet(cluster, machine)

    def _install(self, cluster: Cluster) -> None:
        until(lambda: "system-node-critical" in self.kubectl(cluster.name, "get", "priorityclass", "-o", "name"),
               f"{cluster.name}: priority classes")  # fmt: skip
        names = ["coredns", *(("multus-common", f"multus-{self.options.multus}") if self.options.multus else ())]
        for name in names:
            self.kubectl(cluster.name, "apply", "-f", str(MANIFESTS / f"{name}.yaml"))

    def _wait_nodes(self, cluster: Cluster) -> None:
        until(lambda: len(self.get(cluster.name, "nodes")["items"]) == len(cluster.nodes), f"{cluster.name}: nodes")
        self.kubectl(cluster.name, "wait", "nodes", "--all", "--for=condition=Ready", f"--timeout={PATIENCE_S:.0f}s")
        for each in cluster.nodes:
            ranges = json.dumps({"spec": {"podCIDR": each.pods, "podCIDRs": [each.pods]}})
            self.kubectl(cluster.name, "patch", "node", each.name, "-p", ranges)

    def _wait_system(self, cluster: Cluster) -> None:
        for each in ("deployment/coredns", *(("daemonset/kube-multus-ds",) if self.options.multus else ())):
            words = ("rollout", "status", each, f"--timeout={PATIENCE_S:.0f}s")
            self.kubectl(cluster.name, "-n", "kube-system", *words)


def open_lab(root: Path, options: Options) -> Lab:
    """A lab that somebody else holds."""
    return Lab(layout=Layout(root=root, names=options.names, node_count=options.nodes), options=options)


def make_lab(options: Options) -> Lab:
    """A lab's directory, on disk (containerd's images are large); leftovers of killed ones are removed first."""
    place = gomodule.cache_directory() / "labs"
    place.mkdir(parents=True, exist_ok=True)
    _remove_dead(place)
    root = Path(tempfile.mkdtemp(prefix="k", dir=place))
    held = open(place / f"{root.name}.lock", "w")  # noqa: SIM115
    fcntl.flock(held, fcntl.LOCK_EX)
    lab = open_lab(root, options)
    lab.held = held
    return lab


def need_everything() -> None:
    """ToolError that names what is missing, and the cure."""
    absent = kubernetes.missing(read_pins())
    if absent:
        raise ToolError(f"missing: {' '.join(absent)}; run `make setup-kubernetes`")


def side_by_side(do: Callable[[Any], None], wanted: Sequence[Any]) -> None:
    """`do` for all of them at once; the first error is raised after all have ended."""
    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(do, each) for each in wanted]:
            result.result()


def until(condition: Callable[[], object], what: str, seen: Callable[[], object] = str) -> None:
    """Waits until the condition is true; ToolError with what it said last (and `seen`) if it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
            last = "not yet"
        except ToolError as error:
            last = str(error)
        if time.monotonic() > deadline:
            raise ToolError(f"{what}: not there after {PATIENCE_S:.0f} s: {last} {seen()}")
        time.sleep(0.3)


def _pull_plug(machine: Node) -> None:
    record = machines.read_record(machine.directory)
    if record is not None:
        machines.kill(record)


def _remove_dead(place: Path) -> None:
    for lock in place.glob("*.lock"):
        with ExitStack() as stack:
            held = stack.enter_context(open(lock))
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            cgroups.remove(lock.stem)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
