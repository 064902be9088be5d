"""Conditions as Kubernetes writes them (API conventions, "Typical status properties"). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.plan.status import Condition

Json = dict[str, Any]
_MESSAGE_MAX = 1024


def render_conditions(wanted: Sequence[Condition], before: Sequence[Json], generation: int, now: str) -> list[Json]:
    """The conditions; the time of one changes only when its status does."""
    known = {condition["type"]: condition for condition in before}
    return [_render(condition, known.get(condition.type), generation, now) for condition in wanted]


def changed(before: Sequence[Json], after: Sequence[Json]) -> list[Json]:
    """The conditions whose status or reason is another now: what is worth an event."""
    known = {condition["type"]: (condition["status"], condition["reason"]) for condition in before}
    return [one for one in after if known.get(one["type"]) != (one["status"], one["reason"])]


def _render(condition: Condition, before: Json | None, generation: int, now: str) -> Json:
    status = "True" if condition.status else "False"
    same = before is not None and before.get("status") == status
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": condition.message[:_MESSAGE_MAX],
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
        "observedGeneration": generation,
    }
