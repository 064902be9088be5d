"""Entries of the store as SlicerRecord objects in the controller's namespace. Pure.

The name is readable and unique: what is left of the key, and a digest of the whole key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from slicer.model.errors import InvalidError
from slicer.plan.validation import DECLARED_PREFIX, NAMESPACE_PREFIX, POD_PREFIX
from slicer_controller.kube.naming import API_VERSION, RECORD

Json = dict[str, Any]
_READABLE_MAX = 180
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


class Durability(Enum):
    """How an entry is kept."""

    NOW = "now"
    """In the API server before the write is answered: what users said and what we promised."""
    SOON = "soon"
    """In memory at once, in the API server a moment later: what others reported, and will report again."""
    NEVER = "never"
    """In memory only: measurements, worth nothing after a restart."""


NOW = frozenset(
    {"slice", "cluster", "block", "membership", "export", "drain", "rotation", "nodeblock", "gateway", "grant"}
)
SOON = frozenset({"node", "attachment", "endpoints", "lost", "demand", "wish", "yield", "resolvers"})
NEVER = frozenset({"path", "tunnel", "silence", "ping", "pingresult", "source"})
"""`source` marks whose whole report is in memory: after a restart every source sends its whole report again.

A kind that is in none of the three is the store's users' own (tokens, reservations): kept now.
"""
_OF_THE_HUB = frozenset({"slice", "cluster", "block", "membership", "export", "drain", "rotation"})
"""A member that is no hub has these from the hub, which says them again."""
_OF_MEMBERS: Mapping[str, int] = {"gateway": 1, "nodeblock": 2, "grant": 2}
"""Promises of a cluster's member, and which part of the key is the cluster: other controllers hear them again."""
_DECLARED = (DECLARED_PREFIX, POD_PREFIX, NAMESPACE_PREFIX)


def durability(key: str, *, hub: bool, cluster: str) -> Durability:
    """How the entry under `key` is kept by a hub (or a hub and member), or by a member alone, of `cluster`."""
    kind = key.partition("/")[0]
    if kind in NEVER:
        return Durability.NEVER
    if kind in SOON or (not hub and kind in _OF_THE_HUB) or _author(key) not in {None, cluster}:
        return Durability.SOON
    return Durability.NOW


def _author(key: str) -> str | None:
    """The cluster whose member says the document, so that a report may hold it; None for what a hub says."""
    kind, *parts = key.split("/")
    if kind in _OF_MEMBERS:
        return parts[_OF_MEMBERS[kind] - 1]
    if kind == "membership" and parts[0].startswith(_DECLARED):
        return parts[0].split(".")[1]
    return None


def record_name(key: str) -> str:
    """Name of the object that holds the entry under `key`."""
    readable = _NOT_IN_NAMES.sub("-", key.lower()).strip("-")[:_READABLE_MAX].strip("-") or "x"
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def render_record(key: str, value: Any, *, version: str = "") -> Json:
    """The object; with `version` it replaces only the object of that resourceVersion."""
    metadata: Json = {"name": record_name(key), "labels": {"slicer.io/record": key.partition("/")[0] or "x"}}
    if version:
        metadata["resourceVersion"] = version
    # ASCII: the API server refuses half a surrogate pair, JSON text in ASCII has none.
    spec = {"key": key, "value": json.dumps(value)}
    return {"apiVersion": API_VERSION, "kind": RECORD.kind, "metadata": metadata, "spec": spec}


def parse_record(record: Json) -> tuple[str, Any, float]:
    """Key, value, and Unix time of the object's making; InvalidError for one that somebody spoiled by hand."""
    metadata, spec = record["metadata"], record.get("spec") or {}
    made = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    try:
        key, value = str(spec["key"]), json.loads(spec["value"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"{RECORD.kind} {metadata['name']!r} cannot be read ({error!r})") from None
    if record_name(key) != metadata["name"]:
        raise InvalidError(f"{RECORD.kind} {metadata['name']!r} has the key {key!r}, which is another record's")
    return key, value, made


def parse_records(
    records: Iterable[Json], durability_of: Callable[[str], Durability]
) -> tuple[list[tuple[str, Any, float, str]], list[str]]:
    """(key, value, time of making, resourceVersion) in the order of the keys; and the keys of reports that are spoiled.

    InvalidError if a promise is spoiled: without it, its number or block could be given to somebody else.
    """
    read, reports, lost = [], [], []
    for record in records:
        try:
            read.append((*parse_record(record), str(record["metadata"]["resourceVersion"])))
        except InvalidError as error:
            key = str((record.get("spec") or {}).get("key"))
            if record_name(key) == record["metadata"]["name"] and durability_of(key) is not Durability.NOW:
                reports.append(key)
            else:
                lost.append(error.message)
    if lost:
        raise InvalidError(f"{'; '.join(lost)}: restore from a backup what was promised there, or delete it")
    return sorted(read, key=lambda one: one[0]), reports
