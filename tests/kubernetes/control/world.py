"""A controller of the tests on a real API server: a process outside, with the administrator's kubeconfig."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slicer.client.kube_api import Api
from slicer.client.rest import Api as Rest
from slicer_controller.kube.client import load_configuration
from slicer_controller.kube.naming import CLUSTER, MEMBERSHIP, QOS_PROFILE, SLICE, Kind
from tests.contract.conftest import Controller, free_port
from tests.kubernetes.control.waiting import wait_for

Json = dict[str, Any]
_numbers = itertools.count(1)


class InCluster:
    """A hub and member of cluster `a`."""

    def __init__(self, server: Any, api: Api, directory: Path) -> None:
        namespace = make_namespace(api, "system")
        self.api, self.namespace = api, namespace
        roles = ("--role", "hub", "--role", "member", "--cluster", "a", "--cidr", "10.244.0.0/16")
        kubernetes = ("--store", "kubernetes", "--kubeconfig", str(server.kubeconfig), "--namespace", namespace)
        self.process = Controller(directory, free_port(), *roles, *kubernetes)

    def rest(self) -> Rest:
        return self.process.api()

    def status(self, kind: Kind, name: str, namespace: str = "") -> Json:
        return (self.api.find(kind.path(name, namespace)) or {}).get("status", {})

    def condition(self, kind: Kind, name: str, type_: str, namespace: str = "") -> Json:
        conditions = self.status(kind, name, namespace).get("conditions", [])
        return next((one for one in conditions if one["type"] == type_), {})

    def wait_condition(self, kind: Kind, name: str, type_: str, reason: str, namespace: str = "") -> Json:
        """The condition, once it has this reason for the object's present generation."""

        def found() -> Json | None:
            object_ = self.api.find(kind.path(name, namespace)) or {"metadata": {"generation": 0}}
            one = self.condition(kind, name, type_, namespace)
            fits = one.get("reason") == reason and one["observedGeneration"] == object_["metadata"]["generation"]
            return one if fits else None

        return wait_for(found, lambda: (self.status(kind, name, namespace), self.process.lines[-5:]))

    def new_namespace(self) -> str:
        """One for a test."""
        return make_namespace(self.api, "tenant")

    def clear(self) -> None:
        """Take away what a test declared, as a user would."""
        for object_ in self.api.each(MEMBERSHIP.path()):
            self.api.delete(MEMBERSHIP.path(object_["metadata"]["name"], object_["metadata"]["namespace"]))
        force = {"metadata": {"annotations": {"slicer.io/force-delete": "true"}}}
        for kind in (SLICE, CLUSTER, QOS_PROFILE):
            for object_ in self.api.each(kind.path()):
                path = kind.path(object_["metadata"]["name"])
                if (kind, object_["metadata"]["name"]) != (CLUSTER, "a"):
                    self.api.merge(path, force)
                    self.api.delete(path)
        wait_for(lambda: not list(self.api.each(SLICE.path())), lambda: list(self.api.each(SLICE.path())))


def make_namespace(api: Api, kind: str) -> str:
    """A new one (nothing in here ever removes one: there are no controllers for that)."""
    name = f"{kind}-{next(_numbers)}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@contextmanager
def running(server: Any, directory: Path, *, before: Callable[[Api], None] = lambda _api: None) -> Iterator[InCluster]:
    """A controller for a block; nothing of it stays in the API server that another one would look at."""
    api = Api(load_configuration(server.kubeconfig))
    before(api)
    made = InCluster(server, api, directory)
    try:
        yield made
    finally:
        made.process.kill()
        for kind in (SLICE, CLUSTER, QOS_PROFILE):
            for object_ in api.each(kind.path()):
                path = kind.path(object_["metadata"]["name"])
                api.merge(path, {"metadata": {"finalizers": None}})
                api.delete(path)
        api.close()
