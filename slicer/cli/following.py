"""`get --watch`: the table kept up to date in place on a terminal, one line a change for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from slicer.cli.kinds import Kind, Resource
from slicer.cli.output import Format, console, dump_yaml, print_resources, render_table

if TYPE_CHECKING:
    from slicer.client.rest import Api

Change = tuple[str, Resource]
"""(`put` or `removed`, resource)"""


def follow(api: Api, kind: Kind, output: Format, wanted: Callable[[Resource], bool], asked: Mapping[str, Any]) -> None:
    """Print what is there and every change, until the server or the user ends it. `asked`: of the server."""
    batches = _batches(api.watch(kind.collection, **asked), wanted)
    if output in {Format.TABLE, Format.WIDE} and sys.stdout.isatty():
        _redraw(kind, batches, wide=output is Format.WIDE)
    else:
        for batch in batches:
            for change in batch:
                _print_change(kind, change, output)


def _batches(events: Iterator[Resource], wanted: Callable[[Resource], bool]) -> Iterator[list[Change]]:
    """The whole first view in one list, then each change alone (an empty list for a keep-alive)."""
    first: list[Change] | None = []
    for event in events:
        resource = event.get("object")
        changes = [(str(event["type"]), resource)] if resource is not None and wanted(resource) else []
        if first is None:
            yield changes
        elif event["type"] == "synced":
            yield first
            first = None
        else:
            first += changes


def apply_changes(shown: dict[str, Resource], kind: Kind, changes: list[Change]) -> dict[str, Resource]:
    """What is there after `changes`."""
    after = dict(shown)
    for type_, resource in changes:
        name = identity(kind, resource)
        if type_ == "removed":
            after.pop(name, None)
        else:
            after[name] = resource
    return after


def identity(kind: Kind, resource: Resource) -> str:
    """What tells resources of a kind apart: the name, and the interface where one pod may have several."""
    return f"{kind.name_of(resource)}/{resource['spec'].get('interface') or ''}"


def _redraw(kind: Kind, batches: Iterator[list[Change]], *, wide: bool) -> None:
    from rich.live import Live

    shown: dict[str, Resource] = {}
    with Live(console=console(), auto_refresh=False) as live:
        for batch in batches:
            shown = apply_changes(shown, kind, batch)
            rows = [shown[name] for name in sorted(shown)]
            live.update(render_table(kind, rows, time.time(), wide=wide), refresh=True)


def _print_change(kind: Kind, change: Change, output: Format) -> None:
    type_, resource = change
    if output is Format.JSON:
        print(json.dumps({"type": type_, "object": resource}), flush=True)
    elif output is Format.YAML:
        print(f"---\n{dump_yaml({'type': type_, 'object': resource})}", flush=True)
    elif type_ == "removed":
        print(f"{kind.singular}/{kind.name_of(resource)} removed", flush=True)
    else:
        print_resources(kind, [resource], output, time.time(), header=False)
        sys.stdout.flush()
