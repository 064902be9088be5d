"""`GET /v1/tunnel-history`: what the tunnels were like minute by minute, a resource for each way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slicer.client.codec import encode
from slicer.model.history import TunnelWay
from slicer.plan.history import History, minutes_of
from slicer_controller.api.collections import Json
from slicer_controller.api.requests import parse_query
from slicer_controller.api.resources import matches, page_of
from slicer_controller.context import Context

HISTORY = "tunnel-history"
"""Below `/v1/`."""


class Histories:
    """The handler of the list; there is no watch, a minute is no event."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def on_collection(self, request: Request) -> Response:
        """GET on `/v1/tunnel-history`, with `?slice=` and `?cluster=`."""
        query = parse_query(request, ("limit", "continue", "slice", "cluster"))
        state, history = self._context.state, await self._context.history.look()
        of_slice = state.documents.get(f"slice/{query.slice}")
        ways = {way.name: way for way in history.lines if matches(way, query, of_slice)}
        page, following = page_of(ways, query)
        wanted = [ways[name] for name in page]
        # Five hundred ways are ninety thousand minutes: meanwhile the loop has others to serve.
        return await asyncio.to_thread(_render, history, wanted, following, state.store.revision)


def _render(history: History, ways: Sequence[TunnelWay], following: str | None, revision: int) -> Response:
    items = [_resource(history, way, revision) for way in ways]
    return JSONResponse({"items": items, "next": following, "revision": revision})


def _resource(history: History, way: TunnelWay, revision: int) -> Json:
    """No document has it: its revision is the list's, and it began with its first minute."""
    found = minutes_of(history, way)
    created_at = Context.time_text(found.minutes[0].start_s)
    metadata = {"name": way.name, "revision": revision, "created_at": created_at}
    return {"metadata": metadata, "spec": encode(found), "status": {}}
