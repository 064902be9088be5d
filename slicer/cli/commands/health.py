"""`status`: one screen that says whether all is well, and if not, what to do. `version`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from slicer.cli import options
from slicer.cli.connection import chosen, connected
from slicer.cli.diagnosis import Problem, problems, summary
from slicer.cli.kinds import KINDS
from slicer.cli.output import Format, cell, dump_json, dump_yaml, new_table, show
from slicer.model.errors import SlicerError

if TYPE_CHECKING:
    from rich.console import RenderableType

PROBLEMS_EXIT = 7


def status(ctx: typer.Context, output: options.Output = None) -> None:
    """Is everything well? If not: what is wrong, and what to do. Exit code 7 if something is broken."""
    context = chosen(ctx)
    with connected(ctx) as api:
        snapshot = {kind.collection: api.list(kind.collection) for kind in KINDS}
    now = time.time()
    found = problems(snapshot, now)
    counts = summary(snapshot, now)
    if output in {Format.JSON, Format.YAML}:
        value = _document(context.server, counts, found)
        print(dump_json(value) if output is Format.JSON else dump_yaml(value))
    else:
        show(render_status(context.name, context.server, counts, found))
    if any(not one.hint for one in found):
        raise typer.Exit(PROBLEMS_EXIT)


def version(ctx: typer.Context) -> None:
    """Show the versions of slicectl and of the hub."""
    print(f"slicectl {client_version()}")
    try:
        with connected(ctx) as api:
            info = api.request("GET", "/openapi.json")["info"]
        print(f"hub      API {info['version']} ({chosen(ctx).server})")
    except SlicerError as error:
        print(f"hub      unknown: {error.message}")


def client_version() -> str:
    """The version of the installed package."""
    from importlib import metadata

    return metadata.version("pod-slicer")


def render_status(name: str, server: str, counts: list[tuple[str, str, str]], found: list[Problem]) -> RenderableType:
    """The screen."""
    from rich.console import Group
    from rich.text import Text

    table = new_table("", "", "", header=False)
    table.columns[1].justify = "right"
    table.add_row(Text("hub", style="bold"), "", cell(f"{server} ({name})"))
    for kind, count, detail in counts:
        table.add_row(Text(kind, style="bold"), count, cell(detail))
    if not found:
        return Group(table, "", Text("✓ all is well", style="green"))
    return Group(table, *(line for one in found for line in _problem(one)))


def _problem(one: Problem) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    mark = Text("! ", style="yellow") if one.hint else Text("✗ ", style="red")
    return ["", Text.assemble(mark, one.what), Padding(Text(one.cure, style="dim"), (0, 0, 0, 2))]


def _document(server: str, counts: list[tuple[str, str, str]], found: list[Problem]) -> dict[str, Any]:
    return {
        "server": server,
        "counts": {kind: int(count) for kind, count, _ in counts},
        "problems": [{"what": one.what, "cure": one.cure, "hint": one.hint} for one in found],
    }
