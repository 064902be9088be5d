"""One rule for memberships, whether an object of ours, a pod or a namespace declares them.

A refusal changes nothing: what was accepted under the name before goes on, unless what it stood on is gone itself.
"""

from __future__ import annotations

from slicer.model.documents import key_of
from slicer.model.errors import (
    DeniedError,
    InvalidError,
    SlicerError,
    StaleError,
    UnauthenticatedError,
    UnavailableError,
)
from slicer.model.slices import Membership
from slicer.plan import validation
from slicer_controller.context import Context

_ENDING = frozenset({"Ended", "NamespaceNotAllowed", "NotFound"})
"""Reasons that end what was accepted before: its time is over, or slice or cluster are not (or not for it) any more."""


def accept_membership(context: Context, member: Membership) -> None:
    """Store the membership if it may be, or raise why not."""
    try:
        if member.until_s is not None and member.until_s <= context.clock():
            raise InvalidError(f"membership ended at {context.time_text(member.until_s)}", reason="Ended")
        validation.check_membership(member, context.state.documents)
    except SlicerError as error:
        if error.reason in _ENDING:
            context.state.delete(key_of(member))
        raise
    context.state.put(member)


def is_passing(error: SlicerError) -> bool:
    """Whether it is no fault of what was declared: the store did not take it now, and it is to be tried again.

    A refusal without a reason of its own is the API server's, of us: it has just started, or our rights are missing.
    """
    if isinstance(error, DeniedError):
        return error.reason == DeniedError.reason
    return isinstance(error, UnavailableError | StaleError | UnauthenticatedError)
