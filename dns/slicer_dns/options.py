"""The command line of slicer-dns, checked once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.client.joining import ServiceJoin, add_join_arguments, parse_join
from slicer.model.errors import InvalidError
from slicer.model.names import Address, Prefix, check_range, parse_address, parse_prefix

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen; port 0 lets the kernel choose."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What slicer-dns was started with."""

    listen: tuple[Listen, ...]
    state: Path | None = None
    join_token_file: Path | None = None
    service_join: ServiceJoin | None = None
    view_file: Path | None = None
    trusted: tuple[Prefix, ...] = ()
    processes: int = 1
    metrics: Listen | None = None
    log_level: str = "info"


def parse_listen(text: str) -> Listen:
    """`10.0.0.1:53` or `[fd00::1]:53`; InvalidError naming the text otherwise."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or (":" in host and not bracketed):
        raise InvalidError(f"listening address {text!r} is not like 10.0.0.1:53 or [fd00::1]:53")
    address = parse_address("listening address", host[1:-1] if bracketed else host)
    return Listen(address=address, port=check_range("port", int(port), 0, 65535))


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """The options; ends the process with code 2 and a message on stderr if they are wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.state is None) == (given.view_file is None):
        parser.error("give either --state (answer from the member's view) or --view-file (from a saved view)")
    try:
        return Options(
            listen=tuple(map(parse_listen, given.listen)),
            state=given.state,
            join_token_file=given.join_token_file,
            service_join=parse_join(given),
            view_file=given.view_file,
            trusted=tuple(parse_prefix("--trust-ecs", text) for text in (*LOOPBACK, *_listed(given.trust_ecs))),
            processes=check_range("--processes", given.processes, 1, 64),
            metrics=parse_listen(given.metrics_listen) if given.metrics_listen else None,
            log_level=given.log_level,
        )
    except InvalidError as error:
        parser.error(error.message)


def _listed(texts: Sequence[str]) -> tuple[str, ...]:
    """Each of them, and each part of those with commas; an empty text is none."""
    return tuple(part for text in texts for part in text.split(",") if part)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slicer-dns", description="Answers the names of slices, to members of the slices only.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--listen", action="append", required=True, metavar="IP:PORT", help="UDP and TCP; may be given several times")
    add("--state", type=Path, metavar="DIR", help="identity and last view; needed to follow a member")
    add("--join-token-file", type=Path, metavar="FILE", help="one-use token of the member; only for the first start")
    add_join_arguments(parser)
    add("--view-file", type=Path, metavar="FILE", help="serve this saved zone view instead; SIGHUP reads it again")
    add("--trust-ecs", action="append", default=[], metavar="PREFIX",
        help="more resolvers whose EDNS client subnet names the asker (loopback: always); with commas")  # fmt: skip
    add("--processes", type=int, default=1, metavar="N", help="processes that answer UDP (default 1)")
    add("--metrics-listen", metavar="IP:PORT", help="HTTP: /metrics, /healthz, /readyz")
    add("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser
