"""Waiting for what will be, and looking at what is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from slicer.client.kube_api import Api
from slicer_controller.kube.naming import RECORD

WAIT_S = 60.0
"""A test that waits this long has failed; nothing succeeds by it."""
Json = dict[str, Any]


def wait_for(what: Callable[[], Any], say: Callable[[], Any] = lambda: "") -> Any:
    """What `what` returns, once that is true; a failure with what `say` says if it never is."""
    deadline = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < deadline, say()
        time.sleep(0.05)
    return found


def records(api: Api, namespace: str) -> dict[str, Json]:
    """The store's records, by key."""
    return {one["spec"]["key"]: one for one in api.each(RECORD.path(namespace=namespace))}
