"""The lab as a world for scenarios."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from slicer.lab import state, workloads
from tests.e2e.scenario import Json

MACHINES = {"hub": "hub/hub"}
"""What a scenario calls a part that runs once → the lab's machine and program."""


class LabWorld:
    """Pods are the lab's: no image, no Service, no controller that starts them anew."""

    kind = "lab"
    patience_s = 60.0

    def __init__(self, lab: Any) -> None:
        self._lab = lab

    def slicectl(self, *argv: str) -> str:
        return str(self._lab.ctl(*argv))

    def apply(self, cluster: str, objects: Sequence[Json]) -> None:
        texts = [("scenario", json.dumps(each)) for each in objects]
        workloads.run(self._lab.layout, cluster, *workloads.parse_manifests(texts))

    def delete(self, cluster: str, namespace: str, app: str, *, force: bool) -> None:
        del force
        for name in self.pods(cluster, namespace, app):
            self._lab.delete_pod(f"{cluster}/{namespace}/{name}")

    def pods(self, cluster: str, namespace: str, app: str) -> list[str]:
        layout = self._lab.layout
        return sorted(
            record["name"]
            for node, record in state.pod_records(layout)
            if layout.machine(node).cluster == cluster
            and record["namespace"] == namespace
            and (record["pod"]["metadata"].get("labels") or {}).get("app") == app
        )

    def exec(self, cluster: str, namespace: str, pod: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = self._lab.exec(f"{cluster}/{namespace}/{pod}", *argv)
        return done

    def network_statuses(self, cluster: str, namespace: str, app: str) -> list[list[Json]]:
        names = self.pods(cluster, namespace, app)
        records = [workloads.find(self._lab.layout, f"{cluster}/{namespace}/{name}")[1] for name in names]
        return [json.loads(record["status"]) for record in records]

    def strike(self, verb: str, part: str, where: str) -> None:
        what = MACHINES.get(part) or f"{where}/{part}"
        match verb:
            case "kill":
                self._lab.ctl("lab", "restart", "--kill", what)
            case "stop":
                self._lab.ctl("lab", "stop", "--kill", what)
            case _:
                self._lab.ctl("lab", "start", what)

    def cleanup(self, namespace: str) -> None:
        for name in self._lab.pods():
            if name.split("/")[1] == namespace:
                self._lab.delete_pod(name)
