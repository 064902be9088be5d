"""`history`: what the ways between clusters were like, minute by minute."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from slicer.cli import options
from slicer.cli.commands.showing import in_cluster
from slicer.cli.connection import connected
from slicer.cli.minutes import history_kind, latest
from slicer.cli.output import Format, note, print_resources
from slicer.cli.quantities import format_age, parse_duration
from slicer.model.errors import InvalidError


def history(
    ctx: typer.Context,
    slice_name: options.SliceFilter = None,
    cluster: options.ClusterFilter = None,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back: 10m, 1h; three hours are kept.")] = "1h",
    output: options.Output = None,
) -> None:
    """Show what the tunnels were like minute by minute: round trip, loss, when they were down.

    A row for each way, from one gateway to another. The hub keeps this in memory: it begins anew when the hub does.
    In the picture of the p99, now is on the right; · is unknown, x was not up at all.
    """
    since_s = parse_duration("--since", since)
    if since_s <= 0:
        raise InvalidError(f"--since {since!r} is no time at all")
    kind = history_kind(since_s)
    with connected(ctx) as api:
        found = api.list(kind.collection, **({} if slice_name is None else {"slice": slice_name}))
    now = time.time()
    # As in `get tunnels`: both ends are of the cluster's tunnels; the hub's filter knows the end that reports.
    shown = latest([one for one in found if cluster is None or in_cluster(one, cluster)], now, since_s)
    if not shown:
        note(f"nothing is known of the last {format_age(since_s)}: the hub keeps three hours, and forgets at its end")
    if shown or output not in {None, Format.TABLE, Format.WIDE}:
        print_resources(kind, sorted(shown, key=kind.name_of), output or Format.TABLE, now)
