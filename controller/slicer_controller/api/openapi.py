"""The OpenAPI 3.1 document, made from the same tables as the routes and from the model's own schemas."""

from __future__ import annotations

from collections.abc import Collection as Some
from typing import Any

from slicer_controller.api.collections import COLLECTIONS, REPORTED, Collection
from slicer_controller.api.history import HISTORY
from slicer_controller.api.requests import PAGE_MAX
from slicer_controller.api.schemas import REVISION, component_schemas, patch_schema

Json = dict[str, Any]
_STATUSES = {"slice": "SliceStatus", "ping": "PingResult", "drain": "DrainStatus", "rotation": "RotationStatus"}
_TEXTS = {
    "400": "The request cannot be read as HTTP.",
    "401": "The asker is not known.",
    "403": "The asker may not do that, or the slice does not allow the namespace.",
    "404": "It, or something that it names, does not exist.",
    "405": "Not possible on this path; `Allow` says what is.",
    "409": "It collides with something that exists.",
    "410": "`since` is too old: list, and watch from there.",
    "412": "Somebody changed it since it was read.",
    "422": "The request is wrong in itself.",
    "503": "Something needed does not answer now; try again.",
}
_FLAG: Json = {"type": "boolean", "default": False}


def openapi_document(roles: Some[str]) -> Json:
    """The document of a controller with these roles."""
    schemas = component_schemas()
    paths = {**_open_paths(), **_token_paths(), **_peer_paths(), "/metrics": _metrics_path()}
    for path, type_ in REPORTED.items():
        paths[f"/v1/{path}"] = {"get": _list(path, _ref(type_.__name__), {"type": "object"}, _scoped())}
    paths[f"/v1/{HISTORY}"] = {"get": _history()}
    if "member" in roles:
        paths["/v1/nodes/{cluster}/{name}"] = _node_path(schemas)
    if "hub" in roles:
        for collection in COLLECTIONS:
            paths |= _collection_paths(collection, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Slicer", "version": "1", "description": f"Controller: {' and '.join(sorted(roles))}."},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "user": {"type": "http", "scheme": "bearer", "description": "admin.token of the controller"},
                "peer": {"type": "mutualTLS", "description": "a certificate got by joining"},
            },
        },
        "security": [{"user": []}],
    }


def _collection_paths(collection: Collection, schemas: Json) -> Json:
    type_ = collection.spec_type.__name__
    spec, status = _ref(type_), _status_schema(collection)
    resource = _resource(spec, status)
    names = [_in_path(field, schemas[type_]["properties"][field]) for field in collection.identity]
    base: Json = {"post": _create(collection, spec, resource)}
    one: Json = {
        "parameters": names,
        "get": _operation(f"get {collection.singular}", resource, errors=("404",)),
        "delete": _delete(collection),
    }
    if collection.listed:
        base["get"] = _list(collection.path, spec, status, [])
    if "PUT" in collection.verbs:
        one["put"] = _change(collection, "replace", _body(spec), resource)
        one["patch"] = _change(collection, "patch", _patch_body(patch_schema(schemas[type_], schemas)), resource)
    suffix = "/".join(f"{{{field}}}" for field in collection.identity)
    return {f"/v1/{collection.path}": base, f"/v1/{collection.path}/{suffix}": one}


def _status_schema(collection: Collection) -> Json:
    if collection.kind == "export":
        sets = {"type": "array", "items": _ref("EndpointSet")}
        return {"type": "object", "required": ["endpoints"], "properties": {"endpoints": sets}}
    name = _STATUSES.get(collection.kind)
    if name is None:
        return {"type": "object"}
    return _ref(name) if collection.kind != "ping" else {"anyOf": [_ref(name), {"type": "object", "maxProperties": 0}]}


def _create(collection: Collection, spec: Json, resource: Json) -> Json:
    made = _operation(f"create {collection.singular}", resource, status="201", errors=("403", "404", "409", "422"))
    return made | {"requestBody": _body(spec), "parameters": [_query("dry_run", _FLAG)]}


def _change(collection: Collection, verb: str, body: Json, resource: Json) -> Json:
    errors = ("403", "404", "409", "412", "422")
    made = _operation(f"{verb} {collection.singular}", resource, errors=errors)
    return made | {"requestBody": body, "parameters": [_query("dry_run", _FLAG), _if_match()]}


def _delete(collection: Collection) -> Json:
    made = _operation(f"delete {collection.singular}", None, status="204", errors=("404", "409", "412"))
    return made | {"parameters": [_query("dry_run", _FLAG), _query("force", _FLAG), _if_match()]}


def _node_path(schemas: Json) -> Json:
    names = [_in_path(field, schemas["Node"]["properties"][field]) for field in ("cluster", "name")]
    made = _operation("delete node that is gone for good", None, status="204", errors=("404", "409", "412"))
    delete = made | {"parameters": [_query("dry_run", _FLAG), _query("force", _FLAG), _if_match()]}
    return {"parameters": names, "delete": delete}


def _list(path: str, spec: Json, status: Json, more: list[Json]) -> Json:
    page = {
        "type": "object",
        "additionalProperties": False,
        "required": ["items", "next", "revision"],
        "properties": {
            "items": {"type": "array", "items": _resource(spec, status)},
            "next": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "revision": REVISION,
        },
    }
    made = _operation(f"list or watch {path}", page, errors=("410",))
    # A watch is an endless stream of lines: {"type": "put|removed|synced|keepalive", "revision", "object"}.
    made["responses"]["200"]["content"]["application/jsonl"] = {}
    limit = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 100}
    after = {"type": "string", "pattern": "^([0-9a-f]{2})*$", "description": "`next` of the page before"}
    since = {"type": "integer", "minimum": 0, "maximum": 1 << 53}
    parameters = [_query("limit", limit), _query("continue", after), _query("watch", _FLAG), _query("since", since)]
    return made | {"parameters": parameters + more}


def _history() -> Json:
    """A list that nobody can watch."""
    made = _list(HISTORY, _ref("TunnelHistory"), {"type": "object"}, [])
    made |= _operation(f"list {HISTORY}", made["responses"]["200"]["content"]["application/json"]["schema"])
    return made | {"parameters": made["parameters"][:2] + _scoped()}


def _scoped() -> list[Json]:
    return [_query("slice", {"type": "string"}), _query("cluster", {"type": "string"})]


def _metrics_path() -> Json:
    operation = _operation("slices, gateways and tunnels in Prometheus' text format", {"type": "string"})
    content = operation["responses"]["200"]["content"]
    content["text/plain"] = content.pop("application/json")
    return {"get": operation}


def _token_paths() -> Json:
    spec, status = _ref("JoinTokenSpec"), {"type": "object"}
    resource = _resource(spec, status)
    listed = _list("join-tokens", spec, status, [])
    listed["parameters"] = listed["parameters"][:2]
    create = _operation(
        "create join token; status.token is in this answer only", resource, status="201", errors=("409", "422")
    )
    delete = _operation("delete join token", None, status="204", errors=("404", "412"))
    return {
        "/v1/join-tokens": {
            "get": listed,
            "post": create | {"requestBody": _body(spec), "parameters": [_query("dry_run", _FLAG)]},
        },
        "/v1/join-tokens/{id}": {
            "parameters": [_in_path("id", {"type": "string", "pattern": "^[0-9a-f]{12}$"})],
            "get": _operation("get join token", resource, errors=("404",)),
            "delete": delete | {"parameters": [_query("dry_run", _FLAG), _query("force", _FLAG), _if_match()]},
        },
    }


def _open_paths() -> Json:
    text: Json = {"type": "string"}
    ok = {"type": "object", "required": ["ok"], "properties": {"ok": {"const": True}}}
    join = {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "secret", "csr"],
        "properties": {"id": text, "secret": text, "csr": text, "expect": {"anyOf": [text, {"type": "null"}]}},
    }
    paths = {
        "/healthz": {"get": _operation("whether the process lives", ok)},
        "/readyz": {"get": _operation("whether it has what it needs to serve", ok, errors=("503",))},
        "/openapi.json": {"get": _operation("this document", {"type": "object"})},
        "/v1/ca": {"get": _operation("the controller's CA", _fields(ca=text))},
        "/v1/join": {
            "post": _operation("join with a token", _certificate(), errors=("401", "403", "409"))
            | {"requestBody": _json_body(join)}
        },
    }
    for item in paths.values():
        for operation in item.values():
            operation["security"] = []
            if operation["operationId"] != "joinWithAToken":
                operation["responses"].pop("401")
    return paths


def _peer_paths() -> Json:
    """What joined processes use; without a client certificate all of it is 401."""
    csr = _json_body(_fields(csr={"type": "string"}))
    documents: Json = {"type": "object", "additionalProperties": {"type": "object"}}
    removed = {"type": "array", "items": {"type": "string"}}
    change = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"documents": documents, "removed": removed},
    }
    taken = _fields(epoch={"type": "string"}, revision=REVISION)
    paths = {"/v1/renew": {"post": _operation("renew the certificate", _certificate()) | {"requestBody": csr}}}
    for kind in ("cluster", "node"):
        put = _operation(f"report all of a {kind}", taken, errors=("403",))
        patch = _operation(f"report what changed of a {kind}", taken, errors=("403", "409"))
        put["requestBody"], patch["requestBody"] = _json_body(_fields(documents=documents)), _json_body(change)
        paths[f"/v1/reports/{kind}"] = {"put": put, "patch": patch}
    since = {"type": "integer", "minimum": 0, "maximum": 1 << 53}
    for kind in ("cluster", "node", "zone"):
        get = _operation(f"the {kind} view, as JSON lines", None, errors=("403", "503"))
        get["responses"]["200"]["content"] = {"application/jsonl": {}}
        get["parameters"] = [_query("watch", _FLAG), _query("since", since), _query("epoch", {"type": "string"})]
        paths[f"/v1/views/{kind}"] = {"get": get}
    for item in paths.values():
        for operation in item.values():
            operation["security"] = [{"peer": []}]
    return paths


def _operation(summary: str, answer: Json | None, *, status: str = "200", errors: Some[str] = ()) -> Json:
    responses: Json = {status: {"description": "Done."}}
    if answer is not None:
        responses[status]["content"] = {"application/json": {"schema": answer}}
    for code in sorted({"401", "422", *errors}):
        content = {"application/problem+json": {"schema": _ref("Problem")}}
        responses[code] = {"description": _TEXTS[code], "content": content}
    words = "".join(c if c.isalnum() else " " for c in summary.partition(";")[0]).split()
    name = words[0] + "".join(word.title() for word in words[1:])
    return {"operationId": name, "summary": summary, "responses": responses}


def _resource(spec: Json, status: Json) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["metadata", "spec", "status"],
        "properties": {"metadata": _ref("Metadata"), "spec": spec, "status": status},
    }


def _body(spec: Json) -> Json:
    return _json_body(_fields(spec=spec))


def _patch_body(patch: Json) -> Json:
    schema = {"type": "object", "additionalProperties": False, "properties": {"spec": patch}}
    return {"required": True, "content": {"application/merge-patch+json": {"schema": schema}}}


def _json_body(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _fields(**properties: Json) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(properties),
        "properties": properties,
    }


def _certificate() -> Json:
    return _fields(certificate={"type": "string"}, identity={"type": "string", "format": "uri"})


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _in_path(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {**schema, "type": "string"}}


def _if_match() -> Json:
    return {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": '^"?[0-9]{1,16}"?$'},
    }
