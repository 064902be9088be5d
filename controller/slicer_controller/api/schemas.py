"""JSON schemas of the API's values, made from the model; what types cannot say stands in one table here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.client.codec import LABEL_SETS, adapter
from slicer.model.attachments import Attachment, EndpointSet, Ping, PingResult, TunnelHealth
from slicer.model.clusters import GENERATION_MAX, LANES_MAX, TUNNEL_SET_MAX, Cluster, Drain, Gateway, Node, Rotation
from slicer.model.history import TunnelHistory
from slicer.model.names import LABEL_PATTERN, SUBDOMAIN_PATTERN
from slicer.model.slices import (
    BITS_MAX,
    CONTACT_MAX,
    LATENCY_MAX_MS,
    RATE_MIN_BPS,
    UNIX_TIME_MAX,
    Export,
    Membership,
    Slice,
)
from slicer.plan.draining import DrainStatus
from slicer.plan.rotation import RotationStatus
from slicer.plan.status import SliceStatus
from slicer_controller.access import TTL_MAX_S, JoinTokenSpec

Json = dict[str, Any]
PREFIX_FORMAT, ADDRESS_FORMAT = "ip-prefix", "ip-address"
"""Prefixes without host bits, and addresses, of either family: JSON Schema has no format for both."""
LABEL: Json = {"type": "string", "pattern": LABEL_PATTERN, "minLength": 1, "maxLength": 63}
SUBDOMAIN: Json = {"type": "string", "pattern": SUBDOMAIN_PATTERN, "minLength": 1, "maxLength": 253}
PREFIX: Json = {"type": "string", "format": PREFIX_FORMAT, "description": "10.7.0.0/16, fd07::/48"}
ADDRESS: Json = {"type": "string", "format": ADDRESS_FORMAT, "description": "10.7.4.5, fd07::5"}
REVISION: Json = {"type": "integer", "minimum": 0}
TIME: Json = {"type": "string", "format": "date-time"}
_RATE: Json = {"minimum": RATE_MIN_BPS, "maximum": BITS_MAX}
_INTERFACE: Json = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,14}$"}
_LABEL_MAP: Json = {"type": "object", "additionalProperties": {"type": "string"}}
_FIELDS: Mapping[str, Mapping[str, Json]] = {
    "Slice": {
        "name": LABEL,
        "prefixes": {"items": PREFIX, "minItems": 1, "maxItems": 2},
        "clusters": {"items": LABEL},
        "namespaces": {"items": LABEL},
        "gateways": {"minimum": 0, "maximum": 64},
        "tunnels_per_pair": {"minimum": 1, "maximum": LANES_MAX},
        "contact": {"maxLength": CONTACT_MAX},
    },
    "SliceTopology": {"hubs": {"items": LABEL}},
    "ClusterLink": {"clusters": {"items": LABEL, "minItems": 2, "maxItems": 2, "uniqueItems": True}},
    "QosProfile": {
        "guarantee_bps": _RATE,
        "ceiling_bps": _RATE,
        "priority": {"minimum": 0, "maximum": 7},
        "dscp": {"minimum": 0, "maximum": 63},
    },
    "Objectives": {
        "latency_ms": {"minimum": 1, "maximum": LATENCY_MAX_MS},
        "loss_percent": {"minimum": 0, "maximum": 99},
    },
    "DnsOptions": {"ttl_s": {"minimum": 0, "maximum": 3600}},
    "Cluster": {"name": LABEL, "cidrs": {"items": PREFIX}},
    "Bandwidth": {
        "ingress_bps": _RATE,
        "ingress_burst_bits": {"minimum": 1, "maximum": BITS_MAX},
        "egress_bps": _RATE,
        "egress_burst_bits": {"minimum": 1, "maximum": BITS_MAX},
    },
    "Membership": {
        "name": SUBDOMAIN,
        "slice": LABEL,
        "cluster": LABEL,
        "namespace": LABEL,
        "pod": SUBDOMAIN,
        "interface": _INTERFACE,
        "addresses": {"items": ADDRESS},
        "mac": {"pattern": "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$"},
        "until_s": {"minimum": 0, "maximum": UNIX_TIME_MAX},
        "declared_in": {"maxLength": 63},
    },
    "ServicePort": {
        "name": {"pattern": "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"},
        "port": {"minimum": 1, "maximum": 65535},
        "protocol": {"enum": ["TCP", "UDP", "SCTP"]},
    },
    "Export": {
        "slice": LABEL,
        "namespace": LABEL,
        "name": LABEL,
        "clusters": {"items": LABEL},
        "selector": {"minProperties": 1},
    },
    "Ping": {
        "id": LABEL,
        "cluster": LABEL,
        "namespace": LABEL,
        "pod": SUBDOMAIN,
        "slice": LABEL,
        "target": ADDRESS,
        "count": {"minimum": 1, "maximum": 100},
    },
    "Drain": {"cluster": LABEL, "node": SUBDOMAIN},
    "Rotation": {
        "tunnel_set": {"minimum": 0, "maximum": TUNNEL_SET_MAX},
        "generation": {"minimum": 0, "maximum": GENERATION_MAX},
    },
    "JoinTokenSpec": {
        "kind": {"enum": ["cluster", "node", "dns"]},
        "name": LABEL,
        "ttl_s": {"minimum": 1, "maximum": TTL_MAX_S},
    },
}
_ANSWERED = (SliceStatus, DrainStatus, RotationStatus, EndpointSet, PingResult, Node, Gateway, Attachment)
_MEASURED = (TunnelHealth, TunnelHistory)
_DECLARED = (Slice, Cluster, Membership, Export, Ping, Drain, Rotation, JoinTokenSpec)
METADATA: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "revision", "created_at"],
    "properties": {"name": {"type": "string"}, "revision": REVISION, "created_at": {"type": "string"}},
}
PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457; `reason` is for machines, `detail` names the thing and shows the text.",
    "additionalProperties": False,
    "required": ["type", "title", "status", "detail", "reason", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "pattern": "^[A-Z][A-Za-z]*$"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def component_schemas() -> Json:
    """All schemas under `#/components/schemas`."""
    schemas: Json = {"Metadata": METADATA, "Problem": PROBLEM}
    for type_ in (*_DECLARED, *_ANSWERED, *_MEASURED):
        made = adapter(type_).json_schema(ref_template="#/components/schemas/{model}", mode="validation")
        schemas |= made.get("$defs", {})
    return {name: _refine(name, schema) for name, schema in sorted(schemas.items())}


def patch_schema(spec: Json, schemas: Json) -> Json:
    """The schema of a merge patch: nothing is required, and null takes away what has a default, also inside."""
    required = spec.get("required", [])
    properties = {name: _patched(schema, schemas, name in required) for name, schema in spec["properties"].items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _patched(schema: Json, schemas: Json, required: bool) -> Json:
    parts = [_patched_object(part, schemas) for part in schema.get("anyOf", [schema])]
    if not required and {"type": "null"} not in parts:
        parts.append({"type": "null"})
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _patched_object(schema: Json, schemas: Json) -> Json:
    target = schemas.get(str(schema.get("$ref")).rpartition("/")[2], {})
    return patch_schema(target, schemas) if "properties" in target else schema


def _refine(name: str, schema: Json) -> Json:
    if "properties" not in schema:
        return schema
    fields = _FIELDS.get(name, {})
    properties = {
        field: _refined(_LABEL_MAP if field in LABEL_SETS else one, fields.get(field, {}))
        for field, one in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _refined(schema: Json, extra: Json) -> Json:
    """The schema with what the table adds; of `X | null`, X gets it."""
    schema = _any_address({key: value for key, value in schema.items() if key != "title"})
    if not extra:
        return schema
    if _nullable(schema):
        parts = [part if part == {"type": "null"} else {**part, **extra} for part in schema["anyOf"]]
        return {**schema, "anyOf": parts}
    return {**schema, **extra}


def _nullable(schema: Json) -> bool:
    return {"type": "null"} in schema.get("anyOf", [])


def _any_address(schema: Json) -> Json:
    """pydantic's `anyOf` of both families, anywhere inside, as one format."""
    formats = {part.get("format") for part in schema.get("anyOf", []) if isinstance(part, dict)}
    if formats == {"ipv4network", "ipv6network"}:
        return PREFIX
    if formats == {"ipv4", "ipv6"}:
        return ADDRESS
    return {key: _any_address(value) if isinstance(value, dict) else value for key, value in schema.items()}
