"""`slicectl`: the table of its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from slicer.cli import complete, errors
from slicer.cli.commands import (
    contexts,
    health,
    installing,
    joining,
    members,
    nodes,
    pinging,
    services,
    shell,
    showing,
    slices,
    upkeep,
)

HELP = {"help_option_names": ["-h", "--help"]}
PASSED_ON: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": []}
"""Of commands that are another program's: it reads the options, also those for help."""
EPILOG = "Exit codes: 0 done, 2 wrong input, 4 not found, 5 conflict, 6 denied, 7 unavailable, 8 wait timed out."
DECLARE, LOOK, KEEP, REST = "Slices", "Looking", "Upkeep", "Setting up"


def _group(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, no_args_is_help=True, add_completion=False, context_settings=HELP)


app = typer.Typer(
    name="slicectl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=HELP,
    epilog=EPILOG,
)
member = _group("Which pods belong to a slice.")
qos = _group("Bandwidth of a slice between clusters.")
objectives = _group("What the ways between a slice's clusters are to be like.")
gateway = _group("Planned work on gateways: no packet is lost.")
config = _group("Which hub slicectl talks to.")


@app.callback()
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


app.command("create-slice", rich_help_panel=DECLARE)(slices.create_slice)
app.command("delete-slice", rich_help_panel=DECLARE)(slices.delete_slice)
app.add_typer(member, name="member", rich_help_panel=DECLARE)
member.command("add")(members.add)
member.command("remove")(members.remove)
member.command("list")(members.list_)
app.command("export", rich_help_panel=DECLARE)(services.export)
app.command("unexport", rich_help_panel=DECLARE)(services.unexport)
app.add_typer(qos, name="qos", rich_help_panel=DECLARE)
qos.command("set")(slices.qos_set)
app.add_typer(objectives, name="objectives", rich_help_panel=DECLARE)
objectives.command("set")(slices.objectives_set)

app.command("status", rich_help_panel=LOOK)(health.status)
app.command("get", rich_help_panel=LOOK)(showing.get)
app.command("describe", rich_help_panel=LOOK)(showing.describe)
app.command("ping", rich_help_panel=LOOK)(pinging.ping)
app.command("whois", rich_help_panel=LOOK)(showing.whois)

app.command("install", rich_help_panel=REST)(installing.install)
app.command("uninstall", rich_help_panel=REST)(installing.uninstall)
app.add_typer(gateway, name="gateway", rich_help_panel=KEEP)
gateway.command("drain")(upkeep.drain)
gateway.command("undrain")(upkeep.undrain)
app.command("rotate-keys", rich_help_panel=KEEP)(upkeep.rotate_keys)

app.command("delete-node", rich_help_panel=REST)(nodes.delete_node)
app.command("join-token", rich_help_panel=REST)(joining.join_token)
app.add_typer(config, name="config", rich_help_panel=REST)
config.command("view")(contexts.view)
config.command("use-context")(contexts.use_context)
config.command("set-context")(contexts.set_context)
app.command("lab", rich_help_panel=REST, context_settings=PASSED_ON)(shell.lab)
app.command("chaos", rich_help_panel=KEEP, context_settings=PASSED_ON)(shell.chaos)
app.command("bench", rich_help_panel=KEEP, context_settings=PASSED_ON)(shell.bench)
app.command("completion", rich_help_panel=REST)(shell.completion)
app.command("version", rich_help_panel=REST)(health.version)
GROUPS = {"member", "qos", "objectives", "gateway", "config"}
COMMANDS = GROUPS | {str(command.name) for command in app.registered_commands}


def main(argv: list[str] | None = None) -> None:
    """Run slicectl and end the process with its exit code."""
    sys.exit(run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run slicectl; the exit code. Nothing but Exit and the interpreter's end leaves here."""
    shell.prepare_completion()
    try:
        app(args=argv, prog_name=shell.program_name(), complete_var=shell.COMPLETE_VARIABLE)
    except SystemExit as end:
        return _code(end.code)
    except BrokenPipeError:
        # Whoever read our output has gone: nobody is left to tell; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return errors.report(error, help_command(sys.argv[1:] if argv is None else argv))
    return 0


def help_command(words: list[str]) -> str:
    """`slicectl … --help` of the command that the words call."""
    names = [word for word in words if word in COMMANDS][:1]
    if names and names[0] in GROUPS:
        names = words[words.index(names[0]) :][:2]
    return " ".join([shell.program_name(), *names, "--help"])


def _code(code: Any) -> int:
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
