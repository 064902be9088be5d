"""`completion`, `lab`, `chaos` and `bench`: what belongs to the shell and to this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from slicer.cli.errors import cured
from slicer.model.errors import InvalidError

COMPLETE_VARIABLE = "_SLICECTL_COMPLETE"
PROGRAMS = ("slicectl", "kubectl-slicer")
SHELLS = ("bash", "zsh", "fish")


def program_name() -> str:
    """The name under which the user called us: help and completion speak of it."""
    called = Path(sys.argv[0]).name
    return called if called in PROGRAMS else PROGRAMS[0]


def prepare_completion() -> bool:
    """Whether a shell is asking now. Typer is then taught the shells; it does so itself only for its own options."""
    if COMPLETE_VARIABLE not in os.environ:
        return False
    from typer._completion_classes import completion_init

    completion_init()
    return True


def completion(
    shell: Annotated[
        str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=lambda: list(SHELLS))
    ],
) -> None:
    """Print the completion script of a shell; names are completed from the server.

    bash: source <(slicectl completion bash)   zsh: the same with zsh   fish: slicectl completion fish | source
    """
    from typer._completion_shared import get_completion_script

    if shell not in SHELLS:
        raise cured(InvalidError(f"shell {shell!r} is not one of {', '.join(SHELLS)}"), "slicectl completion bash")
    print(get_completion_script(prog_name=program_name(), complete_var=COMPLETE_VARIABLE, shell=shell))


def lab(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND …", help="Without any: what the lab can do.")
    ] = None,
) -> None:
    """Clusters on this machine, to try Slicer and to test with: up, run, exec, status, down."""
    _become("slicer.lab", arguments)


def chaos(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND …", help="Without any: what there is to do.")
    ] = None,
) -> None:
    """Break parts of a running lab on purpose, and see whether a slice stands it: list, run, status, repair."""
    _become("slicer.lab.chaos", arguments)


def bench(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="failover", help="The one thing that there is to measure.")
    ] = None,
) -> None:
    """Measure in a running lab how long flows stand still when a gateway, its WireGuard or a link dies."""
    _become("slicer.lab.chaos", ["bench", *(arguments or ["--help"])])


def _become(module: str, arguments: list[str] | None) -> None:
    """The lab is a process of its own, on this terminal: no component imports another."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *(arguments or ["--help"])])  # noqa: S606 - see above
