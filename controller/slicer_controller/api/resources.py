"""List, get, create, replace, patch, delete and watch, the same for every collection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from slicer.client.codec import decode, encode
from slicer.model.attachments import Attachment
from slicer.model.documents import Document, key_of
from slicer.model.errors import ConflictError, InvalidError, NotFoundError, StaleError
from slicer.model.slices import SliceState
from slicer.plan.linking import is_of_slice
from slicer_controller.api.collections import REPORTED, Collection, Json
from slicer_controller.api.requests import Query, parse_if_match, parse_query, read_object, render_continue
from slicer_controller.api.streams import watch_lines
from slicer_controller.context import Context
from slicer_controller.store import Entry, check_expected

_LIST = ("limit", "continue", "watch", "since")
_RESOURCE = {"metadata": False, "spec": True, "status": False}
"""Fields of a body: what a client read may come back whole; only the spec (and a fitting name) counts."""


class Resources:
    """The handlers of one declared collection."""

    def __init__(self, context: Context, collection: Collection) -> None:
        self._context, self._collection = context, collection
        self._state = context.state

    async def on_collection(self, request: Request) -> Response:
        """GET (list, watch) and POST on `/v1/<collection>`."""
        if request.method == "POST":
            return await self._create(request)
        if not self._collection.listed:
            raise NotFoundError(f"{self._collection.path} cannot be listed")
        query = parse_query(request, _LIST)
        return answer_list(self._context, self._items, query, f"{self._collection.kind}/")

    async def on_resource(self, request: Request) -> Response:
        """GET, PUT, PATCH and DELETE on `/v1/<collection>/<name>`."""
        name = "/".join(request.path_params.values())
        handlers = {"GET": self._get, "PUT": self._replace, "PATCH": self._patch, "DELETE": self._delete}
        return await handlers[request.method](request, name)

    def _items(self, _query: Query) -> dict[str, Json]:
        start = f"{self._collection.kind}/"
        keys = [key for key in self._state.documents if key.startswith(start)]
        return {key.removeprefix(start): self._render(self._entry(key)) for key in keys}

    async def _create(self, request: Request) -> Response:
        query = parse_query(request, ("dry_run",))
        body = await read_object(request, _RESOURCE)
        spec = self._collection.complete(self._context, decode(self._collection.spec_type, body["spec"]))
        name = self._collection.name_of(spec)
        _check_name(body, name, self._collection)
        if f"{self._collection.kind}/{name}" in self._state.documents:
            raise ConflictError(f"{self._collection.singular} {name!r} exists already", reason="Exists")
        return self._write(name, spec, None, query, status=201)

    async def _get(self, request: Request, name: str) -> Response:
        parse_query(request)
        return self._answer(self._render(self._entry(self._key(name))))

    async def _replace(self, request: Request, name: str) -> Response:
        query, expected = parse_query(request, ("dry_run",)), parse_if_match(request)
        body = await read_object(request, _RESOURCE)
        spec: Any = decode(self._collection.spec_type, body["spec"])
        _check_name(body, name, self._collection)
        return self._write(name, spec, self._current(name, expected), query)

    async def _patch(self, request: Request, name: str) -> Response:
        query, expected = parse_query(request, ("dry_run",)), parse_if_match(request)
        body = await read_object(request, _RESOURCE | {"spec": False})
        before = encode(self._collection.spec_of(self._state.documents[self._entry(self._key(name)).key]))
        spec: Any = decode(self._collection.spec_type, merge(before, body.get("spec", {})))
        _check_name(body, name, self._collection)
        return self._write(name, spec, self._current(name, expected), query)

    async def _delete(self, request: Request, name: str) -> Response:
        query, expected = parse_query(request, ("dry_run", "force")), parse_if_match(request)
        entry = self._current(name, expected)
        if not query.force:
            self._collection.check_delete(name, self._state.documents)
        if not query.dry_run:
            self._collection.withdraw(self._context, name)
            self._state.delete(entry.key)
        return Response(status_code=204)

    def _write(self, name: str, spec: Any, entry: Entry | None, query: Query, *, status: int = 200) -> Response:
        """Check and store, in one turn of the loop: nothing can come between."""
        collection = self._collection
        if collection.name_of(spec) != name:
            raise ConflictError(f"{collection.singular} {name!r} cannot be renamed to {collection.name_of(spec)!r}")
        before = self._state.documents[entry.key] if entry else None
        collection.check(spec, collection.spec_of(before) if before else None, self._state.documents)
        document = collection.build(self._context, spec, before)
        if query.dry_run:
            return self._answer(self._would_be(document, entry), status)
        if entry is None:
            collection.stored(self._context, document)
        return self._answer(self._render(self._store(document, entry)), status)

    def _store(self, document: Document, entry: Entry | None) -> Entry:
        if entry is not None and self._state.documents[entry.key] == document:
            return entry
        return self._state.put(document, expected=entry.revision if entry else 0)

    def _would_be(self, document: Document, entry: Entry | None) -> Json:
        revision, created = (entry.revision, entry.created_at_s) if entry else (0, self._context.clock())
        made = Entry(key=key_of(document), value=None, revision=revision, created_at_s=created)
        return self._render_document(made, document)

    def _current(self, name: str, expected: int | None) -> Entry:
        entry = self._entry(self._key(name))
        try:
            check_expected(f"{self._collection.singular} {name!r}", entry, expected)
        except StaleError as error:
            raise StaleError(error.message) from None
        return entry

    def _key(self, name: str) -> str:
        return f"{self._collection.kind}/{name}"

    def _entry(self, key: str) -> Entry:
        entry = self._state.store.get(key) if key in self._state.documents else None
        if entry is None:
            raise NotFoundError(f"there is no {self._collection.singular} {key.partition('/')[2]!r}")
        return entry

    def _render(self, entry: Entry) -> Json:
        return self._render_document(entry, self._state.documents[entry.key])

    def _render_document(self, entry: Entry, document: Document) -> Json:
        spec = encode(self._collection.spec_of(document))
        status = self._collection.status(self._context, document)
        return {"metadata": _metadata(entry), "spec": spec, "status": status}

    def _answer(self, resource: Json, status: int = 200) -> Response:
        return JSONResponse(resource, status, {"ETag": f'"{resource["metadata"]["revision"]}"'})


class Reported:
    """The handlers of one collection that is only listed and watched."""

    def __init__(self, context: Context, path: str) -> None:
        self._context, self._kind = context, REPORTED[path]

    async def on_collection(self, request: Request) -> Response:
        """GET (list, watch) on `/v1/<collection>`, with `?slice=` and `?cluster=`."""
        query = parse_query(request, (*_LIST, "slice", "cluster"))
        return answer_list(self._context, self._items, query, "")

    def _items(self, query: Query) -> dict[str, Json]:
        state = self._context.state
        found = {key: value for key, value in state.documents.items() if isinstance(value, self._kind)}
        of_slice = state.documents.get(f"slice/{query.slice}")
        chosen = [key for key, value in found.items() if matches(value, query, of_slice)]
        entries = [entry for entry in map(state.store.get, chosen) if entry]
        return {
            entry.key.partition("/")[2]: {
                "metadata": _metadata(entry),
                "spec": encode(state.documents[entry.key]),
                "status": {},
            }
            for entry in entries
        }


def answer_list(context: Context, items: Any, query: Query, prefix: str) -> Response:
    """A page of the items, or with `watch` the stream of their changes."""
    revision = context.state.store.revision
    if query.watch:
        gone = _gone_since(context, query.since, prefix)
        lines = watch_lines(context.state, lambda: items(query), gone, context.closing)
        return stream(lines)
    page, following = page_of(all_items := items(query), query)
    return JSONResponse({"items": [all_items[name] for name in page], "next": following, "revision": revision})


def page_of(names: Iterable[str], query: Query) -> tuple[list[str], str | None]:
    """The names of the page that the query wants, and the token of the next one if there is one."""
    rest = [name for name in sorted(names) if name > query.after]
    page = rest[: query.limit]
    return page, render_continue(page[-1]) if len(rest) > len(page) else None


def stream(lines: AsyncIterator[str]) -> StreamingResponse:
    """An answer of JSON lines; nothing on the way may gather them."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, headers=headers, media_type="application/jsonl")


def merge(target: Any, patch: Any) -> Any:
    """`patch` applied to `target` (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _gone_since(context: Context, since: int | None, prefix: str) -> list[str]:
    if since is None:
        return []
    watch = context.state.store.watch(since)
    gone = [e.key.removeprefix(prefix) for e in watch.take() if e.entry is None and e.key.startswith(prefix)]
    watch.close()
    return gone


def _metadata(entry: Entry) -> Json:
    name = entry.key.partition("/")[2]
    return {"name": name, "revision": entry.revision, "created_at": Context.time_text(entry.created_at_s)}


def matches(value: Any, query: Query, of_slice: Document | None) -> bool:
    """Whether the query's `slice` and `cluster` leave it; `of_slice`: the slice that it names, if there is one."""
    if query.cluster and value.cluster != query.cluster:
        return False
    if not query.slice:
        return True
    if isinstance(value, Attachment):
        return value.slice == query.slice
    return isinstance(of_slice, SliceState) and is_of_slice(value, of_slice)


def _check_name(body: Json, name: str, collection: Collection) -> None:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidError(f"metadata: give an object, not {metadata!r}")
    if metadata.get("name", name) not in {name, name.rpartition("/")[2]}:
        raise ConflictError(f"metadata.name {metadata['name']!r} is not {collection.singular} {name!r}")
