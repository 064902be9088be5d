"""Writes to the API server that are lost, refused, or answered by somebody else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from kubernetes.client import Configuration

from slicer.client.kube_api import Api
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    SlicerError,
    StaleError,
    UnavailableError,
)
from slicer_controller.kube import writing
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


class Desk:
    """Takes keys, and refuses those in `refusals` with their error."""

    def __init__(self, **refusals: SlicerError) -> None:
        self.refusals, self.tried = refusals, queue.Queue[str]()

    def write(self, key: str) -> None:
        self.tried.put(key)
        if key in self.refusals:
            raise self.refusals[key]


@pytest.mark.parametrize("error", [DeniedError("no"), InvalidError("no"), ConflictError("no")])
def test_what_is_refused_keeps_nothing_else_from_being_written(
    monkeypatch: pytest.MonkeyPatch, error: SlicerError
) -> None:
    """One after the other is tried, however long a refused one has to wait for its next turn."""
    monkeypatch.setattr(writing, "RETRY_S", 1000.0)
    monkeypatch.setattr(writing, "LONGEST_S", 1000.0)
    desk = Desk(bad=error, worse=error)
    writer = LateWriter(desk.write)

    for key in ("bad", "worse", "good", "bad", "better"):
        writer.add(key)

    assert [desk.tried.get(timeout=10) for _ in range(4)] == ["bad", "worse", "good", "better"]
    assert not writer.flush(0.1)
    assert desk.tried.empty()
    monkeypatch.setattr(writing, "CLOSE_S", 0.1)
    writer.close()


def test_what_is_refused_is_written_when_that_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again by itself, and said once."""
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    desk = Desk(bad=DeniedError("no rights yet"))
    writer = LateWriter(desk.write)
    writer.add("bad")
    assert [desk.tried.get(timeout=10) for _ in range(3)] == ["bad"] * 3

    desk.refusals.clear()

    assert writer.flush(10)
    assert [record.message for record in caplog.records] == ["not written yet"]
    writer.close()


def test_what_changed_meanwhile_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try has read what is there; it waits for nothing, but is not made for ever without a pause."""
    monkeypatch.setattr(writing, "RETRY_S", 1000.0)
    monkeypatch.setattr(writing, "LONGEST_S", 1000.0)
    monkeypatch.setattr(writing, "CLOSE_S", 0.1)
    desk = Desk(changed=StaleError("changed meanwhile"))
    writer = LateWriter(desk.write)

    writer.add("changed")

    assert [desk.tried.get(timeout=10) for _ in range(2)] == ["changed"] * 2
    assert not writer.flush(0.1)
    assert desk.tried.empty()
    writer.close()


def test_nothing_is_tried_while_the_api_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one write found out holds for all others."""
    monkeypatch.setattr(writing, "RETRY_S", 1000.0)
    monkeypatch.setattr(writing, "CLOSE_S", 0.1)
    desk = Desk(first=UnavailableError("away"))
    writer = LateWriter(desk.write)
    writer.add("first")
    assert desk.tried.get(timeout=10) == "first"

    writer.add("second")

    assert not writer.flush(0.1)
    assert desk.tried.empty()
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
