"""Printing: tables, JSON, YAML, names. Colours and the terminal's width only on a terminal; pipes get whole lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from slicer.cli.kinds import Kind, Resource

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPE_WIDTH = 10_000
"""Columns where stdout is no terminal: lines are never broken for whoever reads them by machine."""


class Format(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


STYLES = {
    **dict.fromkeys(("ready", "up", "yes", "attached", "ok", "connected"), "green"),
    **dict.fromkeys(("pending", "detaching", "stale", "none", "waiting"), "yellow"),
    **dict.fromkeys(("down", "no", "failed"), "red"),
}
"""Words that carry a colour, whole cells only."""


def console(*, stderr: bool = False) -> Console:
    """The terminal, or a very wide page without colours."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show(what: RenderableType, *, stderr: bool = False) -> None:
    """Print one rich renderable, without spaces at the ends of lines."""
    page = console(stderr=stderr)
    with page.capture() as captured:
        page.print(what)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=page.file)


def new_table(*titles: str, header: bool = True) -> Table:
    """An empty table in the form of all our tables: no lines, bold titles, two spaces between columns."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=header)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def cell(text: str) -> RenderableType:
    """A cell; state words carry their colour, nothing in the text is read as markup."""
    from rich.text import Text

    return Text(text, style=STYLES.get(text, ""))


def render_table(
    kind: Kind, resources: Sequence[Resource], now: float, *, wide: bool, header: bool = True
) -> RenderableType:
    """The resources of one kind in the given order: one a line, or one a block where the lines are too long."""
    columns = [column for column in kind.columns if wide or not column.wide]
    titles = [column.title for column in columns]
    rows = [[column.cell(resource, now) for column in columns] for resource in resources]
    if natural_width([titles, *rows]) > console().width:
        return _blocks(titles, rows)
    table = new_table(*titles, header=header)
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def natural_width(rows: Sequence[Sequence[str]]) -> int:
    """How many columns of the terminal the rows take side by side, unbroken."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1)


def _blocks(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for row in rows:
        block = new_table("", "", header=False)
        for title, text in zip(titles, row, strict=True):
            block.add_row(Text(title, style="bold"), cell(text))
        parts += ["", block] if parts else [block]
    return Group(*parts)


def dump_json(value: Any) -> str:
    """JSON as people and `jq` read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def dump_yaml(value: Any) -> str:
    """YAML in the order of the fields, without a final newline."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True)).rstrip("\n")


def print_resources(
    kind: Kind, resources: Sequence[Resource], output: Format, now: float, *, one: bool = False, header: bool = True
) -> None:
    """Print a list in the wanted format; with `one`, JSON and YAML are the object itself."""
    if output in {Format.TABLE, Format.WIDE}:
        show(render_table(kind, resources, now, wide=output is Format.WIDE, header=header))
    elif output is Format.NAME:
        for resource in resources:
            print(f"{kind.singular}/{kind.name_of(resource)}")
    else:
        value: Any = resources[0] if one else {"items": list(resources)}
        print(dump_json(value) if output is Format.JSON else dump_yaml(value))


def note(text: str) -> None:
    """A remark for people, on stderr: stdout holds only what was asked for."""
    print(text, file=sys.stderr)
