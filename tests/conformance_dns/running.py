"""The real slicer-dns process on loopback, and a member that it can follow.

127.0.0.1, ::1   the server (ports that the kernel chose)
127.0.0.11       pod web-1 of slice red        127.0.0.13   a pod in red and green
127.0.0.12       pod of slice blue             127.0.0.19   nobody
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.query

from slicer.client.codec import encode_documents
from slicer.model.documents import Document
from tests.unit.dns import world

RED, BLUE, BOTH, NOBODY = "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.19"
WAIT_S = 20.0
"""For things that must come; nothing is concluded from how long they take."""
WEB = "web.shop.svc.red.slice.local."


def loopback_world() -> list[Document]:
    """The world of the unit tests, with members that can be on loopback."""
    return [
        *world.world(),
        world.attachment("red", "web-1", primary=RED, address="10.11.7.1"),
        world.attachment("red", "six", primary="::1", address="10.11.7.2"),
        world.attachment("blue", "web-1", primary=BLUE, address="10.11.7.3"),
        world.attachment("red", "both", primary=BOTH, address="10.11.7.4"),
        world.attachment("green", "both", primary=BOTH, address="10.33.16.9"),
    ]


def write_view(path: Path, values: Iterable[Document]) -> None:
    """A view file in the form of the stream's lines, replaced in one step."""
    coded = encode_documents(world.documents(values))
    lines = [json.dumps({"key": key, "revision": 1, "value": value}) for key, value in coded.items()]
    temporary = path.with_suffix(".new")
    temporary.write_text("\n".join([*lines, json.dumps({"synced": True, "revision": 1})]))
    temporary.replace(path)


class Server:
    """One running process and its log."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slicer_dns.main", *arguments],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            text=True,
        )
        self.seen: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] = []
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self._lines.put(json.loads(line))
            except ValueError:
                self._lines.put({"event": "not_json", "line": line})
        self._lines.put(None)

    def event(self, name: str) -> dict[str, Any]:
        """The first log line of this name that was not given yet; AssertionError with the log if it ends without."""
        while True:
            for line in self._pending:
                if line["event"] == name:
                    self._pending.remove(line)
                    return line
            line = self._lines.get(timeout=WAIT_S)
            assert line is not None, f"ended without {name}: {self.seen}"
            self.seen.append(line)
            self._pending.append(line)

    def port(self) -> int:
        """The port of the next address that it listens on."""
        return int(self.event("listening")["port"])

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Stops it and gives the exit code; everything that it logged is in `seen` then."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        while (line := self._lines.get(timeout=WAIT_S)) is not None:
            self.seen.append(line)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextmanager
def running(*arguments: str) -> Iterator[Server]:
    """A process that is gone afterwards, whatever happens."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(WAIT_S)
        if server.process.stderr is not None:
            server._reader.join(WAIT_S)
            server.process.stderr.close()


def ask(port: int, name: str, type_: str = "A", *, asker: str = RED, **options: Any) -> dns.message.Message:
    """The answer over UDP to a question from `asker`."""
    query = dns.message.make_query(name, type_, **options)
    host = "::1" if ":" in asker else "127.0.0.1"
    return dns.query.udp(query, host, port=port, source=asker, timeout=WAIT_S)


def ask_until(
    accept: Callable[[dns.message.Message], bool], port: int, name: str, type_: str = "A", **options: Any
) -> dns.message.Message:
    """Asks again and again until the answer is as wanted; the time-out of the test ends a hopeless wait."""
    while True:
        answer = ask(port, name, type_, **options)
        if accept(answer):
            return answer


def connect(port: int, asker: str = RED) -> socket.socket:
    """A TCP connection from `asker`."""
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(asker, 0))


def send(sock: socket.socket, messages: Sequence[bytes]) -> None:
    """All messages in one go, each behind its length."""
    sock.sendall(b"".join(len(message).to_bytes(2, "big") + message for message in messages))


def receive(sock: socket.socket) -> bytes:
    """One message; EOFError if the connection ends first."""
    length = int.from_bytes(_exactly(sock, 2), "big")
    return _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def addresses(answer: dns.message.Message) -> set[str]:
    """The data of the answer section."""
    return {str(item) for rrset in answer.answer for item in rrset}
