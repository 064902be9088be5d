"""The REST client: dicts in and out, problem bodies become the error tree, silence becomes UnavailableError.

`Api` is for users (slicectl, tests); `ask` is the one place where an answer is judged, for all clients of a controller.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from slicer.client.codec import FieldError, FieldsError
from slicer.client.http import httpx
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    StaleError,
    UnauthenticatedError,
    UnavailableError,
)

KEEPALIVE_S = 5.0
"""A server writes a line at least this often while a stream is open (ARCHITECTURE.md, "Documents, views, reports")."""
READ_TIMEOUT_S = 3 * KEEPALIVE_S
"""A stream that is silent for three keep-alives is dead."""
TIMEOUT = httpx.Timeout(10.0, read=READ_TIMEOUT_S)
_BY_STATUS: Mapping[int, type[SlicerError]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    403: DeniedError,
    404: NotFoundError,
    405: InvalidError,
    409: ConflictError,
    410: StaleError,
    412: StaleError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
    503: UnavailableError,
}
_BY_REASON: Mapping[str, type[SlicerError]] = {ExhaustedError.reason: ExhaustedError}


def error_from(status: int, body: bytes) -> SlicerError:
    """The error that a problem body (RFC 9457) tells; any other body of a failed answer is shown as it is."""
    try:
        problem = json.loads(body)
        detail, reason = str(problem["detail"]), str(problem["reason"])
    except (ValueError, KeyError, TypeError):
        kind = _BY_STATUS.get(status, UnavailableError)
        return kind(f"the controller answered {status}: {body[:200].decode(errors='replace')!r}")
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status, UnavailableError)
    error = kind(detail, reason=reason)
    if isinstance(error, InvalidError) and problem.get("errors"):
        return _with_fields(detail, reason, problem["errors"])
    return error


def _with_fields(detail: str, reason: str, errors: list[Mapping[str, str]]) -> FieldsError:
    fields = tuple(FieldError(field=item.get("field", ""), message=item.get("message", "")) for item in errors)
    error = FieldsError("input", fields)
    error.message, error.reason, error.args = detail, reason, (detail,)
    return error


def unavailable(server: str, error: Exception) -> UnavailableError:
    """The error for a controller that cannot be reached; says which and what to look at."""
    return UnavailableError(
        f"controller {server} does not answer ({error}); is it running, and is its address right?",
    )


def ask(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """The decoded JSON answer (None for an empty one); a SlicerError for a refusal or silence."""
    try:
        answer = client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise unavailable(str(client.base_url), error) from None
    if answer.is_error:
        raise error_from(answer.status_code, answer.content)
    return answer.json() if answer.content else None


def lines(client: httpx.Client, path: str, params: Mapping[str, Any]) -> Iterator[Any]:
    """The JSON lines of a stream, as they come; ends when the server ends it."""
    try:
        with client.stream("GET", path, params=dict(params)) as answer:
            if answer.is_error:
                raise error_from(answer.status_code, answer.read())
            for line in answer.iter_lines():
                yield json.loads(line)
    except httpx.HTTPError as error:
        raise unavailable(str(client.base_url), error) from None


class Api:
    """A controller's REST API, for a user with a bearer token. Not for use by two threads at once."""

    def __init__(self, server: str, ca: Path | str, token: str) -> None:
        try:
            context = ssl.create_default_context(cafile=str(ca))
        except (OSError, ssl.SSLError) as error:
            raise UnavailableError(f"cannot read the controller's CA certificate {str(ca)!r}: {error}") from None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=server, verify=context, headers=headers, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Any call, e.g. `request("GET", "/healthz")`."""
        return ask(self._client, method, path, **options)

    def page(self, collection: str, **params: Any) -> dict[str, Any]:
        """One page of a list: `{"items", "next", "revision"}`; params: limit, continue, slice, cluster."""
        answer: dict[str, Any] = ask(self._client, "GET", f"/v1/{collection}", params=params)
        return answer

    def list(self, collection: str, **params: Any) -> list[dict[str, Any]]:
        """All items of a collection, page by page."""
        items: list[dict[str, Any]] = []
        while True:
            page = self.page(collection, **params)
            items += page["items"]
            if not page["next"]:
                return items
            params["continue"] = page["next"]

    def get(self, collection: str, name: str) -> dict[str, Any]:
        """One resource; NotFoundError if there is none."""
        answer: dict[str, Any] = ask(self._client, "GET", f"/v1/{collection}/{name}")
        return answer

    def create(self, collection: str, spec: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Make a resource; ConflictError if it exists. Answers with the resource as stored."""
        answer: dict[str, Any] = ask(
            self._client, "POST", f"/v1/{collection}", json={"spec": spec}, params=_flags(dry_run=dry_run)
        )
        return answer

    def replace(
        self,
        collection: str,
        name: str,
        spec: Mapping[str, Any],
        *,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Put a whole spec; StaleError if `revision` is given and no longer the current one."""
        return self._write("PUT", collection, name, {"spec": spec}, revision, dry_run=dry_run)

    def patch(
        self,
        collection: str,
        name: str,
        spec: Mapping[str, Any],
        *,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Merge `spec` into what is there (RFC 7396: null takes a field away)."""
        return self._write("PATCH", collection, name, {"spec": spec}, revision, dry_run=dry_run)

    def _write(
        self, method: str, collection: str, name: str, body: Mapping[str, Any], revision: int | None, *, dry_run: bool
    ) -> dict[str, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer: dict[str, Any] = ask(
            self._client,
            method,
            f"/v1/{collection}/{name}",
            content=json.dumps(body),
            headers={"Content-Type": kind} | _if_match(revision),
            params=_flags(dry_run=dry_run),
        )
        return answer

    def delete(
        self, collection: str, name: str, *, revision: int | None = None, force: bool = False, dry_run: bool = False
    ) -> None:
        """Remove a resource; NotFoundError if there is none, ConflictError if it is in use and not `force`."""
        flags = _flags(dry_run=dry_run, force=force)
        ask(self._client, "DELETE", f"/v1/{collection}/{name}", params=flags, headers=_if_match(revision))

    def watch(self, collection: str, *, since: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Changes as they come: `{"type": "put|removed|synced|keepalive", "revision", "object"}`.

        Without `since`: first a `put` for everything that is there, then `synced`. StaleError when `since` is too old.
        """
        resume = {} if since is None else {"since": since}
        return lines(self._client, f"/v1/{collection}", {"watch": "true", **resume, **params})


def _flags(**flags: bool) -> dict[str, str]:
    return {name: "true" for name, value in flags.items() if value}


def _if_match(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}
