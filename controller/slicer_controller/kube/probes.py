"""The kubelet's probes, on a port of their own: plain HTTP, and answered by a standby as well.

`/healthz`: the process is alive. `/readyz`: this controller leads and can serve, so that the Service leads here.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Probes:
    """A small server in a thread."""

    def __init__(self, host: str, port: int, ready: Callable[[], bool]) -> None:
        self._server = _server(host, port, ready)
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server(host: str, port: int, ready: Callable[[], bool]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        """Two paths."""

        def do_GET(self) -> None:
            """Answer with a status and nothing else."""
            answers = {"/healthz": 200, "/readyz": 200 if ready() else 503}
            self.send_response_only(answers.get(self.path, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Probes are no news."""

    class Server(ThreadingHTTPServer):
        """Of the address's own family."""

        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    return Server((host, port), Handler)
