"""Rights of the cluster's own users on REST: every collection is a resource that roles can speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from slicer.model.errors import DeniedError
from slicer_controller.api.collections import COLLECTIONS, REPORTED
from slicer_controller.api.history import HISTORY
from slicer_controller.kube.reviews import RESOURCES, Reviewer, User
from tests.unit.kube.fake_api import FakeApi

RBAC = Path(__file__).parents[3] / "manifests/base/rbac.yaml"
DECLARED = {collection.path: set(collection.verbs) for collection in COLLECTIONS}
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Asked(FakeApi):
    """Says yes (or no), and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[Any] = []
        self.allowed = True

    def create(self, path: str, body: Any) -> Any:
        assert path.endswith("/subjectaccessreviews")
        self.attributes += [value for name, value in body["spec"].items() if name.endswith("Attributes")]
        return {"status": {"allowed": self.allowed}}


def granted(role: str) -> dict[str, set[str]]:
    """Verbs by resource of our group."""
    objects = [one for one in yaml.safe_load_all(RBAC.read_text()) if one["metadata"]["name"] == role]
    found: dict[str, set[str]] = {}
    for rule in (rule for one in objects for rule in one["rules"] if rule["apiGroups"] == ["slicer.io"]):
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_every_collection_has_a_resource() -> None:
    """Also those that have no kind; none is left to a name that no role has. A tunnel's past is its tunnel's."""
    assert RESOURCES.keys() == DECLARED.keys() | REPORTED.keys() | {"join-tokens", HISTORY}
    assert RESOURCES[HISTORY] == RESOURCES["tunnels"]
    assert len(set(RESOURCES.values())) == len(RESOURCES) - 1


def test_the_shipped_roles_speak_of_every_collection() -> None:
    """slicer-admin may do all that there is to do, slicer-view may look at everything but join tokens."""
    admin, view = granted("slicer-admin"), granted("slicer-view")

    for path, resource in RESOURCES.items():
        wanted = {VERBS[verb] for verb in DECLARED.get(path, {"GET"})}
        assert wanted <= admin.get(resource, set()), resource
        looking = {"get", "list", "watch"} if path != "join-tokens" else None
        assert view.get(resource) == looking, resource


@pytest.mark.parametrize(
    ("method", "path", "attributes"),
    [
        ("GET", "/v1/drains", {"resource": "slicedrains", "verb": "list"}),
        ("PUT", "/v1/drains/a/n1", {"resource": "slicedrains", "verb": "update", "name": "a/n1"}),
        ("POST", "/v1/rotations", {"resource": "slicerotations", "verb": "create"}),
        ("DELETE", "/v1/rotations/0/2", {"resource": "slicerotations", "verb": "delete", "name": "0/2"}),
        ("GET", "/v1/clusters/a", {"resource": "sliceclusters", "verb": "get", "name": "a"}),
    ],
)
def test_a_request_is_asked_of_the_api_server(method: str, path: str, attributes: dict[str, str]) -> None:
    """Resource, verb and name, as Kubernetes' roles have them."""
    api = Asked()

    Reviewer(api, "system", "a").authorize(User(name="ann"), method, path)

    assert api.attributes == [{"group": "slicer.io", **attributes}]


def test_metrics_are_asked_for_as_everywhere_in_kubernetes() -> None:
    """By path, so that the role that Prometheus has anyway is enough; and a user without it gets none."""
    api = Asked()

    Reviewer(api, "system", "a").authorize(User(name="prometheus"), "GET", "/metrics")

    assert api.attributes == [{"path": "/metrics", "verb": "get"}]
    api.allowed = False
    with pytest.raises(DeniedError, match="'prometheus' may not get /metrics"):
        Reviewer(api, "system", "a").authorize(User(name="prometheus"), "GET", "/metrics")


def test_what_no_role_can_speak_of_is_refused() -> None:
    """Nobody is asked: a role for everything in the group would have let it in."""
    api = Asked()

    with pytest.raises(DeniedError, match="no role speaks of 'novelties'"):
        Reviewer(api, "system", "a").authorize(User(name="ann"), "GET", "/v1/novelties")
    assert api.attributes == []
