"""Everything about identity: the CA, joining, renewal, and the join tokens that users make."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slicer.client.codec import FieldError, FieldsError, decode
from slicer.client.identity import SERVICE_ACCOUNT
from slicer.model.clusters import Cluster
from slicer.model.errors import ConflictError, InvalidError, NotFoundError, StaleError, UnauthenticatedError
from slicer_controller.access import JoinTokenSpec, Peer
from slicer_controller.api.requests import parse_if_match, parse_query, read_object
from slicer_controller.api.resources import answer_list
from slicer_controller.context import Context
from slicer_controller.store import Entry, check_expected

_KINDS_OF_ROLE = {"hub": ("cluster",), "member": ("node", "dns")}


class Joining:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ca(self, request: Request) -> Response:
        """GET /v1/ca: for anybody; the join token says what to expect."""
        parse_query(request)
        return JSONResponse({"ca": self._context.authority.pem})

    async def join(self, request: Request) -> Response:
        """POST /v1/join: a certificate for a token."""
        parse_query(request)
        body = _texts(await read_object(request, {"id": True, "secret": True, "csr": True, "expect": False}))
        peer, certificate = await self._join(body)
        if peer.kind == "cluster" and f"cluster/{peer.name}" not in self._context.state.documents:
            self._context.state.put(Cluster(name=peer.name))
        return JSONResponse({"certificate": certificate, "identity": peer.uri})

    async def _join(self, body: dict[str, str]) -> tuple[Peer, str]:
        door, expect = self._context.door, body.get("expect")
        if body["id"] != SERVICE_ACCOUNT:
            return door.join(body["id"], body["secret"], body["csr"], expect)
        if self._context.identify is None:
            raise UnauthenticatedError("this controller does not run in Kubernetes: join with a token that it made")
        peer = await asyncio.to_thread(self._context.identify, body["secret"])
        return peer, door.join_as(peer, body["csr"], expect)

    async def renew(self, request: Request) -> Response:
        """POST /v1/renew: a new certificate for who has one."""
        parse_query(request)
        peer = self._context.door.admit(getattr(request.state, "peer", None))
        body = _texts(await read_object(request, {"csr": True}))
        return JSONResponse({"certificate": self._context.door.renew(peer, body["csr"]), "identity": peer.uri})

    async def on_tokens(self, request: Request) -> Response:
        """GET (list) and POST on `/v1/join-tokens`."""
        if request.method == "POST":
            return await self._make(request)
        query = parse_query(request, ("limit", "continue"))
        entries = self._context.state.store.list("token/")
        return answer_list(self._context, lambda _: {_id(e): self._render(e) for e in entries}, query, "token/")

    async def on_token(self, request: Request) -> Response:
        """GET and DELETE on `/v1/join-tokens/{id}`."""
        expected = parse_if_match(request)
        id_ = request.path_params["id"]
        entry = self._context.state.store.get(f"token/{id_}")
        if entry is None:
            raise NotFoundError(f"there is no join token {id_!r}")
        if request.method == "GET":
            parse_query(request)
            return JSONResponse(self._render(entry))
        query = parse_query(request, ("dry_run", "force"))
        try:
            check_expected(f"join token {id_!r}", entry, expected)
        except StaleError as error:
            raise StaleError(error.message) from None
        if not query.dry_run:
            self._context.state.store.delete(entry.key)
        return Response(status_code=204)

    async def on_node(self, request: Request) -> Response:
        """DELETE on `/v1/nodes/{cluster}/{name}`: a node that is gone for good, with its identity and all it reported.

        Nobody else ever removes that: a node that is silent may be well. Its blocks go back at the next reconcile.
        """
        query, expected = parse_query(request, ("dry_run", "force")), parse_if_match(request)
        peer = Peer(kind="node", cluster=request.path_params["cluster"], name=request.path_params["name"])
        entry = self._context.state.store.get(f"node/{peer.cluster}/{peer.name}")
        if entry is None or peer.cluster != self._context.cluster:
            raise NotFoundError(f"there is no node {peer.name!r} of cluster {peer.cluster!r} that joined here")
        try:
            check_expected(f"node {peer.name!r}", entry, expected)
        except StaleError as error:
            raise StaleError(error.message) from None
        if peer.uri in self._context.connected and not query.force:
            raise ConflictError(
                f"the agent of node {peer.name!r} is connected: stop it, or delete with force", reason="InUse"
            )
        if not query.dry_run:
            self._context.dismiss(peer)
        return Response(status_code=204)

    async def _make(self, request: Request) -> Response:
        query = parse_query(request, ("dry_run",))
        body = await read_object(request, {"metadata": False, "spec": True, "status": False})
        spec = decode(JoinTokenSpec, body["spec"])
        kinds = [kind for role in sorted(self._context.roles) for kind in _KINDS_OF_ROLE[role]]
        if spec.kind not in kinds:
            raise ConflictError(
                f"this controller ({' and '.join(sorted(self._context.roles))}) makes join tokens for "
                f"{', '.join(kinds)}, not for {spec.kind}",
                reason="WrongRole",
            )
        if query.dry_run:
            metadata = {"name": "", "revision": 0, "created_at": ""}
            return JSONResponse({"metadata": metadata, "spec": _spec(spec), "status": {}}, 201)
        entry, text = self._context.door.make_token(secrets.token_hex(6), spec)
        rendered = self._render(entry)
        rendered["status"]["token"] = text
        return JSONResponse(rendered, 201)

    def _render(self, entry: Entry) -> dict[str, Any]:
        value = entry.value
        spec = {name: value[name] for name in ("kind", "name", "ttl_s")}
        created = self._context.time_text(entry.created_at_s)
        status = {
            "expires_at": self._context.time_text(value["expires_at_s"]),
            "used": value["used_by"] is not None,
        }
        metadata = {"name": _id(entry), "revision": entry.revision, "created_at": created}
        return {"metadata": metadata, "spec": spec, "status": status}


def _spec(spec: JoinTokenSpec) -> dict[str, Any]:
    return {"kind": spec.kind, "name": spec.name, "ttl_s": spec.ttl_s}


def _id(entry: Entry) -> str:
    return entry.key.removeprefix("token/")


def _texts(body: dict[str, Any]) -> dict[str, str]:
    """The body without nulls; all others are texts. Their content never enters a message: some are secrets."""
    given = {name: value for name, value in body.items() if not (name == "expect" and value is None)}
    errors = [FieldError(field=n, message="give a text") for n, v in given.items() if not isinstance(v, str)]
    if errors:
        raise FieldsError("body", tuple(errors))
    try:
        for value in given.values():
            value.encode()
    except UnicodeEncodeError:
        raise InvalidError("the body holds half a surrogate pair") from None
    return given
