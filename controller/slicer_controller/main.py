"""`slicer-controller`: the command line, and the life of the process. See README.md beside this package."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from slicer.client.identity import load_or_join
from slicer.model.errors import InvalidError, SlicerError
from slicer.model.names import Prefix, check_label, parse_address, parse_prefix
from slicer_controller.logs import log_to_stderr
from slicer_controller.running import Controller

log = logging.getLogger("slicer-controller")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    roles: frozenset[str]
    state: Path
    host: str
    port: int
    advertise: str
    cluster: str
    cidrs: tuple[Prefix, ...]
    join_token_file: Path | None


def parse_options(arguments: Sequence[str]) -> Options:
    """The options; InvalidError (and argparse's exit 2) for those that make no sense."""
    given = _parser().parse_args(arguments)
    roles = frozenset(given.role)
    if "member" in roles and not given.cluster:
        raise InvalidError("--role member needs --cluster NAME")
    if roles == {"hub"} and (given.cluster or given.cidr):
        raise InvalidError("--cluster and --cidr are for --role member")
    if given.cluster:
        check_label("cluster name", given.cluster)
    host, port = parse_listen(given.listen)
    advertise = given.advertise or f"https://{given.listen}"
    if urlsplit(advertise).scheme != "https" or not urlsplit(advertise).hostname:
        raise InvalidError(f"--advertise {advertise!r} is not a URL like https://192.0.2.1:7443")
    return Options(
        roles=roles,
        state=Path(given.state),
        host=host,
        port=port,
        advertise=advertise.rstrip("/"),
        cluster=given.cluster or "",
        cidrs=tuple(parse_prefix("--cidr", text) for text in given.cidr),
        join_token_file=Path(given.join_token_file) if given.join_token_file else None,
    )


def parse_listen(text: str) -> tuple[str, int]:
    """Address and port of `192.0.2.1:7443` or `[2001:db8::1]:7443`."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InvalidError(f"--listen {text!r} is not IP:PORT")
    host = host.removeprefix("[").removesuffix("]")
    parse_address("--listen address", host)
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slicer-controller", description="The controller of Slicer.")
    parser.add_argument("--role", action="append", choices=["hub", "member"], required=True, help="may be given twice")
    parser.add_argument("--state", required=True, metavar="DIR", help="store, CA and identity; made if missing")
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--advertise", metavar="https://IP:PORT", help="how others reach it (default: --listen)")
    parser.add_argument("--cluster", metavar="NAME", help="the member's cluster")
    parser.add_argument("--cidr", action="append", default=[], metavar="PREFIX", help="of the cluster's own network")
    parser.add_argument("--join-token-file", metavar="FILE", help="a hub's join token, for the first start")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. 0: ended as asked; 1: could not start; 2: the command line is wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    level = _parser().parse_known_args(arguments)[0].log_level
    log_to_stderr(level)
    try:
        options = parse_options(arguments)
    except InvalidError as error:
        log.error("command line refused", extra={"error": error.message})  # noqa: TRY400  # the message is all
        return 2
    try:
        asyncio.run(_run(options))
    except (SlicerError, OSError) as error:
        log.error("cannot run", extra={"error": str(error)})  # noqa: TRY400  # the message is all
        return 1
    return 0


async def _run(options: Options) -> None:
    os.umask(0o077)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = None
    if options.roles == {"member"}:
        token = options.join_token_file.read_text() if options.join_token_file else None
        expect = f"slicer://cluster/{options.cluster}"
        identity = load_or_join(options.state / "identity", token, expect=expect)
    controller = Controller(
        roles=options.roles,
        directory=options.state,
        host=options.host,
        port=options.port,
        advertise=options.advertise,
        cluster=options.cluster,
        cidrs=options.cidrs,
        identity=identity,
        clock=time.time,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, controller.stop)
    await controller.run()


if __name__ == "__main__":
    sys.exit(main())
