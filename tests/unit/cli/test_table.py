"""The table of slicectl's commands: what is built for one command is what is built for all."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from slicer.cli.main import COMMANDS, GROUPS, TABLE, build


def options(command: Any) -> dict[str, list[tuple[str, ...]]]:
    """Each command below this one, by its words, with all names of its options."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            found |= {f"{name} {below}": params for below, params in options(child).items()}
        else:
            found[name] = [tuple(param.opts) for param in child.params]
    return found


EVERYTHING = options(typer.main.get_command(build()))


@pytest.mark.parametrize("first", sorted(COMMANDS))
def test_a_command_built_alone_is_the_same(first: str) -> None:
    """Whoever calls it gets the same options as the help of all commands shows, and no other command beside it."""
    alone = options(typer.main.get_command(build(["--context", "prod", first, "--wait"])))

    assert alone == {words: params for words, params in EVERYTHING.items() if words.split()[0] == first}
    assert alone


def test_the_table_holds_each_command_once() -> None:
    """And every group has commands."""
    assert sorted(EVERYTHING) == sorted({words for _, words, _ in TABLE})
    assert set(GROUPS) == {words.split()[0] for words in EVERYTHING if " " in words}


def test_words_without_a_command_get_all() -> None:
    """So that help lists them, and a mistake is answered by all that there is."""
    assert options(typer.main.get_command(build(["--help"]))) == EVERYTHING
    assert options(typer.main.get_command(build(["creat-slice"]))) == EVERYTHING


def test_a_command_reads_no_other_commands_modules() -> None:
    """What installs Slicer is a third of slicectl; listing members does not read it."""
    script = (
        "import sys; from slicer.cli.main import run; run(['member', 'list', '--help']); "
        "print([n for n in sys.modules if n.startswith('slicer.cli.install')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "slicectl member list" in done.stdout
    assert done.stderr == "[]\n"
