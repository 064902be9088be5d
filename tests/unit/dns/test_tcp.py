"""The TCP server's limits, in process: idle connections end, whatever of a message they have sent."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import dns.message
import dns.rcode
import pytest

from slicer_dns.tcp import TcpServer
from tests.unit.dns.world import zones

WEB = dns.message.make_query("web.shop.svc.slice.local.", "A").to_wire()
FRAMED = len(WEB).to_bytes(2, "big") + WEB


async def serve(sent: bytes) -> tuple[bytes, int]:
    """All that comes back for `sent` until the server hangs up, and the connections that are left in the end."""
    server = TcpServer(zones(), (ipaddress.ip_network("127.0.0.0/8"),), idle_s=0.05)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await server.listen("127.0.0.1", port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = await reader.read()
    writer.close()
    await server.close()
    return received, server.connections


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\x20", FRAMED[:20]])
def test_idle_connections_are_closed(sent: bytes) -> None:
    """A connection on which no whole message comes is closed without an answer (RFC 7766, 6.2.3)."""
    assert asyncio.run(serve(sent)) == (b"", 0)


def test_answers_before_the_idle_time() -> None:
    """What was asked in time is answered, then the idle connection is closed."""
    received, _ = asyncio.run(serve(FRAMED * 2))
    length = int.from_bytes(received[:2], "big")

    assert dns.message.from_wire(received[2 : 2 + length]).rcode() == dns.rcode.NXDOMAIN
    assert len(received) == 2 * (2 + length)


def test_close_cuts_open_connections() -> None:
    """Stopping the server does not wait for clients."""

    async def run() -> bytes:
        server = TcpServer(zones(), ())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        await server.listen("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(FRAMED)
        await reader.readexactly(2)
        await server.close()
        rest = await reader.read()
        writer.close()
        return rest

    assert asyncio.run(run())
