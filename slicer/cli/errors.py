"""How errors look and which exit code they have: the one table, and the one place where they are printed.

A *cure* is a note on the exception (`add_note`): what to do, in words or as a command.
"""

from __future__ import annotations

import os
import sys
from typing import TypeVar

from slicer.model.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnauthenticatedError,
    UnavailableError,
)

E = TypeVar("E", bound=Exception)


class WaitTimeoutError(SlicerError):
    """What was waited for did not happen in time; the request itself was done."""

    reason = "WaitTimeout"


UNEXPECTED = 1
EXIT_CODES: tuple[tuple[int, tuple[type[SlicerError], ...], str], ...] = (
    (2, (InvalidError,), "the command line or the input is wrong; nothing was changed"),
    (4, (NotFoundError,), "a named thing does not exist"),
    (5, (ConflictError,), "it collides with something that exists, a pool ran out, or somebody changed it meanwhile"),
    (6, (DeniedError, UnauthenticatedError), "the token is missing, unknown, or may not do that"),
    (
        7,
        (UnavailableError,),
        "the server does not answer now, nobody answered a ping, or `status` found something broken",
    ),
    (8, (WaitTimeoutError,), "the request was done, but `--wait` gave up before the end"),
)
"""(exit code, errors, meaning); 0 is success, 1 everything unexpected, 130 an interruption from the keyboard."""


def exit_code(error: BaseException) -> int:
    """The exit code for `error`."""
    return next((code for code, kinds, _ in EXIT_CODES if isinstance(error, kinds)), UNEXPECTED)


def cured(error: E, cure: str) -> E:
    """`error` with a note that says what to do; for `raise cured(NotFoundError(…), "…")`."""
    error.add_note(cure)
    return error


def report(error: Exception) -> int:
    """Print `error` and its cures to stderr, without a traceback; returns the exit code."""
    if isinstance(error, SlicerError):
        _print(error.message, getattr(error, "__notes__", []))
    else:
        cure = "this is a bug in slicectl: set SLICER_DEBUG=1 and run it again to see where, then report it"
        _print(f"unexpected {type(error).__name__}: {error}", [cure])
    if os.environ.get("SLICER_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    return exit_code(error)


def _print(message: str, cures: list[str]) -> None:
    red, bold, plain = ("\033[31m", "\033[1m", "\033[0m") if _colours() else ("", "", "")
    print(f"{red}error:{plain} {message}", file=sys.stderr)
    for cure in cures:
        print(f"{bold}cure:{plain}  {cure}", file=sys.stderr)


def _colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
