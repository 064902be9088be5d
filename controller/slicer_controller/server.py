"""The TLS server: uvicorn, with the client's certificate handed on to the application.

uvicorn asks for client certificates but tells the application nothing of them (0.54): the protocol class puts the
verified URI into the request's state, where the application reads `request.state.peer`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)
GRACE_S = 3
"""Seconds in which requests end by themselves when the process is to end."""
ABORT_S = 0.3
"""Idle connections are dropped after this: closing TLS politely would wait for clients that are not listening."""


class PeerProtocol(H11Protocol):
    """HTTP/1.1 over TLS that knows who is on the other side."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio once TLS is established, so that the certificate is verified by now."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "peer": peer_uri(transport.get_extra_info("ssl_object"))}


def peer_uri(connection: ssl.SSLObject | None) -> str | None:
    """The URI in the client's certificate; None if it showed none. TLS has verified it against our own CA."""
    certificate: dict[str, Any] | None = connection.getpeercert() if connection else None
    names = (certificate or {}).get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    return uris[0] if len(uris) == 1 else None


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process's main decides when to end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Bind; then say so."""
        await super().startup(sockets)
        if self.started:
            log.info("serving", extra={"host": self.config.host, "port": self.config.port})

    def drop_connections(self) -> None:
        """Cut what is still connected."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


def make_server(app: Any, host: str, port: int, *, certificate: Path, key: Path, ca: Path) -> Server:
    """A server that is ready to run."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PeerProtocol,
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        ssl_ca_certs=str(ca),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=75,
        backlog=1024,
    )
    return Server(config)
