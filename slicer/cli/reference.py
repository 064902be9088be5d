"""`python -m slicer.cli.reference`: the reference page of slicectl as Markdown on stdout, made from its commands.

python -m slicer.cli.reference > docs/reference/slicectl.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from slicer.cli.errors import EXIT_CODES
from slicer.cli.main import build

HEAD = """# slicectl

The command line of Slicer. This page is made from the program by `python -m slicer.cli.reference`.
Guides: [slices](../guide/slices.md), [members](../guide/members.md), [services](../guide/services.md),
[bandwidth](../guide/bandwidth.md), [upkeep](../guide/upkeep.md), [troubleshooting](../guide/troubleshooting.md).
Which hub it talks to, its files and variables: [slicer/cli](../../slicer/cli/README.md).
"""


def render() -> str:
    """The whole page."""
    root = typer.main.get_command(build())
    commands = list(walk(root, ()))
    parts = [HEAD, *_exit_codes(), "## Options before the command\n", *_options(root), "## Commands\n"]
    parts += [f"* [`slicectl {' '.join(words)}`](#slicectl-{'-'.join(words)})" for words, _ in commands]
    for words, command in commands:
        parts += ["", *_command(words, command)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip("\n") + "\n"


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words after `slicectl`, command) of everything that does something, in the order of the help."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from walk(child, (*path, name))


def _exit_codes() -> list[str]:
    rows = [("0", "done"), ("1", "unexpected: a bug"), *((str(code), what) for code, _, what in EXIT_CODES)]
    rows += [("130", "interrupted from the keyboard")]
    table = [f"| {code} | {what} |" for code, what in rows]
    return ["## Exit codes\n", "| code | meaning |", "|---|---|", *table, ""]


def _command(words: tuple[str, ...], command: Any) -> list[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join(["slicectl", *words, *map(_usage, arguments), "[OPTIONS]"])
    text = inspect.cleandoc(command.help or "")
    rows = [f"| `{_metavar(param)}` | {_cell(param.help)} |" for param in arguments]
    table = ["| argument | what |", "|---|---|", *rows, ""] if rows else []
    return [f"### slicectl {' '.join(words)}\n", f"```\n{usage}\n```\n", f"{text}\n", *table, *_options(command)]


def _options(command: Any) -> list[str]:
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    rows = [f"| {_names(param)} | {_cell(param.help)}{_default(param)} |" for param in options]
    return ["| option | what |", "|---|---|", *rows, ""] if rows else []


def _names(param: Any) -> str:
    long_first = sorted((*param.opts, *param.secondary_opts), key=len, reverse=True)
    value = "" if param.is_flag else f" {_metavar(param)}"
    names = [f"`{long_first[0]}{value}`", *(f"`{name}`" for name in long_first[1:])]
    return ", ".join(names).replace("|", "\\|")


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _usage(param: Any) -> str:
    return _metavar(param) if param.required else f"[{_metavar(param)}]"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(param: Any) -> str:
    shown = isinstance(param.default, str | int) and not isinstance(param.default, bool) and param.default != ""
    return f" Default: `{param.default}`." if shown else ""


if __name__ == "__main__":
    print(render(), end="")
