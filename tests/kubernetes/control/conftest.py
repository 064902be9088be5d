"""A real API server with our CRDs, for the tests of what the controller does in Kubernetes.

tests ──► kube-apiserver, etcd (loopback) ◄── slicer-controller processes
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.client.kube_api import Api
from slicer_controller.kube.client import load_configuration
from slicer_controller.kube.crds import definitions
from tests.kubernetes.control.waiting import wait_for
from tests.kubernetes.lab.control import ApiServer, running_apiserver

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_numbers = itertools.count(1)
Json = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starting an API server and a controller takes its time on a busy machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(300))


def install(api: Api) -> None:
    """Our CRDs by server-side apply, and wait until they are served."""
    for crd in definitions():
        api.apply(f"{CRDS}/{crd['metadata']['name']}", crd, manager="tests")
    wait_for(lambda: all(_established(api.get(f"{CRDS}/{crd['metadata']['name']}")) for crd in definitions()))
    wait_for(lambda: api.find("/apis/slicer.io/v1alpha1"))


def _established(crd: Json) -> bool:
    conditions = {one["type"]: one["status"] for one in crd.get("status", {}).get("conditions", [])}
    return conditions.get("Established") == "True"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """One API server for a module."""
    with running_apiserver("control") as made:
        api = Api(load_configuration(made.kubeconfig))
        install(api)
        api.close()
        yield made


@pytest.fixture
def api(server: ApiServer) -> Iterator[Api]:
    """The administrator's client."""
    made = Api(load_configuration(server.kubeconfig))
    yield made
    made.close()


@pytest.fixture
def namespace(api: Api) -> str:
    """A namespace for one test (nothing in here ever removes one)."""
    name = f"test-{next(_numbers)}"
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
