"""All parts of a running server: UDP loops, worker processes, TCP, and the swap of zones in all of them."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from slicer.model.documents import Documents
from slicer.model.errors import UnavailableError
from slicer.model.names import Address
from slicer.plan.zones import ZonePlanner
from slicer_dns.lookup import Zones
from slicer_dns.metrics import Status
from slicer_dns.options import Listen, Options
from slicer_dns.tcp import TcpServer
from slicer_dns.udp import UdpLoop, open_udp
from slicer_dns.workers import Worker, start_worker, stop_workers

LOG = logging.getLogger("slicer_dns.server")
SWITCH_INTERVAL_S = 0.0002
"""How long a thread that plans may keep the interpreter from the UDP loop; Python's 5 ms would be felt by every
asker.
"""


class Sink(Protocol):
    """A part that answers from zones."""

    def publish(self, zones: Zones) -> None:
        """From now on answers come from `zones`. May be called from any thread."""
        ...


class Server:
    """Binds when it is made (UnavailableError), answers UDP from start() and TCP from listen_tcp()."""

    def __init__(self, options: Options) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        sockets = [_open(each, shared=options.processes > 1) for each in options.listen]
        ports = [sock.getsockname()[1] for sock in sockets]
        self.listen: Sequence[Listen] = [
            replace(each, port=port) for each, port in zip(options.listen, ports, strict=True)
        ]
        self.zones = Zones(snapshot=None, nameservers=_own_addresses(options.listen))
        self.swaps = 0
        self._workers: list[Worker] = [
            start_worker(self.listen, options.trusted, self.zones) for _ in range(options.processes - 1)
        ]
        self._loops = [UdpLoop(sock, self.zones, options.trusted) for sock in sockets]
        self._threads = [threading.Thread(target=loop.run, name="udp", daemon=True) for loop in self._loops]
        self.tcp = TcpServer(self.zones, options.trusted)
        self._sinks: Sequence[Sink] = (*self._loops, *self._workers, self.tcp)
        self._swapping = threading.Lock()
        self._planner = ZonePlanner()

    def start(self) -> None:
        """Answers UDP from now on: SERVFAIL until there is a view."""
        for thread in self._threads:
            thread.start()

    async def listen_tcp(self) -> None:
        """Answers TCP from now on; OSError if an address is taken."""
        for each in self.listen:
            await self.tcp.listen(str(each.address), each.port)
            LOG.info("listening", extra={"address": str(each.address), "port": each.port})

    def show(self, documents: Documents) -> None:
        """Answers from this view from now on; may be called from any thread.

        Planned aside; a view without news for us changes nothing. The serial is the time of the swap, as CoreDNS's is.
        """
        with self._swapping:
            snapshot = self._planner.plan(documents)
            if snapshot == self.zones.snapshot:
                return
            self.zones = replace(self.zones, snapshot=snapshot, serial=int(time.time()))
            self.swaps += 1
            for sink in self._sinks:
                sink.publish(self.zones)
        LOG.info("zones_swapped", extra={"documents": len(documents), "zones": len(snapshot.zones)})

    def status(self) -> Status:
        """Counters of all processes, and what is served now."""
        counts = [loop.counts for loop in self._loops]
        for worker in self._workers:
            counts += worker.counts()
        snapshot = self.zones.snapshot
        return Status(
            udp=tuple(counts),
            tcp=self.tcp.counts,
            tcp_connections=self.tcp.connections,
            synced=snapshot is not None,
            serial=self.zones.serial,
            swaps=self.swaps,
            zones=len(snapshot.zones) if snapshot else 0,
        )

    def worker_sentinels(self) -> list[int]:
        """File descriptors that become readable when a worker process ends."""
        return [worker.process.sentinel for worker in self._workers]

    async def stop(self) -> None:
        """Stops answering and ends the workers."""
        await self.tcp.close()
        for loop in self._loops:
            loop.stop()
        stop_workers(self._workers)
        for thread in self._threads:
            thread.join(timeout=1)


def _open(listen: Listen, *, shared: bool) -> socket.socket:
    try:
        return open_udp(str(listen.address), listen.port, shared=shared)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {listen}: {error.strerror}") from error


def _own_addresses(listen: Sequence[Listen]) -> tuple[Address, ...]:
    """What `ns.dns` of each zone resolves to. A wildcard is no address that anybody could ask."""
    return tuple(dict.fromkeys(each.address for each in listen if not each.address.is_unspecified))
