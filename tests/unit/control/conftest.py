"""A hub's application without network, clock or disk store: requests go straight into it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from slicer_controller.api.app import make_app
from slicer_controller.running import build_context
from slicer_controller.store.memory import MemoryStore

START_S = 1_800_000_000.0


class Clock:
    """Time that only tests move."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


class Hub:
    """A hub and its user: `call` answers with (status, decoded body)."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        roles = frozenset({"hub"})
        self.context = build_context(
            self.store, directory, roles=roles, cluster="", url="https://192.0.2.1:7443", clock=self.clock
        )
        self.app = make_app(self.context)
        self.authorization = f"Bearer {self.context.admin_token}"

    def call(self, method: str, path: str, body: Any = None, *, peer: str | None = None, **headers: str) -> Any:
        """One request as the administrator (or, with `peer`, as the holder of that certificate)."""
        headers = {"Authorization": self.authorization} | {k.replace("_", "-"): v for k, v in headers.items()}
        answer = asyncio.run(self._call(method, path, body, headers, peer))
        self.context.hub.reconcile()
        return answer.status_code, (answer.json() if answer.content else None)

    def create(self, collection: str, spec: Any) -> Any:
        """A resource that is known to be right."""
        status, body = self.call("POST", f"/v1/{collection}", {"spec": spec})
        assert status == 201, body
        return body

    async def _call(
        self, method: str, path: str, body: Any, headers: dict[str, str], peer: str | None
    ) -> httpx.Response:
        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": {"peer": peer}}, receive, send)

        transport = httpx.ASGITransport(app=with_peer)
        async with httpx.AsyncClient(transport=transport, base_url="https://hub") as client:
            return await client.request(method, path, json=body, headers=headers)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """An empty hub with clusters a and b."""
    made = Hub(tmp_path)
    made.create("clusters", {"name": "a", "cidrs": ["10.244.0.0/16"]})
    made.create("clusters", {"name": "b"})
    return made


@pytest.fixture
def make_hub(tmp_path: Path) -> Callable[[], Hub]:
    """Makes empty hubs."""
    return lambda: Hub(tmp_path)
