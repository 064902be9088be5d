"""`config`: which hubs slicectl knows and which one it talks to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from slicer.cli import complete, config
from slicer.cli.errors import cured
from slicer.cli.output import cell, new_table, note, show
from slicer.model.errors import InvalidError, NotFoundError


def view(ctx: typer.Context) -> None:
    """Show the configuration: contexts, where each comes from, and which one is used now (*)."""
    path = config.default_path(os.environ)
    file = config.load(path)
    labs = config.labs()
    used = _used(ctx)
    note(f"file: {path}{'' if file else ' (does not exist)'}")
    rows = [*((one, "file") for one in (file.contexts if file else ())), *((one, "running lab") for one in labs)]
    if not rows:
        note("no contexts; make one with: slicectl config set-context NAME --server … --ca … --token-file …")
        return
    table = new_table("", "CONTEXT", "SERVER", "CA", "TOKEN", "FROM")
    for context, source in rows:
        token = str(context.token_file or ("(in the file)" if context.token else "-"))
        mark = "*" if used == context else ""
        table.add_row(mark, *map(cell, (context.name, context.server, str(context.ca or "-"), token, source)))
    show(table)


def use_context(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the context.", autocompletion=complete.contexts)],
) -> None:
    """Talk to this hub from now on."""
    file = _file()
    known = (*file.contexts, *config.labs())
    if name not in {context.name for context in known}:
        names = ", ".join(context.name for context in known) or "none"
        raise cured(NotFoundError(f"there is no context {name!r}; known are: {names}"), "slicectl config set-context")
    config.save(replace(file, current=name))
    note(f"context {name} is used from now on ({file.path})")


def set_context(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the context; it is made if it does not exist.")],
    server: Annotated[str | None, typer.Option(metavar="URL", help="Where the hub is: https://HOST:PORT.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="The hub's CA, PEM.")] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with the bearer token.")] = None,
    netns: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Network namespace to enter before connecting.")
    ] = None,
) -> None:
    """Write down how to reach a hub; what is not given stays as it is."""
    file = _file()
    old = file.context(name)
    given = {
        "server": server,
        "ca": ca and ca.absolute(),
        "token_file": token_file and token_file.absolute(),
        "netns": netns and netns.absolute(),
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if old is None and server is None:
        error = InvalidError(f"context {name!r} is new: it needs a server")
        raise cured(error, f"slicectl config set-context {name} --server https://HOST:8443 --ca FILE --token-file FILE")
    if server is not None and not server.startswith("https://"):
        raise cured(InvalidError(f"--server {server!r} is not an https:// URL"), "--server https://HOST:8443")
    made = replace(old or config.Context(name=name, server=str(server)), **changes)  # type: ignore[arg-type]
    others = tuple(context for context in file.contexts if context.name != name)
    config.save(replace(file, current=file.current or name, contexts=(*others, made)))
    note(f"context {name} {'changed' if old else 'made'} ({file.path})")


def _file() -> config.Config:
    path = config.default_path(os.environ)
    return config.load(path) or config.Config(path=path)


def _used(ctx: typer.Context) -> config.Context | None:
    from slicer.cli.connection import chosen
    from slicer.model.errors import SlicerError

    try:
        return chosen(ctx)
    except SlicerError:
        return None
