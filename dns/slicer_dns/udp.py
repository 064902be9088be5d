"""The UDP loop: one socket, one thread, blocking calls, answers straight from kept bytes.

asyncio costs four times as much a packet as this loop. The loop holds no lock: whoever has new zones hands it a new
desk, and the loop takes the desk that is there when a packet comes.
"""

from __future__ import annotations

import contextlib
import logging
import socket

from slicer.model.names import Prefix
from slicer_dns.answering import Counts, Desk
from slicer_dns.lookup import Zones

LOG = logging.getLogger("slicer_dns.udp")
RECEIVE_BUFFER_BYTES = 4 << 20
"""Wished of the kernel (it gives at most net.core.rmem_max): bursts wait here while zones are swapped."""
DATAGRAM_LIMIT = 65535


def open_udp(host: str, port: int, *, shared: bool) -> socket.socket:
    """A bound socket. `shared`: our other processes bind the same address, and the kernel spreads askers over them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET6:
            # Askers' addresses stay what they are: no ::ffff:10.0.0.1.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


class UdpLoop:
    """Serves one socket until it is stopped."""

    def __init__(self, sock: socket.socket, zones: Zones, trusted: tuple[Prefix, ...]) -> None:
        self.counts = Counts()
        self._sock = sock
        self._trusted = trusted
        self._stopping = False
        self._desk = Desk(zones, trusted, self.counts)

    def publish(self, zones: Zones) -> None:
        """From now on answers come from `zones`. May be called from any thread."""
        self._desk = Desk(zones, self._trusted, self.counts)

    def stop(self) -> None:
        """Makes run() return; datagrams that wait are not answered."""
        self._stopping = True
        # Linux wakes the reader of an unconnected socket, although it also says ENOTCONN.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def run(self) -> None:
        """Answers until stop(). Nothing that a packet holds ends the loop."""
        receive, counts = self._sock.recvfrom, self.counts
        while not self._stopping:
            try:
                packet, peer = receive(DATAGRAM_LIMIT)
                try:
                    reply = packet[:2] + next(self._desk.hot[peer[0]][packet[2:]])
                    counts.kept += 1
                except KeyError:
                    self._work_out(packet, peer)
                    continue
                except TypeError:
                    # stop() woke us: there is no peer.
                    continue
                self._sock.sendto(reply, peer)
            except OSError:
                # Unreachable or forbidden peers and source port 0: theirs to mend.
                counts.failed += 1
        self._sock.close()

    def _work_out(self, packet: bytes, peer: tuple[str, int]) -> None:
        try:
            reply = self._desk.answer_udp(packet, peer[0])
        except Exception:
            LOG.exception("answer_failed", extra={"peer": peer[0], "packet": packet[:512].hex()})
            reply = self._desk.give_up(packet)
        if reply is not None:
            self._sock.sendto(reply, peer)
