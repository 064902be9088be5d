"""Where the zone view comes from: the member (followed, kept on disk), or a file.

Imported when it is needed: pydantic, httpx and cryptography are not carried into the worker processes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from slicer.client.codec import decode_document
from slicer.client.follow import Follower
from slicer.client.identity import Identity, load_or_join
from slicer.model.documents import Document, Documents
from slicer.model.errors import InvalidError, SlicerError, UnavailableError
from slicer_dns.options import Options

LOG = logging.getLogger("slicer_dns.sources")
VIEW_PATH = "/v1/views/zone"
JOIN_BACKOFF_S = (0.2, 10.0)
"""Shortest and longest wait before a member that does not answer is asked again to let us join."""

Show = Callable[[Documents], None]
TokenSource = Callable[[], str | None]
"""The join token, if there is one; UnavailableError while it is not there yet."""


@asynccontextmanager
async def member_source(state: Path, token: TokenSource, show: Show) -> AsyncIterator[None]:
    """Joins if needed and follows the member's view; `show` is called from another thread.

    The last view on disk is shown at once. SlicerError if joining is refused; a member that is down is waited for.
    """
    identity = await _join(state / "identity", token)
    follower = Follower(identity, VIEW_PATH, state / "view.json", show)
    follower.start()
    try:
        yield
    finally:
        await asyncio.to_thread(follower.stop)


async def _join(directory: Path, token: TokenSource) -> Identity:
    wait_s = JOIN_BACKOFF_S[0]
    while True:
        try:
            return await asyncio.to_thread(load_or_join, directory, token(), expect="slicer://dns/")
        except UnavailableError as error:
            LOG.warning("join_waits", extra={"error": error.message, "wait_s": wait_s})
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, JOIN_BACKOFF_S[1])


def token_source(options: Options) -> TokenSource:
    """Where the join token comes from: what Kubernetes gives the pod, or a file."""
    if options.service_join is not None:
        return options.service_join.token
    return partial(_token, options.join_token_file)


def _token(path: Path | None) -> str | None:
    """The token's text; None if there is no file (it may be gone after the first start)."""
    try:
        return path.read_text(encoding="utf-8") if path is not None else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"join token file {path}: {error}") from error


async def follow_file(path: Path, show: Show, again: asyncio.Event) -> None:
    """Shows the file's view whenever `again` is set; a file that is wrong by then changes nothing."""
    while True:
        await again.wait()
        again.clear()
        try:
            await asyncio.to_thread(lambda: show(read_view(path)))
        except SlicerError as error:
            LOG.warning("view_kept", extra={"error": error.message})


def read_view(path: Path) -> Documents:
    """The view in a file: the lines of `GET /v1/views/zone`, or what a follower keeps on disk.

    UnavailableError if it cannot be read, InvalidError naming file and line if it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"view file {path}: {error}") from error
    documents: dict[str, Document] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            _take(documents, line)
        except InvalidError as error:
            raise InvalidError(f"view file {path}, line {number}: {error.message}") from error
    return documents


def _take(documents: dict[str, Document], line: str) -> None:
    """Applies one line to `documents`; lines without documents (synced, keepalive) change nothing."""
    try:
        said = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidError(f"not JSON: {error}") from None
    if not isinstance(said, Mapping):
        raise InvalidError("not a JSON object")
    if "key" in said:
        _take_document(documents, said)
    elif isinstance(said.get("documents"), Mapping):
        documents.update((key, decode_document(key, value)) for key, value in said["documents"].items())


def _take_document(documents: dict[str, Document], said: Mapping[str, Any]) -> None:
    key = said["key"]
    if not isinstance(key, str):
        raise InvalidError(f"key {key!r} is not text")
    if said.get("removed"):
        documents.pop(key, None)
    else:
        documents[key] = decode_document(key, said.get("value"))
