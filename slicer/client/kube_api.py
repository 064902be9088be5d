"""The Kubernetes API by the official client, as JSON: paths in, objects out, one table of errors.

The controller and slicectl's installer use it. Objects stay plain JSON: most of them are our own kinds, of which the
client knows no classes. Requests wait a bounded time; while the API server does not answer, further requests fail at
once for a moment, so that nothing of the controller stands still because of it. Whoever may not write (any more) is
stopped here, request by request.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import quote

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

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

Json = dict[str, Any]
log = logging.getLogger(__name__)
TIMEOUT_S = (2.0, 8.0)
"""To connect (which is tried twice), to answer."""
WRITE_TIMEOUT_S = (2.0, 5.0)
"""Of writes: shorter, because the leader gives up writing that much before another one may lead."""
LONGEST_WRITE_S = 2 * WRITE_TIMEOUT_S[0] + WRITE_TIMEOUT_S[1]
QUESTIONS = ("/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/")
"""What is POSTed here changes nothing."""
PAUSE_S = 1.0
"""After a request that got no answer others fail at once for this long."""
PAGE = 500
"""Objects asked for at once."""
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Api:
    """Requests to one API server; may be used by any thread."""

    def __init__(
        self,
        configuration: Configuration,
        may_write: Callable[[], bool] = lambda: True,
        *,
        timeout_s: tuple[float, float] | None = None,
    ) -> None:
        """`may_write` is asked before each write; `timeout_s` instead of what a leader may wait."""
        # One try again for a connection that the server had closed while it lay idle; never after a request was sent.
        configuration.retries = urllib3.Retry(total=1, connect=1, read=0, redirect=0, status=0, other=0)
        configuration.connection_pool_maxsize = 8
        self.client = ApiClient(configuration)
        self._read_timeout_s, self._write_timeout_s = timeout_s or TIMEOUT_S, timeout_s or WRITE_TIMEOUT_S
        self._down_until_s = 0.0
        self._may_write, self._sealed, self._writing = may_write, False, 0
        self._idle = threading.Condition()

    def get(self, path: str) -> Json:
        """The object at a path."""
        return self.request("GET", path)

    def find(self, path: str) -> Json | None:
        """The object at a path, or None."""
        try:
            return self.request("GET", path)
        except NotFoundError:
            return None

    def create(self, path: str, body: Json) -> Json:
        """Make an object in a collection; StaleError (`Exists`) if it is there."""
        return self.request("POST", path, body=body)

    def replace(self, path: str, body: Json) -> Json:
        """Write an object whole; StaleError if it is not at the body's resourceVersion any more."""
        return self.request("PUT", path, body=body)

    def merge(self, path: str, patch: Json) -> Json:
        """JSON merge patch (RFC 7396); with a resourceVersion in it, StaleError as for `replace`."""
        return self.request("PATCH", path, body=patch, content_type=MERGE)

    def merge_by_key(self, path: str, patch: Json) -> Json:
        """Strategic merge patch, for built-in kinds only: lists of conditions and the like are merged by their keys."""
        return self.request("PATCH", path, body=patch, content_type=STRATEGIC)

    def apply(self, path: str, body: Json, *, manager: str, force: bool = True) -> Json:
        """Server-side apply: make or change exactly the fields in the body."""
        query = [("fieldManager", manager), ("force", "true" if force else "false")]
        return self.request("PATCH", path, body=body, query=query, content_type=APPLY)

    def delete(self, path: str, *, version: str = "") -> None:
        """Remove an object; no error if it is not there. StaleError if it is not at `version` any more."""
        body: Json = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if version:
            body["preconditions"] = {"resourceVersion": version}
        try:
            self.request("DELETE", path, body=body)
        except NotFoundError:
            return

    def each(self, path: str, *, selector: str = "") -> Iterator[Json]:
        """All objects of a collection, in pages."""
        follow = ""
        while True:
            query = [("limit", str(PAGE))]
            query += [("continue", follow)] if follow else []
            query += [("labelSelector", selector)] if selector else []
            answer = self.request("GET", path, query=query)
            yield from answer["items"]
            follow = answer["metadata"].get("continue", "")
            if not follow:
                return

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """One request; an error of the tree if it fails."""
        with self._writer() if _is_write(method, path) else nullcontext():
            return self._request(method, path, body, query or [], content_type)

    def seal(self) -> bool:
        """From now on nothing is written; waits for what is on its way, and says whether that has ended."""
        with self._idle:
            self._sealed = True
            return self._idle.wait_for(lambda: self._writing == 0, LONGEST_WRITE_S)

    @contextmanager
    def _writer(self) -> Iterator[None]:
        with self._idle:
            if self._sealed or not self._may_write():
                raise UnavailableError("this controller does not lead (any more): it writes nothing")
            self._writing += 1
        try:
            yield
        finally:
            with self._idle:
                self._writing -= 1
                self._idle.notify_all()

    def _request(
        self,
        method: str,
        path: str,
        body: Json | None,
        query: list[tuple[str, str]],
        content_type: str,
    ) -> Json:
        if time.monotonic() < self._down_until_s:
            raise UnavailableError("the Kubernetes API server did not answer a moment ago")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        made = self.client.param_serialize(
            method,
            quote(path),
            query_params=query,
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        verb, url, headers, sent, _ = made
        timeout_s = self._write_timeout_s if _is_write(method, path) else self._read_timeout_s
        try:
            response = self.client.call_api(verb, url, headers, sent, _request_timeout=timeout_s)
            data = bytes(response.read())  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            self._down_until_s = time.monotonic() + PAUSE_S
            raise UnavailableError(f"the Kubernetes API server does not answer: {error}") from error
        if response.status >= 400:
            raise translate(response.status, _status_of(data), method, path)
        try:
            answer: Json = json.loads(data)
        except ValueError:
            raise UnavailableError(f"{method} {path}: the answer is not JSON; is that the API server?") from None
        return answer

    def close(self) -> None:
        """Drop all connections."""
        self.client.rest_client.close()


def _is_write(method: str, path: str) -> bool:
    return method != "GET" and not path.startswith(QUESTIONS)


def translate(status: int, answer: Json, method: str, path: str) -> SlicerError:
    """The one table from the API server's refusals to the error tree."""
    message = str(answer.get("message") or f"{method} {path}: HTTP {status}")
    match status:
        case 404:
            return NotFoundError(message)
        case 409 if answer.get("reason") == "AlreadyExists":
            return StaleError(message, reason="Exists")
        case 409:
            return StaleError(message)
        case 401:
            return UnauthenticatedError(f"the Kubernetes API server does not know us: {message}")
        case 403:
            return DeniedError(message)
        case 400 | 415 | 422:
            return InvalidError(message)
        case 429 | 500 | 502 | 503 | 504:
            return UnavailableError(message)
        case _:
            return ConflictError(message)


def _status_of(data: bytes) -> Json:
    try:
        answer = json.loads(data)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
