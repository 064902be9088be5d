"""Events about the users' objects (events.k8s.io/v1): one when a condition changes, none when nothing does."""

from __future__ import annotations

import logging
import socket
import uuid
from typing import Any

from slicer.client.kube_api import Api
from slicer.model.errors import SlicerError
from slicer_controller.kube.lease import now_text
from slicer_controller.kube.naming import MANAGER

Json = dict[str, Any]
log = logging.getLogger(__name__)
_NOTE_MAX = 1024


def write_event(api: Api, object_: Json, condition: Json) -> None:
    """Tell of a condition; an event is a courtesy, and one that cannot be written is none."""
    event = render_event(object_, condition)
    try:
        api.create(f"/apis/events.k8s.io/v1/namespaces/{event['metadata']['namespace']}/events", event)
    except SlicerError as error:
        log.debug("event not written", extra={"error": error.message})


def render_event(object_: Json, condition: Json) -> Json:
    """The event for a condition that became what it is; objects without a namespace have theirs in `default`."""
    metadata = object_["metadata"]
    namespace = metadata.get("namespace", "default")
    holds = condition["status"] == "True"
    regarding = {
        "apiVersion": object_["apiVersion"],
        "kind": object_["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "namespace": metadata.get("namespace", ""),
    }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "eventTime": now_text(),
        "reportingController": f"slicer.io/{MANAGER}",
        "reportingInstance": socket.gethostname(),
        "action": condition["type"],
        "reason": condition["reason"],
        "note": (condition["message"] or f"{condition['type']} is {condition['status']}")[:_NOTE_MAX],
        "type": "Normal" if holds else "Warning",
        "regarding": {key: value for key, value in regarding.items() if value},
    }
