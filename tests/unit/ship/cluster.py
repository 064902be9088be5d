"""A cluster that is a dictionary: objects are kept as applied, pods of Deployments and DaemonSets are ready at once.

What a real API server does with the same objects is tested in tests/kubernetes/test_manifests.py.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slicer.cli.install.cluster import KINDS
from slicer.cli.install.manifests import Object

Key = tuple[str, str, str]
FIELD = "app.kubernetes.io/component"


@dataclass
class FakeCluster:
    """The seam `Cluster`, and what the tests ask of it."""

    name: str = "a"
    objects: dict[Key, Object] = field(default_factory=dict)
    told: tuple[int, int] = (1, 30)
    ready: bool = True
    """Whether pods become ready."""
    calls: list[str] = field(default_factory=list)
    on_delete: Callable[[Object], bool] = lambda found: True
    """Whether an object that is deleted goes."""

    def version(self) -> tuple[int, int]:
        return self.told

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        found = self.objects.get((kind, namespace if KINDS[kind].namespaced else "", name))
        return copy.deepcopy(self._with_status(found)) if found else None

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        wanted = dict(pair.split("=") for pair in selector.split(",")) if selector else {}
        return [
            copy.deepcopy(found)
            for (of, space, _), found in sorted(self.objects.items())
            if of == kind and namespace in {"", space}
            and wanted.items() <= found["metadata"].get("labels", {}).items()
        ]  # fmt: skip

    def apply(self, wanted: Object) -> None:
        head = wanted["metadata"]
        self.calls.append(f"apply {wanted['kind']} {head['name']}")
        self.objects[wanted["kind"], head.get("namespace", ""), head["name"]] = copy.deepcopy(wanted)
        if (wanted["kind"], head["name"]) == ("Deployment", "slicer-controller"):
            self._controller_starts()

    def patch(self, kind: str, name: str, namespace: str, change: Object) -> None:
        self.calls.append(f"patch {kind} {name}")
        if found := self.objects.get((kind, namespace, name)):
            _merge(found, change)
            if found["metadata"].get("deletionTimestamp") and not found["metadata"].get("finalizers"):
                del self.objects[kind, namespace, name]

    def delete(self, kind: str, name: str, namespace: str = "") -> bool:
        key = (kind, namespace if KINDS[kind].namespaced else "", name)
        self.calls.append(f"delete {kind} {name}")
        found = self.objects.get(key)
        if found is None:
            return False
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = "now"
        elif self.on_delete(found) and not self._holds(kind, name):
            del self.objects[key]
            self._take_along(kind, name)
        return True

    def run(self, pod: str, namespace: str, argv: Sequence[str], stdin: str) -> str:
        given = json.loads(stdin)
        self.calls.append(f"run {pod} {given['spec']['name']}")
        assert given["token"] == "admin"

        return json.dumps({"status": {"token": "slicer1.made"}})

    def put(self, kind: str, name: str, namespace: str = "", **more: Any) -> None:
        """An object that somebody else made."""
        labels, annotations = more.pop("labels", {}), more.pop("annotations", {})
        head = {"name": name, "labels": labels, "annotations": annotations, "finalizers": more.pop("finalizers", [])}
        if namespace:
            head["namespace"] = namespace
        self.objects[kind, namespace, name] = {"kind": kind, "metadata": head, **more}

    def kinds(self) -> set[str]:
        """Kinds and names of everything that is there."""
        return {f"{kind} {name}" for kind, _, name in self.objects}

    def _controller_starts(self) -> None:
        if self.ready:
            labels = {FIELD: "controller"}
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            self.put("Pod", "slicer-controller-1", "slicer-system", labels=labels, status=ready)
            self.put("ConfigMap", "slicer-ca", "slicer-system", data={"ca.pem": "CA"})
            self.put("Secret", "slicer-controller-state", "slicer-system", data={"admin.token": "YWRtaW4K"})

    def _holds(self, kind: str, name: str) -> bool:
        """Whether a definition waits for an object of its kind that somebody's finalizer keeps."""
        kept = [of for (of, _, _), found in self.objects.items() if found["metadata"].get("finalizers")]
        return kind == "CustomResourceDefinition" and name in {f"{KINDS[of].plural}.slicer.io" for of in kept}

    def _take_along(self, kind: str, name: str) -> None:
        """What a deletion deletes as well: pods, the content of a namespace, the objects of a definition."""
        if (kind, name) == ("Deployment", "slicer-controller"):
            self.objects.pop(("Pod", "slicer-system", "slicer-controller-1"), None)
        for key in list(self.objects):
            of, space, _ = key
            if (kind == "Namespace" and space == name) or (
                kind == "CustomResourceDefinition" and f"{KINDS[of].plural}.slicer.io" == name
            ):
                del self.objects[key]

    def _with_status(self, found: Object) -> Object:
        wanted = 1 if self.ready else 0
        if found["kind"] == "CustomResourceDefinition":
            return {**found, "status": {"conditions": [{"type": "Established", "status": "True"}]}}
        if found["kind"] == "DaemonSet":
            status = {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": wanted}
        elif found["kind"] == "Deployment":
            count = found["spec"].get("replicas", 1)
            status = {"replicas": count, "updatedReplicas": count, "readyReplicas": count * wanted}
        elif found["kind"] == "Service":
            return {**found, "spec": {"clusterIPs": ["10.96.9.9"], **found["spec"]}}
        else:
            return found
        head = {**found["metadata"], "generation": 1}
        return {**found, "metadata": head, "status": {**status, "observedGeneration": 1}}


def _merge(found: Any, change: Any) -> None:
    """A JSON merge patch (RFC 7396)."""
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            _merge(found.setdefault(key, {}), value)
        else:
            found[key] = value
