"""How errors look and which exit code they have: the one table, and the one place where they are printed.

A *cure* is a note on the exception (`add_note`): what to do, in words or as a command.
"""

from __future__ import annotations

import os
import re
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
    (9, (), "`chaos`: the slice did not stand an experiment, or one of several could not be played"),
)
"""(exit code, errors, meaning); 0 is success, 1 everything unexpected, 130 an interruption from the keyboard."""


def exit_code(error: BaseException) -> int:
    """The exit code for `error`."""
    return next((code for code, kinds, _ in EXIT_CODES if isinstance(error, kinds)), UNEXPECTED)


_NAMED = re.compile(r"(slice|cluster|membership|export|pod) '?([^' ]+)'?")
_PLURALS = {"membership": "members", "export": "services", "pod": "attachments"}


def cures_of_refusal(error: SlicerError) -> list[str]:
    """The cure for what the hub refused, from the thing that its message names; nothing where none is certain."""
    named = _NAMED.findall(error.message)
    if not named or getattr(error, "__notes__", None):
        return []
    if isinstance(error, NotFoundError):
        return [f"slicectl get {_plural(named[-1][0])} lists those there are"]
    if error.reason == "Exists":
        kind, name = named[0]
        return [f"slicectl get {_plural(kind)} {name} -o yaml shows it; take another name, or remove it first"]
    return []


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind}s")


def cured(error: E, cure: str) -> E:
    """`error` with a note that says what to do; for `raise cured(NotFoundError(…), "…")`."""
    error.add_note(cure)
    return error


def report(error: Exception, help_command: str = "slicectl --help") -> int:
    """Print `error` and its cures to stderr, without a traceback; returns the exit code.

    Wrong input without a cure of its own leads to `help_command`, that of the command that was typed.
    """
    if isinstance(error, SlicerError):
        cures = getattr(error, "__notes__", [])
        _print(error.message, cures or ([help_command] if isinstance(error, InvalidError) else []))
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
