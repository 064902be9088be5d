"""Further processes that answer UDP on the same addresses (`--processes`): one interpreter uses one core.

A worker is forked before there are threads, binds its own sockets (SO_REUSEPORT: the kernel spreads askers over all),
and gets each new state of the zones through a pipe. It ends when the pipe does,
however the parent ended.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from slicer.model.errors import UnavailableError
from slicer.model.names import Prefix
from slicer_dns.answering import Counts
from slicer_dns.lookup import Zones
from slicer_dns.options import Listen
from slicer_dns.udp import UdpLoop, open_udp

LOG = logging.getLogger("slicer_dns.workers")
COUNT = "count"
"""Asks a worker for its counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that answers UDP."""

    process: ForkProcess
    pipe: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    """One message, and its answer, at a time."""

    def publish(self, zones: Zones) -> None:
        """From soon on the worker's answers come from `zones`."""
        with self.lock:
            self.pipe.send(zones)

    def counts(self) -> list[Counts]:
        """What its loops have done."""
        with self.lock:
            self.pipe.send(COUNT)
            counts: list[Counts] = self.pipe.recv()
        return counts


def stop_workers(workers: Sequence[Worker]) -> None:
    """Ends the processes and waits for that.

    A worker holds copies of the pipes of those forked before it, so all pipes are closed before the first is waited
    for.
    """
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join()


def start_worker(listen: Sequence[Listen], trusted: tuple[Prefix, ...], zones: Zones) -> Worker:
    """A worker that answers already; UnavailableError if it cannot bind."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(ours, theirs, listen, trusted, zones), daemon=True)
    process.start()
    theirs.close()
    try:
        problem = ours.recv()
    except EOFError:
        problem = "it died"
    if problem:
        process.join()
        raise UnavailableError(f"a worker process could not start: {problem}")
    return Worker(process=process, pipe=ours)


def _work(
    parents: Connection, pipe: Connection, listen: Sequence[Listen], trusted: tuple[Prefix, ...], zones: Zones
) -> None:
    parents.close()
    # The terminal and the supervisor signal the whole group; the parent decides, by closing the pipe.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    try:
        loops = [UdpLoop(open_udp(str(each.address), each.port, shared=True), zones, trusted) for each in listen]
    except OSError as error:
        pipe.send(str(error))
        return
    for loop in loops:
        threading.Thread(target=loop.run, daemon=True).start()
    pipe.send("")
    _obey(pipe, loops)
    for loop in loops:
        loop.stop()


def _obey(pipe: Connection, loops: Sequence[UdpLoop]) -> None:
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return
        if message == COUNT:
            pipe.send([loop.counts for loop in loops])
            continue
        for loop in loops:
            loop.publish(message)
