"""One controller writes: none begins what could still be on its way when another one leads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import Configuration

from slicer.client.kube_api import LONGEST_WRITE_S, QUESTIONS, Api
from slicer.model.errors import UnavailableError
from slicer_controller.kube.lease import DEADLINE_S, DURATION_S, RETRY_S, WRITE_S, Lease, Place
from tests.unit.kube.fake_api import FakeApi


def test_the_longest_write_ends_before_another_one_may_lead() -> None:
    """Also one that begins at the last moment; and two renewals may fail before writes wait."""
    assert WRITE_S + LONGEST_WRITE_S < DURATION_S
    assert 2 * RETRY_S < WRITE_S <= DEADLINE_S < DURATION_S


def test_writes_end_first_then_leading_then_the_lease() -> None:
    """By the holder's clock, while it cannot renew."""
    api, clock = FakeApi(), [0.0]

    def candidate(name: str) -> Lease:
        return Lease(api, Place(namespace="s", name="l", identity=name), clock=lambda: clock[0])  # type: ignore[arg-type]

    ours, other, stopping = candidate("ours"), candidate("other"), threading.Event()
    assert not ours.held
    assert not ours.writable
    assert ours.acquire(stopping)
    assert other._try() == "ours"

    for at_s, writable, held in (
        (WRITE_S - 0.1, True, True),
        (WRITE_S, False, True),
        (DEADLINE_S - 0.1, False, True),
        (DEADLINE_S, False, False),
    ):
        clock[0] = at_s
        assert (ours.writable, ours.held) == (writable, held), at_s
    clock[0] = DURATION_S
    assert other._try() == "ours"
    clock[0] = DURATION_S + 0.1
    assert other._try() == "other"
    assert other.writable
    assert ours._try() == "other"


@pytest.fixture
def server() -> Iterator[Any]:
    """An API server that notes requests, and answers those on `/slow` when `go` is set; `url`."""
    asked, go = queue.Queue[str](), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.put(f"{self.command} {self.path}")
            if self.path == "/slow":
                assert go.wait(10)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  # names of the base class

        def log_message(self, *_: Any) -> None:
            pass

    found: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.asked, found.go, found.url = asked, go, f"http://127.0.0.1:{found.server_port}"
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    go.set()
    found.shutdown()
    found.server_close()
    thread.join()


def connect(server: Any, **more: Any) -> Api:
    configuration = Configuration()
    configuration.host = server.url
    return Api(configuration, **more)


def test_who_does_not_lead_writes_nothing(server: Any) -> None:
    """Each request is stopped by itself; reading and asking go on, and so do writes once it leads again."""
    leads = [False]
    api = connect(server, may_write=lambda: leads[0])
    api.get("/x")
    for question in QUESTIONS:
        api.create(f"{question}v1/tokenreviews", {})
    writes = (
        lambda: api.create("/x", {}),
        lambda: api.replace("/x", {}),
        lambda: api.merge("/x", {}),
        lambda: api.merge_by_key("/x", {}),
        lambda: api.apply("/x", {}, manager="m"),
        lambda: api.delete("/x"),
    )
    for write in writes:
        with pytest.raises(UnavailableError, match="does not lead"):
            write()
    assert [server.asked.get(timeout=10).split()[0] for _ in range(3)] == ["GET", "POST", "POST"]
    assert server.asked.empty()

    leads[0] = True
    api.replace("/x", {})
    assert server.asked.get(timeout=10) == "PUT /x"
    api.close()


def test_the_end_waits_for_what_is_on_its_way(server: Any) -> None:
    """Sealed only when the last write has its answer; nothing is written after that."""
    api, sealed = connect(server), queue.Queue[bool]()
    writing = threading.Thread(target=api.create, args=("/slow", {}))
    writing.start()
    assert server.asked.get(timeout=10) == "POST /slow"

    sealing = threading.Thread(target=lambda: sealed.put(api.seal()))
    sealing.start()
    with pytest.raises(queue.Empty):
        sealed.get(timeout=0.2)
    server.go.set()

    assert sealed.get(timeout=10)
    with pytest.raises(UnavailableError, match="does not lead"):
        api.delete("/x")
    for thread in (writing, sealing):
        thread.join()
    api.close()
