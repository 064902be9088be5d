"""KubernetesCluster against an API server that answers as it is told: what is asked, and what refusals become."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from slicer.cli.install.cluster import KubernetesCluster
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnauthenticatedError,
    UnavailableError,
)


class ApiServer(ThreadingHTTPServer):
    """Answers every request with `status` and `document`, and writes down what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.document = 200, {"message": "words of the server", "items": []}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ApiServer

    def answer(self) -> None:
        """As the server was told."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        body = json.dumps(self.server.document).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_DELETE = answer  # noqa: N815 (the names are http.server's)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """On loopback."""
    made = ApiServer()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> KubernetesCluster:
    """Context `shop` of a kubeconfig."""
    path = tmp_path / "kubeconfig"
    place = {"name": "shop", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "shop", "context": {"cluster": "shop", "user": "me"}}
    user = {"name": "me", "user": {"token": "t"}}
    text = {"clusters": [place], "contexts": [context], "users": [user], "current-context": "shop"}
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **text}))
    return KubernetesCluster(None, path)


WANTED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "y"}}


@pytest.mark.parametrize(
    ("status", "kind", "cure"),
    [
        (400, InvalidError, ""),
        (401, UnauthenticatedError, "kubectl --context shop auth whoami"),
        (403, DeniedError, "cluster-admin in context shop"),
        (409, ConflictError, ""),
        (422, InvalidError, ""),
        (503, UnavailableError, "kubectl --context shop get nodes"),
    ],
)
def test_refusals_name_the_cluster_and_a_cure(
    cluster: KubernetesCluster, server: ApiServer, status: int, kind: type[SlicerError], cure: str
) -> None:
    """Each is the error of the tree that the controller has for it, in the API server's words."""
    server.status = status

    with pytest.raises(kind, match=r"cluster shop: .*words of the server") as error:
        cluster.apply(WANTED)

    assert cure in "\n".join(getattr(error.value, "__notes__", ()))


def test_what_is_not_there_is_no_error(cluster: KubernetesCluster, server: ApiServer) -> None:
    """Nor is a kind that the server does not know; applying one of those is."""
    server.status = 404

    assert cluster.get("ConfigMap", "x", "y") is None
    assert cluster.list("Slice") == []
    assert cluster.delete("ConfigMap", "x", "y") is False
    cluster.patch("ConfigMap", "x", "y", {})
    with pytest.raises(UnavailableError, match="does not know v1"):
        cluster.apply(WANTED)


def test_what_is_asked(cluster: KubernetesCluster, server: ApiServer) -> None:
    """Paths of kinds with and without namespace; selectors; server-side apply by force."""
    cluster.get("Node", "n1")
    cluster.list("Pod", "shop", "a=b")
    cluster.apply(WANTED)
    cluster.delete("SliceMembership", "m", "shop")

    assert server.asked == [
        "GET /api/v1/nodes/n1",
        "GET /api/v1/namespaces/shop/pods?labelSelector=a%3Db",
        "PATCH /api/v1/namespaces/y/configmaps/x?fieldManager=slicectl&force=true",
        "DELETE /apis/slicer.io/v1alpha1/namespaces/shop/slicememberships/m",
    ]


def test_a_server_that_is_away(cluster: KubernetesCluster, server: ApiServer) -> None:
    """It is said which cluster, and how to look."""
    server.shutdown()
    server.server_close()

    with pytest.raises(UnavailableError, match="cluster shop: the Kubernetes API server does not answer") as error:
        cluster.get("Node", "n1")

    assert "kubectl --context shop get nodes" in "\n".join(error.value.__notes__)


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    """The ones that are there are named; so is a kubeconfig that cannot be read."""
    with pytest.raises(InvalidError, match="no kubeconfig can be read"):
        KubernetesCluster(None, tmp_path / "none")

    named = {
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1"}}],
        "users": [{"name": "a", "user": {}}],
    }
    text = {**named, "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}
    (tmp_path / "config").write_text(yaml.safe_dump({"current-context": "a", **text}))
    with pytest.raises(NotFoundError, match="no context 'b'; it has a"):
        KubernetesCluster("b", tmp_path / "config")
