"""The FastAPI application of one controller: routes, rights, problem bodies.

Each path is one route with all its methods, so that a refused method is answered with the whole `Allow` header.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache, partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slicer.client.codec import FieldError, FieldsError, decode_documents
from slicer.model.documents import Document, Documents
from slicer.model.errors import DeniedError, SlicerError, UnauthenticatedError, UnavailableError
from slicer.plan.views import cluster_view, node_view, zone_view
from slicer_controller.access import Peer
from slicer_controller.api import problems
from slicer_controller.api.collections import COLLECTIONS, REPORTED
from slicer_controller.api.history import HISTORY, Histories
from slicer_controller.api.joining import Joining
from slicer_controller.api.metrics import CONTENT_TYPE, render_metrics
from slicer_controller.api.openapi import openapi_document
from slicer_controller.api.requests import REPORT_MAX_BYTES, parse_query, read_object
from slicer_controller.api.resources import Reported, Resources, stream
from slicer_controller.api.streams import Place, view_lines
from slicer_controller.context import Context

Handler = Callable[[Request], Awaitable[Response]]
Select = Callable[[Documents, str], dict[str, Document]]


def make_app(context: Context, platform_routes: Mapping[str, Handler] | None = None) -> FastAPI:
    """The application; `platform_routes` are POST paths that only some platforms have."""
    app = FastAPI(title="Slicer", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(SlicerError, problems.slicer_error)
    app.add_exception_handler(HTTPException, problems.http_error)
    app.add_exception_handler(Exception, problems.unexpected_error)
    routes = [*_open_routes(context), *_peer_routes(context), *_user_routes(context)]
    routes += [(path, ("POST",), handler) for path, handler in (platform_routes or {}).items()]
    for path, methods, handler in routes:
        app.add_api_route(path, handler, methods=list(methods), include_in_schema=False, response_model=None)
    return app


Routes = list[tuple[str, tuple[str, ...], Handler]]


def _open_routes(context: Context) -> Routes:
    """What anybody may ask."""
    joining = Joining(context)
    document = cache(partial(openapi_document, context.roles))  # when somebody asks: it takes longer than all the rest

    async def healthz(request: Request) -> Response:
        parse_query(request)
        return JSONResponse({"ok": True})

    async def readyz(request: Request) -> Response:
        parse_query(request)
        if not context.ready():
            raise UnavailableError("this member has not heard the hub yet; is the hub running?", reason="NotSynced")
        return JSONResponse({"ok": True})

    async def openapi(request: Request) -> Response:
        parse_query(request)
        return JSONResponse(document())

    return [
        ("/healthz", ("GET",), healthz),
        ("/readyz", ("GET",), readyz),
        ("/openapi.json", ("GET",), openapi),
        ("/v1/ca", ("GET",), joining.ca),
        ("/v1/join", ("POST",), joining.join),
        ("/v1/renew", ("POST",), joining.renew),
    ]


def _peer_routes(context: Context) -> Routes:
    """What members, agents and DNS servers ask, each for its own."""
    return [
        ("/v1/views/cluster", ("GET",), partial(_view, context, "cluster", cluster_view)),
        ("/v1/views/node", ("GET",), partial(_view, context, "node", node_view)),
        ("/v1/views/zone", ("GET",), partial(_view, context, "dns", zone_view)),
        ("/v1/reports/cluster", ("PUT", "PATCH"), partial(_report, context, "cluster")),
        ("/v1/reports/node", ("PUT", "PATCH"), partial(_report, context, "node")),
    ]


def _user_routes(context: Context) -> Routes:
    """What users ask, with the administrator's token."""
    joining = Joining(context)

    async def metrics(request: Request) -> Response:
        parse_query(request)
        return Response(render_metrics(context), media_type=CONTENT_TYPE)

    routes: Routes = [
        ("/metrics", ("GET",), metrics),
        (f"/v1/{HISTORY}", ("GET",), Histories(context).on_collection),
        ("/v1/join-tokens", ("GET", "POST"), joining.on_tokens),
        ("/v1/join-tokens/{id}", ("GET", "DELETE"), joining.on_token),
    ]
    routes += [(f"/v1/{path}", ("GET",), Reported(context, path).on_collection) for path in REPORTED]
    if "member" in context.roles:
        routes.append(("/v1/nodes/{cluster}/{name}", ("DELETE",), joining.on_node))
    if "hub" in context.roles:
        for collection in COLLECTIONS:
            resources = Resources(context, collection)
            names = "/".join(f"{{{field}}}" for field in collection.identity)
            base = ("GET", "POST") if collection.listed else ("POST",)
            routes.append((f"/v1/{collection.path}", base, resources.on_collection))
            verbs = tuple(verb for verb in collection.verbs if verb != "POST")
            routes.append((f"/v1/{collection.path}/{names}", verbs, resources.on_resource))
    return [(path, methods, partial(_as_user, context, handler)) for path, methods, handler in routes]


async def _as_user(context: Context, handler: Handler, request: Request) -> Response:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip().encode("utf-8", "replace")
    if scheme.lower() != "bearer" or not given:
        raise UnauthenticatedError("show the controller's bearer token (admin.token in its state directory)")
    if not hmac.compare_digest(given, context.admin_token.encode()):
        if context.admit_user is None:
            raise UnauthenticatedError("show the controller's bearer token (admin.token in its state directory)")
        await asyncio.to_thread(context.admit_user, token.strip(), request.method, request.url.path)
    return await handler(request)


async def _view(context: Context, kind: str, select: Select, request: Request) -> Response:
    peer = _peer(context, kind, request)
    query = parse_query(request, ("watch", "since", "epoch"))
    if not context.ready():
        raise UnavailableError("this member has not heard the hub yet, so that its view would be empty")
    place = Place(since=query.since, epoch=query.epoch)
    lines = view_lines(
        context.state, lambda documents: select(documents, peer.cluster), place, context.closing, watch=query.watch
    )
    return stream(_counted(context, peer.uri, lines) if query.watch else lines)


async def _counted(context: Context, uri: str, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines, while which the client counts as connected."""
    context.connected[uri] += 1
    context.state.wake()
    try:
        async for line in lines:
            yield line
    finally:
        context.connected[uri] -= 1
        if not context.connected[uri]:
            del context.connected[uri]
        context.state.wake()


async def _report(context: Context, kind: str, request: Request) -> Response:
    peer = _peer(context, kind, request)
    parse_query(request)
    whole = request.method == "PUT"
    body = await read_object(request, {"documents": whole} | ({} if whole else {"removed": False}), REPORT_MAX_BYTES)
    documents, removed = body.get("documents", {}), body.get("removed", [])
    if not isinstance(documents, dict):
        raise FieldsError("body", (FieldError(field="documents", message="give an object of keys and values"),))
    if not isinstance(removed, list) or not all(isinstance(key, str) for key in removed):
        raise FieldsError("body", (FieldError(field="removed", message="give a list of keys"),))
    decoded = decode_documents(documents)
    if whole:
        context.reports.replace(peer, decoded)
    else:
        context.reports.change(peer, decoded, removed)
    return JSONResponse({"epoch": context.state.store.epoch, "revision": context.state.store.revision})


def _peer(context: Context, kind: str, request: Request) -> Peer:
    peer = context.door.admit(getattr(request.state, "peer", None))
    if peer.kind != kind:
        raise DeniedError(f"{peer.uri} may not use {request.url.path}: that is for a {kind}")
    return peer
