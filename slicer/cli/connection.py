"""From the command line's global options to a server that answers: one place for connecting and for its errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slicer.cli import config
from slicer.cli.errors import cured, cures_of_refusal
from slicer.model.errors import InvalidError, NotFoundError, SlicerError, UnauthenticatedError, UnavailableError

if TYPE_CHECKING:
    from slicer.client.rest import Api


def chosen(ctx: typer.Context) -> config.Context:
    """The context that the global options, the environment and the files give."""
    given: dict[str, Any] = ctx.find_root().params
    return config.choose(
        os.environ,
        name=given.get("context"),
        server=given.get("server"),
        ca=given.get("ca"),
        token_file=given.get("token_file"),
    )


@contextmanager
def connected(ctx: typer.Context) -> Iterator[Api]:
    """A client of the chosen hub; errors of the connection get the cure that fits this context."""
    with opened(chosen(ctx)) as api:
        yield api


@contextmanager
def opened(context: config.Context) -> Iterator[Api]:
    """A client of the hub in `context`, with the calling thread in its network namespace meanwhile."""
    from slicer.client.rest import Api

    with ExitStack() as stack:
        if context.netns is not None:
            _enter(context, stack)
        try:
            yield stack.enter_context(Api(context.server, _ca(context), read_token(context)))
        except SlicerError as error:
            for cure in cures(error, context):
                error.add_note(cure)
            raise


def cures(error: SlicerError, context: config.Context) -> list[str]:
    """What to do about a server that does not answer or does not know us; nothing for other errors."""
    if isinstance(error, UnauthenticatedError):
        source = context.token_file or "`token` in the configuration"
        return [f"the token ({source}) must be the hub's: admin.token in its state directory"]
    if not isinstance(error, UnavailableError):
        return cures_of_refusal(error)
    if "CERTIFICATE_VERIFY_FAILED" in error.message:
        return [f"{context.ca} is not the CA of {context.server}: fetch ca.pem from the hub's state directory"]
    if "WRONG_VERSION_NUMBER" in error.message:
        return [f"{context.server} does not speak TLS: is the port right?"]
    return [f"the server is that of context {context.name!r}: slicectl config view shows where it comes from"]


def read_token(context: config.Context) -> str:
    """The bearer token, from the context or its file; empty if there is none."""
    if context.token is not None or context.token_file is None:
        return context.token or ""
    try:
        return context.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as reason:
        raise _unreadable("token", context.token_file, context, reason) from None


def _ca(context: config.Context) -> Path:
    if context.ca is None:
        error = InvalidError(f"context {context.name!r} names no CA for {context.server}")
        raise cured(error, "--ca ca.pem (from the hub's state directory), or `ca:` in the configuration file")
    try:
        context.ca.read_bytes()
    except OSError as reason:
        raise _unreadable("CA", context.ca, context, reason) from None
    return context.ca


def _unreadable(what: str, path: Path, context: config.Context, reason: Exception) -> SlicerError:
    kind: type[SlicerError] = NotFoundError if isinstance(reason, FileNotFoundError) else InvalidError
    why = reason.strerror if isinstance(reason, OSError) else reason
    error = kind(f"cannot read the {what} file {path} of context {context.name!r}: {why}")
    return cured(error, "slicectl config view shows where the context comes from")


def _enter(context: config.Context, stack: ExitStack) -> None:
    from slicer.kernel.netns import entered

    assert context.netns is not None
    try:
        stack.enter_context(entered(context.netns))
    except FileNotFoundError:
        error = NotFoundError(f"network namespace {context.netns} of context {context.name!r} is gone")
        raise cured(error, "is the lab still running? slicectl lab status; to make it anew: slicectl lab up") from None
    except PermissionError:
        denied = InvalidError(f"only root may enter the network namespace {context.netns} of context {context.name!r}")
        raise cured(denied, f"sudo slicectl --context {context.name} …") from None
