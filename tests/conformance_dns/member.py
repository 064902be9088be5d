"""A member controller as far as a DNS server sees it: the real CA and mutual TLS, joining, and one zone view as a
stream.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from slicer.client.codec import encode_documents
from slicer.client.identity import JoinToken, fingerprint, render_token
from slicer.model.documents import Document
from slicer_controller.ca import CertificateAuthority
from tests.unit.dns.world import documents

SECRET = "once"


class Member:
    """What the handler answers from; `show` changes the view of everyone who follows."""

    def __init__(self, directory: Path) -> None:
        self.ca = CertificateAuthority(directory)
        self.changed = threading.Condition()
        self.view: dict[str, Any] = {}
        self.revision = 1
        self.closing = False
        self.followers = 0

    def show(self, values: Iterable[Document]) -> None:
        """From now on the view is this."""
        with self.changed:
            self.view = encode_documents(documents(values))
            self.revision += 1
            self.changed.notify_all()

    def token(self, url: str) -> str:
        """The text of a join token."""
        return render_token(JoinToken(url=url, ca_sha256=fingerprint(self.ca.pem), id="1", secret=SECRET))


class Handler(BaseHTTPRequestHandler):
    """The three paths that a DNS server knows."""

    protocol_version = "HTTP/1.1"
    member: Member

    def do_GET(self) -> None:
        """The CA, or the view as a stream."""
        if self.path == "/v1/ca":
            self._answer({"ca": self.member.ca.pem})
        elif self.path.startswith("/v1/views/zone") and self.connection.getpeercert():  # type: ignore[attr-defined]
            self._stream()
        else:
            self.send_error(403)

    def do_POST(self) -> None:
        """A certificate for whoever shows the secret."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/join" and asked["secret"] == SECRET:
            self._answer({"certificate": self.member.ca.issue(asked["csr"], "slicer://dns/a/dns-1")})
        else:
            self.send_error(403)

    def log_message(self, *_: object) -> None:
        """The member's log is nobody's concern."""

    def _answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/jsonl")
        self.end_headers()
        member, told = self.member, {}
        with member.changed:
            member.followers += 1
            revision = member.revision
            view = dict(member.view)
        self._lines({"epoch": "e1", "revision": 0, "resumed": False})
        while True:
            self._lines(
                *({"key": k, "revision": revision, "value": v} for k, v in view.items() if told.get(k) != v),
                *({"key": k, "revision": revision, "removed": True} for k in told.keys() - view.keys()),
                {"synced": True, "revision": revision},
            )
            told = view
            with member.changed:
                while member.revision == revision and not member.closing:
                    member.changed.wait()
                if member.closing:
                    return
                revision, view = member.revision, dict(member.view)

    def _lines(self, *lines: dict[str, Any]) -> None:
        self.wfile.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


@contextmanager
def serving(member: Member, directory: Path, port: int = 0) -> Iterator[int]:
    """The member on 127.0.0.1, until the block ends: then its connections are cut."""
    with member.changed:
        member.closing = False
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"member": member}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*member.ca.serve_as(["127.0.0.1"]))
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        with member.changed:
            member.closing = True
            member.changed.notify_all()
        server.shutdown()
        server.server_close()
        thread.join()
