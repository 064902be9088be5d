"""The error tree. Every error that a user can see is one of these, and its message names the thing and the text.

    SlicerError
      InvalidError        the input itself is wrong (REST 422, CNI 2/6/7, exit 2)
      NotFoundError       the named thing does not exist (404, exit 4)
      ConflictError       right in itself, but it collides with what is there (409, exit 5)
        ExhaustedError    a pool has no free address or block; names the pool
        StaleError        somebody changed it since it was read (412)
      DeniedError         the asker may not do that (403, exit 6)
      UnauthenticatedError  nobody knows the asker (401, exit 6)
      UnavailableError    something that is needed does not answer now; try again (503, CNI 11, exit 7)

`reason` is one CamelCase word for machines (also a condition's reason), the message is for people.
"""

from __future__ import annotations


class SlicerError(Exception):
    """Something that a user asked for could not be done; `reason` is one CamelCase word."""

    reason = "Error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class InvalidError(SlicerError, ValueError):
    """The input is wrong whatever the state of the system; names the field and the offending text."""

    reason = "Invalid"


class NotFoundError(SlicerError):
    """The named thing does not exist."""

    reason = "NotFound"


class ConflictError(SlicerError):
    """The request collides with something that exists; names both sides."""

    reason = "Conflict"


class ExhaustedError(ConflictError):
    """A pool ran out; names the pool."""

    reason = "PoolExhausted"


class StaleError(ConflictError):
    """The revision that the caller read is no longer the current one."""

    reason = "Stale"


class DeniedError(SlicerError):
    """The asker is known and may not do that."""

    reason = "Denied"


class UnauthenticatedError(SlicerError):
    """The asker showed no valid certificate or token."""

    reason = "Unauthenticated"


class UnavailableError(SlicerError):
    """A part that is needed does not answer now; the same call may succeed later."""

    reason = "Unavailable"
