"""`slicectl`: the table of its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from slicer.cli import complete, errors
from slicer.cli.commands import shell

HELP = {"help_option_names": ["-h", "--help"]}
OTHERS = {"lab", "chaos", "bench"}
"""Commands that are another program's."""
PASSED_ON: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": []}
"""Of those: the other program reads the options, also those for help."""
EPILOG = "Exit codes: 0 done, 2 wrong input, 4 not found, 5 conflict, 6 denied, 7 unavailable, 8 wait timed out."
DECLARE, LOOK, KEEP, REST = "Slices", "Looking", "Upkeep", "Setting up"

GROUPS = {
    "member": "Which pods belong to a slice.",
    "qos": "Bandwidth of a slice between clusters.",
    "objectives": "What the ways between a slice's clusters are to be like.",
    "topology": "Which clusters of a slice are linked.",
    "tunnels": "How many tunnels there are between gateways.",
    "gateway": "Planned work on gateways: no packet is lost.",
    "config": "Which hub slicectl talks to.",
}
TABLE = (
    (DECLARE, "create-slice", "slices.create_slice"),
    (DECLARE, "delete-slice", "slices.delete_slice"),
    (DECLARE, "member add", "members.add"),
    (DECLARE, "member remove", "members.remove"),
    (DECLARE, "member list", "members.list_"),
    (DECLARE, "export", "services.export"),
    (DECLARE, "unexport", "services.unexport"),
    (DECLARE, "qos set", "slices.qos_set"),
    (DECLARE, "objectives set", "slices.objectives_set"),
    (DECLARE, "topology set", "slices.topology_set"),
    (DECLARE, "tunnels set", "slices.tunnels_set"),
    (LOOK, "status", "health.status"),
    (LOOK, "get", "showing.get"),
    (LOOK, "describe", "showing.describe"),
    (LOOK, "ping", "pinging.ping"),
    (LOOK, "history", "history.history"),
    (LOOK, "whois", "showing.whois"),
    (REST, "install", "installing.install"),
    (REST, "uninstall", "installing.uninstall"),
    (KEEP, "gateway drain", "upkeep.drain"),
    (KEEP, "gateway undrain", "upkeep.undrain"),
    (KEEP, "rotate-keys", "upkeep.rotate_keys"),
    (REST, "delete-node", "nodes.delete_node"),
    (REST, "join-token", "joining.join_token"),
    (REST, "config view", "contexts.view"),
    (REST, "config use-context", "contexts.use_context"),
    (REST, "config set-context", "contexts.set_context"),
    (REST, "lab", "shell.lab"),
    (KEEP, "chaos", "shell.chaos"),
    (KEEP, "bench", "shell.bench"),
    (REST, "completion", "shell.completion"),
    (REST, "version", "health.version"),
)
"""Panel of the help, words, function in `slicer.cli.commands`."""
COMMANDS = {words.split()[0] for _, words, _ in TABLE}


def root(
    context: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            envvar="SLICER_CONTEXT",
            help="Which hub, of the configuration or a running lab.",
            autocompletion=complete.contexts,
        ),
    ] = None,
    server: Annotated[str | None, typer.Option(metavar="URL", help="Another server than the context's.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="The server's CA, PEM.")] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with the bearer token.")] = None,
) -> None:
    """Private networks for chosen pods, across Kubernetes clusters."""
    del context, server, ca, token_file  # read from the root context when a command connects


def build(words: Sequence[str] = ()) -> typer.Typer:
    """The program with its commands; of these only such as `words` name, if they name any."""
    app = typer.Typer(
        name="slicectl",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings=HELP,
        epilog=EPILOG,
    )
    app.callback()(root)
    # Half of slicectl's time goes into commands that nobody called: their imports, their options.
    wanted = COMMANDS.intersection(words) or COMMANDS
    groups: dict[str, typer.Typer] = {}
    for panel, path, function in TABLE:
        first, _, second = path.partition(" ")
        if first not in wanted:
            continue
        if not second:
            _add(app, first, function, rich_help_panel=panel)
            continue
        if first not in groups:
            groups[first] = _group(GROUPS[first])
            app.add_typer(groups[first], name=first, rich_help_panel=panel)
        _add(groups[first], second, function)
    return app


def _group(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, no_args_is_help=True, add_completion=False, context_settings=HELP)


def _add(to: typer.Typer, name: str, function: str, **settings: Any) -> None:
    module, _, attribute = function.partition(".")
    command = getattr(import_module(f"slicer.cli.commands.{module}"), attribute)
    if name in OTHERS:
        settings["context_settings"] = PASSED_ON
    to.command(name, **settings)(command)


def main(argv: list[str] | None = None) -> None:
    """Run slicectl and end the process with its exit code."""
    sys.exit(run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run slicectl; the exit code. Nothing but Exit and the interpreter's end leaves here."""
    words = sys.argv[1:] if argv is None else argv
    try:
        app = build(() if shell.prepare_completion() else words)
        app(args=words, prog_name=shell.program_name(), complete_var=shell.COMPLETE_VARIABLE)
    except SystemExit as end:
        return _code(end.code)
    except BrokenPipeError:
        # Whoever read our output has gone: nobody is left to tell; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return errors.report(error, help_command(words))
    return 0


def help_command(words: Sequence[str]) -> str:
    """`slicectl … --help` of the command that the words call."""
    names = [word for word in words if word in COMMANDS][:1]
    if names and names[0] in GROUPS:
        names = list(words[words.index(names[0]) :][:2])
    return " ".join([shell.program_name(), *names, "--help"])


def _code(code: Any) -> int:
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
