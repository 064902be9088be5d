"""`join-token`: the one-use secret with which a cluster, a node or a DNS server joins."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from slicer.cli import options
from slicer.cli.connection import connected
from slicer.cli.errors import cured
from slicer.cli.output import Format, dump_json, dump_yaml, note
from slicer.cli.quantities import format_age, parse_seconds
from slicer.model.errors import InvalidError

KINDS = {"cluster": "a cluster's controller joins the hub", "node": "an agent", "dns": "a DNS server"}


def join_token(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the cluster (node, DNS server) that will join; * for any new cluster."
        ),
    ],
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="How long the token may be used.")] = "1h",
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="cluster (ask the hub); node or dns (ask the member, with --server).",
            autocompletion=lambda: list(KINDS),
        ),
    ] = "cluster",
    output: options.Output = None,
) -> None:
    """Make a token with which one cluster can join once. It goes to stdout alone: `slicectl join-token a > token`."""
    if kind not in KINDS:
        raise InvalidError(f"--kind {kind!r} is not one of {', '.join(KINDS)}")
    if output not in {None, Format.JSON, Format.YAML}:
        raise cured(InvalidError(f"a token has no {output} form"), "-o json, -o yaml, or no -o for the text alone")
    seconds = parse_seconds("--ttl", ttl)
    with connected(ctx) as api:
        made = api.create("join-tokens", {"kind": kind, "name": name, "ttl_s": seconds})
    if output is not None:
        print(dump_json(made) if output is Format.JSON else dump_yaml(made))
        return
    print(made["status"]["token"])
    if sys.stderr.isatty():
        note(f"for one use within {format_age(seconds)}, as {kind} {name}: give it in a file, --join-token-file")
