"""Writes to the API server that are lost, refused, or answered by somebody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from kubernetes.client import Configuration

from slicer.model.errors import UnavailableError
from slicer_controller.kube.client import Api
from slicer_controller.kube.records import Durability
from slicer_controller.kube.store import KubernetesStore, Rules
from slicer_controller.kube.writing import LateWriter
from tests.unit.kube.fake_api import FakeApi


class Deaf(FakeApi):
    """Does what it is asked to, and its answers to `create` are lost while `deaf`."""

    deaf = False

    def create(self, path: str, body: Any) -> Any:
        made = super().create(path, body)
        if self.deaf:
            self.away = True
            raise UnavailableError("the answer was lost")
        return made


def test_nothing_stays_of_an_entry_that_went_before_its_lost_answer_was_known() -> None:
    """The record was made, nobody heard of it, and the entry is removed: the next controller must not find it."""
    api = Deaf()
    store = KubernetesStore(api, "system", clock=lambda: 0.0, rules=Rules(durability=lambda _key: Durability.SOON))
    api.deaf = True
    store.put("attachment/a/n1/c/net1", {"x": 1})
    assert not store.flush(0.2)
    assert any("attachment" in path for path in api.objects)

    store.delete("attachment/a/n1/c/net1")
    api.away = api.deaf = False

    assert store.flush(10)
    assert not any("attachment" in path for path in api.objects)
    store.close()


@pytest.mark.filterwarnings("error")
def test_a_mistake_with_one_key_keeps_no_other_from_being_written() -> None:
    """The writer's thread lives on."""
    written = []

    def write(key: str) -> None:
        if key == "bad":
            raise KeyError(key)
        written.append(key)

    writer = LateWriter(write)
    writer.add("bad")
    writer.add("good")

    assert writer.flush(10)
    assert written == ["good"]
    writer.close()


@pytest.fixture
def stranger() -> Iterator[str]:
    """URL of a web server that is no API server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_answer_that_is_no_json_is_no_answer(stranger: str) -> None:
    """A proxy's page is an error of the tree, so that the threads that renew and list outlive it."""
    configuration = Configuration()
    configuration.host = stranger
    api = Api(configuration)

    with pytest.raises(UnavailableError, match="is not JSON"):
        api.get("/api/v1/pods")
    api.close()
