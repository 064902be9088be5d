"""Saved zone views: a file with the lines of `GET /v1/views/zone`, or one JSON object of documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.client.codec import decode_document
from slicer.model.documents import Document, Documents
from slicer.model.errors import InvalidError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A whole zone view and the revision that it is of."""

    documents: Documents
    revision: int = 0


def read_view(path: Path) -> View:
    """The view in the file; UnavailableError if it cannot be read, InvalidError naming file and line if it is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"view file {path}: {error}") from error
    documents: dict[str, Document] = {}
    revision = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            revision = max(revision, _take(documents, line))
        except InvalidError as error:
            raise InvalidError(f"view file {path}, line {number}: {error.message}") from error
    return View(documents=documents, revision=revision)


def _take(documents: dict[str, Document], line: str) -> int:
    """Applies one line of a stream to `documents`; the revision that the line names, else 0."""
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
    revision = said.get("revision", 0)
    return revision if isinstance(revision, int) else 0


def _take_document(documents: dict[str, Document], said: Mapping[str, Any]) -> None:
    key = said["key"]
    if not isinstance(key, str):
        raise InvalidError(f"key {key!r} is not text")
    if said.get("removed"):
        documents.pop(key, None)
    else:
        documents[key] = decode_document(key, said.get("value"))
