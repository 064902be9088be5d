"""A controller's parts over an API server in memory: nothing runs, tests call what the loop would call."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slicer_controller.kube.declared import Declared
from slicer_controller.kube.doors import Doors
from slicer_controller.kube.naming import API_VERSION, DECLARED, Kind
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.records import durability
from slicer_controller.kube.statuses import Statuses
from slicer_controller.kube.store import KubernetesStore, Rules
from slicer_controller.running import build_context
from tests.unit.kube.fake_api import FakeApi

Json = dict[str, Any]


class World:
    """Hub and member of cluster `a`."""

    def __init__(self, directory: Path, api: FakeApi) -> None:
        self.api, self.directory, self.now_s = api, directory, 1_800_000_000.0
        self.objects = Objects()
        doors = Doors(api, self.objects)
        rules = Rules(
            durability=partial(durability, hub=True, cluster="a"),
            declare=doors.declare,
            retire=doors.retire,
            withdraw=doors.withdraw,
        )
        self.store = KubernetesStore(api, "system", clock=lambda: self.now_s, rules=rules)
        self.context = build_context(
            self.store,
            directory,
            roles=frozenset({"hub", "member"}),
            cluster="a",
            url="https://192.0.2.1:7443",
            clock=lambda: self.now_s,
        )
        self.state = self.context.state
        self.declared = Declared(self.context, self.objects, doors)
        self.statuses = Statuses(self.context, api, self.objects, self.declared)

    def turn(self) -> None:
        """One turn of the loop, after everything that happened was heard of."""
        for kind in DECLARED:
            self.objects.replace(kind.plural, self.api.each(kind.path()))
        self.declared.reconcile()
        self.context.hub.reconcile()

    def apply(self, kind: Kind, name: str, spec: Json, namespace: str = "") -> None:
        """As a user, and nothing is heard of it yet."""
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        body = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": spec}
        self.api.apply(kind.path(name, namespace), body, manager="user")

    def refusal(self, kind: Kind, name: str, namespace: str = "") -> str:
        """Why the object does not hold; empty if it does."""
        found = self.declared.refused.get((kind.plural, namespace, name))
        return found.message if found else ""

    def again(self) -> World:
        """Another process, after this one was killed."""
        self.store.close()
        self.statuses.close()
        return World(self.directory, self.api)

    def close(self) -> None:
        self.store.close()
        self.statuses.close()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """A fresh one with cluster `a`."""
    made = World(tmp_path, FakeApi())
    from slicer.model.clusters import Cluster

    made.state.put(Cluster(name="a"))
    yield made
    made.close()
