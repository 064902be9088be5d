"""Errors as RFC 9457 problem bodies: the one table from the error tree to HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from slicer.client.codec import FieldsError
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    StaleError,
    UnauthenticatedError,
    UnavailableError,
)
from slicer_controller.store import TooOldError

log = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[SlicerError], int], ...] = (
    (TooOldError, 410),
    (StaleError, 412),
    (ConflictError, 409),
    (InvalidError, 422),
    (NotFoundError, 404),
    (DeniedError, 403),
    (UnauthenticatedError, 401),
    (UnavailableError, 503),
)
"""The first that fits: special ones come before what they are a kind of."""
_HTTP_REASONS: Mapping[int, str] = {404: "NotFound", 405: "MethodNotAllowed"}


def problem(error: SlicerError) -> Response:
    """The answer for an error."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    errors = error.errors if isinstance(error, FieldsError) else ()
    fields = [{"field": item.field, "message": item.message} for item in errors]
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return _render(status, error.reason, error.message, fields, headers)


async def slicer_error(_: Request, error: Exception) -> Response:
    """FastAPI's handler for the error tree."""
    assert isinstance(error, SlicerError)
    return problem(error)


async def http_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler for what its router refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status, path = error.status_code, request.url.path
    detail = f"there is no {path}" if status == 404 else f"{request.method} is not possible on {path}"
    return _render(status, _HTTP_REASONS.get(status, "Error"), detail, [], dict(error.headers or {}))


async def unexpected_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler for a mistake of ours; the log has the details, the answer none."""
    log.error("request failed", exc_info=error, extra={"method": request.method, "path": request.url.path})
    return _render(500, "Internal", "the controller made a mistake; its log says which", [], {})


def _render(
    status: int, reason: str, detail: str, errors: list[dict[str, str]], headers: Mapping[str, str]
) -> Response:
    body: dict[str, Any] = {
        "type": f"https://slicer.io/problems/{reason}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "reason": reason,
        "errors": errors,
    }
    return Response(json.dumps(body), status, dict(headers), media_type="application/problem+json")
