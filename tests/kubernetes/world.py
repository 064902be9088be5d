"""Two real Kubernetes clusters as a world for scenarios: everything by kubectl and slicectl, as users do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.scenario import Json
from tests.kubernetes.lab.cluster import Lab, until
from tests.kubernetes.lab.node import kill_program
from tools.kubernetes import PROGRAMS

SLICECTL = str(Path(sys.executable).parent / "slicectl")
PARTS = {
    "agent": ("slicer-system", "app.kubernetes.io/component=agent"),
    "controller": ("slicer-system", "app.kubernetes.io/component=controller"),
    "dns": ("slicer-system", "app.kubernetes.io/component=dns"),
    "multus": ("kube-system", "app=multus"),
}
"""What a scenario calls a part that is a pod → its namespace and selector."""
PROGRAMS_OF_NODES = ("kubelet", "containerd", "kube-proxy")


class KubernetesWorld:
    """Pods are Kubernetes'; a part is a pod of ours, or a program of a node."""

    kind = "kubernetes"
    patience_s = 240.0

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        own = {"KUBECONFIG": lab.kubeconfig(), "SLICER_CONFIG": str(lab.layout.root / "slicectl.yaml"), "PATH": path}
        self.env = {**os.environ, **own, "NO_COLOR": "1", "COLUMNS": "200"}

    def install(self) -> None:
        """The two commands of the README. The hub is reached at a node's address and a port of every node."""
        first, *others = self._lab.layout.clusters
        where = ("--hub-address", first.nodes[0].address, "--hub-port", "30443")
        token = self.slicectl("install", "--context", first.name, "--hub", *where, "-o", "token").strip()
        for cluster in others:
            self.slicectl("install", "--context", cluster.name, "--join", token)

    def slicectl(self, *argv: str) -> str:
        done = self.try_slicectl(*argv)
        assert done.returncode == 0, f"slicectl {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def try_slicectl(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """slicectl with both clusters in its kubeconfig; the finished process."""
        return subprocess.run([SLICECTL, *argv], capture_output=True, text=True, env=self.env, check=False, timeout=300)

    def apply(self, cluster: str, objects: Sequence[Json]) -> None:
        for namespace in sorted({each["metadata"]["namespace"] for each in objects}):
            self._make_namespace(cluster, namespace)
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self._lab.kubectl(cluster, "apply", "-f", "-", stdin=items)

    def delete(self, cluster: str, namespace: str, app: str, *, force: bool) -> None:
        how = ("--force", "--grace-period=0") if force else ()
        words = ("delete", "deployment,statefulset,pod", "-l", f"app={app}", "--ignore-not-found", "--wait", *how)
        self._lab.kubectl(cluster, "-n", namespace, *words)
        until(lambda: not self._all_pods(cluster, namespace, app), f"{cluster}/{app}: its pods are gone")

    def pods(self, cluster: str, namespace: str, app: str) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self._running(cluster, namespace, app))

    def exec(self, cluster: str, namespace: str, pod: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self._lab.try_kubectl(cluster, "-n", namespace, "exec", pod, "--", *argv)

    def network_statuses(self, cluster: str, namespace: str, app: str) -> list[list[Json]]:
        found = sorted(self._running(cluster, namespace, app), key=lambda pod: str(pod["metadata"]["name"]))
        annotations = [pod["metadata"].get("annotations", {}) for pod in found]
        return [json.loads(each.get("k8s.v1.cni.cncf.io/network-status", "[]")) for each in annotations]

    def strike(self, verb: str, part: str, where: str) -> None:
        if part == "node":
            (self._lab.stop_node if verb == "stop" else self._lab.start_node)(where)
        elif part in PROGRAMS_OF_NODES or where.endswith("-cp"):
            assert verb == "kill", f"{verb} {part}: the machine starts it again by itself"
            kill_program(self._lab.layout.machine(where), part)
        elif verb == "kill":
            self._kill_pods(part, where)
        else:
            self._scale_hub(1 if verb == "start" else 0, part)

    def cleanup(self, namespace: str) -> None:
        for cluster in self._lab.options.names:
            self._lab.kubectl(cluster, "delete", "namespace", namespace, "--ignore-not-found", "--wait")

    def _kill_pods(self, part: str, where: str) -> None:
        """A pod dies without a word; its controller makes another."""
        namespace, selector = PARTS[part]
        cluster = where.partition("-")[0]
        there = (f"--field-selector=spec.nodeName={where}",) if "-n" in where else ()
        words = ("delete", "pod", "-l", selector, *there, "--force", "--grace-period=0")
        self._lab.kubectl(cluster, "-n", namespace, *words)

    def _scale_hub(self, replicas: int, part: str) -> None:
        """The controller of the first cluster is hub (and its member)."""
        assert part == "hub", f"only the hub can be stopped and started, not {part!r}"

        def kubectl(*words: str) -> None:
            self._lab.kubectl(self._lab.options.names[0], "-n", "slicer-system", *words)

        kubectl("scale", "deployment/slicer-controller", f"--replicas={replicas}")
        if replicas:
            kubectl("rollout", "status", "deployment/slicer-controller", "--timeout=120s")
        else:
            kubectl("wait", "pod", "-l", PARTS["controller"][1], "--for=delete", "--timeout=120s")

    def _make_namespace(self, cluster: str, name: str) -> None:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self._lab.kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(manifest))

    def _running(self, cluster: str, namespace: str, app: str) -> list[Json]:
        return [pod for pod in self._all_pods(cluster, namespace, app) if _is_running(pod)]

    def _all_pods(self, cluster: str, namespace: str, app: str) -> list[Json]:
        return list(self._lab.get(cluster, "-n", namespace, "pods", "-l", f"app={app}")["items"])


def _is_running(pod: Json) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
