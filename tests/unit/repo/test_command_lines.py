"""What the programs take is what the documents say, and the other way round."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from tools.run import ROOT

FLAG = re.compile(r"--[a-z][a-z0-9-]*")
PROGRAMS = {
    "slicer-controller": "controller/README.md",
    "slicer-agent": "slicer/agent/README.md",
    "slicer-dns": "dns/README.md",
}
SLICECTL_PAGE = "docs/reference/slicectl.md"
GENERAL = {"--help", "--version"}
"""Every program has these; nobody needs to be told."""


def help_of(program: str) -> str:
    """What `program --help` prints."""
    command = [str(Path(sys.executable).with_name(program)), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def documented_rows(text: str) -> set[str]:
    """The flags that stand in the first cell of a table's row: `| `--flag X`, `--other` | meaning |`."""
    cells = (line.split("|")[1] for line in text.splitlines() if line.startswith("|"))
    return {flag for cell in cells for flag in FLAG.findall(cell)}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command below `command` that does something, with its words. typer has its own copy of click's classes."""
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))
    elif not command.hidden:
        yield " ".join(path), command


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_of_a_program_is_documented(program: str) -> None:
    """The table of flags in the program's README has each flag that --help shows, and no other."""
    taken = set(FLAG.findall(help_of(program))) - GENERAL

    assert taken == documented_rows((ROOT / PROGRAMS[program]).read_text()) - GENERAL


def test_every_command_of_slicectl_is_documented() -> None:
    """The reference names each command, and each of its options."""
    from slicer.cli.main import build

    page = (ROOT / SLICECTL_PAGE).read_text()
    missing = []
    for words, command in commands(typer.main.get_command(build())):
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("--")}
        missing += [f"slicectl {words}"] if f"slicectl {words}" not in page else []
        missing += [f"slicectl {words} {name}" for name in sorted(options - GENERAL) if f"{name}" not in page]

    assert missing == []


def test_slicectls_commands_in_the_readme_exist() -> None:
    """The first word after slicectl in the README is a command."""
    from slicer.cli.main import build

    group = typer.main.get_command(build())
    assert isinstance(group, TyperGroup)
    used = set(re.findall(r"`slicectl ([a-z-]+)", (ROOT / "README.md").read_text()))

    assert used
    assert used <= set(group.commands)
