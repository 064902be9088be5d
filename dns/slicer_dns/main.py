"""slicer-dns: starts the server, follows the view, obeys signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from slicer.model.errors import SlicerError
from slicer_dns.logs import start_logging
from slicer_dns.metrics import as_values, serve_metrics
from slicer_dns.options import Options, parse_options
from slicer_dns.server import Server

LOG = logging.getLogger("slicer_dns")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT. Exit code: 0 stopped, 1 could not go on, 2 wrong command line."""
    options = parse_options(arguments)
    start_logging(options.log_level)
    try:
        server = Server(options)
        return asyncio.run(_run(options, server))
    except (SlicerError, OSError) as error:
        LOG.error("cannot_run", extra={"error": str(error)})  # noqa: TRY400 (a wrong address needs no stack)
        return 1


async def _run(options: Options, server: Server) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    again = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, ended, 0)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: LOG.info("counters", extra=dict(as_values(server.status()))))
    for sentinel in server.worker_sentinels():
        loop.add_reader(sentinel, _worker_died, ended)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        server.start()
        await server.listen_tcp()
        if options.metrics is not None:
            metrics = await serve_metrics(str(options.metrics.address), options.metrics.port, server.status)
            stack.callback(metrics.close)
            LOG.info("metrics_listening", extra={"port": metrics.sockets[0].getsockname()[1]})
        source = asyncio.create_task(_follow(options, server, again))
        stack.push_async_callback(_cancel, source)
        source.add_done_callback(partial(_source_ended, ended))
        code = await ended
        for sentinel in server.worker_sentinels():
            loop.remove_reader(sentinel)
    LOG.info("stopped", extra={"code": code})
    return code


async def _follow(options: Options, server: Server, again: asyncio.Event) -> None:
    """Keeps the zones as their source says, until it is cancelled."""
    from slicer_dns.sources import follow_file, member_source, token_source

    if options.view_file is not None:
        again.set()
        await follow_file(options.view_file, server.show, again)
    elif options.state is not None:
        async with member_source(options.state, token_source(options), server.show):
            await asyncio.Event().wait()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _source_ended(ended: asyncio.Future[int], source: asyncio.Task[None]) -> None:
    if source.cancelled():
        return
    error = source.exception()
    if isinstance(error, SlicerError):
        LOG.error("source_failed", extra={"error": error.message, "reason": error.reason})
    else:
        LOG.error("source_failed", exc_info=error)
    _end(ended, 1)


def _worker_died(ended: asyncio.Future[int]) -> None:
    """A process less would go on unseen; whoever supervises us starts all of them again."""
    LOG.error("worker_died")
    _end(ended, 1)


def _end(ended: asyncio.Future[int], code: int) -> None:
    if not ended.done():
        ended.set_result(code)


if __name__ == "__main__":
    sys.exit(main())
