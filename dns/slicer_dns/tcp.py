"""DNS over TCP: RFC 1035, 4.2.2 and RFC 7766. An asyncio server beside the UDP loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from slicer.model.names import Prefix
from slicer_dns.answering import Counts, Desk
from slicer_dns.lookup import Zones

LOG = logging.getLogger("slicer_dns.tcp")
IDLE_S = 10.0
"""RFC 7766, 6.2.3: an idle time-out "on the order of a few seconds" is recommended."""
CONNECTIONS_LIMIT = 256
CONNECTIONS_OF_HOST_LIMIT = 32
"""RFC 7766, 6.2.2: "a DNS server … MAY impose limits on the number of concurrent TCP connections … per client"."""


class TcpServer:
    """Answers on any number of listening sockets; one task a connection."""

    def __init__(self, zones: Zones, trusted: tuple[Prefix, ...], *, idle_s: float = IDLE_S) -> None:
        self.counts = Counts()
        self._trusted = trusted
        self._idle_s = idle_s
        self._desk = Desk(zones, trusted, self.counts)
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], str] = {}

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def publish(self, zones: Zones) -> None:
        """From now on answers come from `zones`."""
        self._desk = Desk(zones, self._trusted, self.counts)

    async def listen(self, host: str, port: int) -> None:
        """Binds and begins to answer; OSError if the address cannot be had."""
        self._servers.append(await asyncio.start_server(self._accept, host, port, reuse_address=True))

    async def close(self) -> None:
        """Closes everything; open connections are cut."""
        for server in self._servers:
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = (writer.get_extra_info("peername") or ("",))[0]
        of_host = sum(each == host for each in self._open.values())
        task = asyncio.current_task()
        if task is None or not host or len(self._open) >= CONNECTIONS_LIMIT or of_host >= CONNECTIONS_OF_HOST_LIMIT:
            writer.close()
            return
        self._open[task] = host
        try:
            await self._serve(reader, writer, host)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Idle too long, gone, or we are closing: nobody waits for an answer.
            pass
        finally:
            del self._open[task]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        """One message after the other. RFC 7766, 6.2.1.1: clients may pipeline; answers go out in the order of the
        questions.

        The time-out spans a whole exchange, so that neither slow writers nor slow readers hold a connection.
        """
        while True:
            async with asyncio.timeout(self._idle_s):
                # RFC 1035, 4.2.2: "The message is prefixed with a two byte length field".
                length = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(length)
                reply = self._answer(packet, host)
                if reply is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()

    def _answer(self, packet: bytes, host: str) -> bytes | None:
        try:
            return self._desk.answer_tcp(packet, host)
        except Exception:
            LOG.exception("answer_failed", extra={"peer": host, "packet": packet[:512].hex()})
            return self._desk.give_up(packet)
