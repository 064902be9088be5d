"""Structural schemas of the custom resources, made from the model's JSON schemas. Pure; caller: crds.

`component_schemas` (what REST shows) is the source; here `$ref`s are put in place, `X | null` becomes an optional
field, names become camelCase, and what JSON Schema says by ranges, patterns and formats becomes CEL in the model's
words.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from slicer.model import clusters, slices, topology
from slicer.plan import status
from slicer_controller.api.schemas import component_schemas
from slicer_controller.kube.crd_rules import field_rules, link_rules, prefixes_rules, qos_rules, topology_rules
from slicer_controller.kube.naming import camel

Json = dict[str, Any]
LIST_MAX = 256
"""Items of lists that have no smaller limit: CEL's cost is estimated from it."""
_PREFIX_MAX = 49
"""Characters of the longest prefix: eight groups with an IPv4 tail, and a length."""
_LABELS_MAX = 32
_TEXT_MAX = 1024
DESCRIPTIONS: Mapping[str, str] = {
    "Slice.prefixes": "One IPv4 prefix, one IPv6 prefix, or one of each, such as 10.22.0.0/16. Never changes.",
    "Membership.slice": "Name of the slice to join.",
    "Membership.pod": "Name of the one pod that joins.",
    "Membership.labels": "Pods that carry all of these labels join. Neither pod nor labels: all pods of the namespace.",
    "Membership.reason": "Why, for people.",
    "QosProfile.guarantee_bps": "bit/s that the slice always gets on a cluster's tunnels.",
    "QosProfile.ceiling_bps": "bit/s that the slice never exceeds.",
    "DnsOptions.ttl_s": "Time to live of the slice's DNS answers.",
    "Slice.topology": "Which of the slice's clusters are linked; without it every two.",
    "SliceTopology.hubs": "Clusters that are linked with every other one, also with those that join later.",
    "SliceTopology.links": "Pairs of clusters that are linked besides.",
    "ClusterLink.clusters": "Two different clusters.",
    "Slice.qos": "Bandwidth of the slice on its clusters' tunnels.",
    "Slice.objectives": "What the ways between the slice's clusters are to be like; watched, not enforced.",
    "Slice.tunnels": "Whether the slice shares WireGuard tunnels with slices of other prefixes or has its own.",
    "Slice.tunnels_per_pair": "Parallel tunnels between each two gateways; of slices that share them the largest wish.",
    "Slice.encryption": "Where packets are encrypted: between clusters, or between nodes as well. Never changes.",
    "Slice.dns": "How the slice's names are answered.",
    "QosProfile.dscp": "Written into the packets' DSCP field where they enter the slice; without it the field stays.",
    "Membership.interface": "Interface name in the pod; without it the first free of net1, net2 and so on.",
    "Slice.gateways": "Active gateways wanted in each cluster; fewer nodes means fewer gateways. 0 means every node.",
    "PairStatus.state": "Whether the way between the two is as wanted.",
    "SliceInCluster.name": "Name of the cluster.",
    "SliceInCluster.blocks": "Parts of the slice's prefixes that the cluster hands out.",
}
"""What the dataclasses do not say of a field, or say with words that only fit the model."""
_ONE: Mapping[str, str] = {
    "prefixes": "prefix",
    "addresses": "address",
    "clusters": "cluster name",
    "hubs": "cluster name",
    "namespaces": "namespace",
    "cidrs": "CIDR",
    "slice": "slice name",
    "pod": "pod name",
    "interface": "interface name",
}
"""What the model's refusals call a field, or one item of it."""
_REPORTED = frozenset({"blocks"})
"""Written by the controller only: nothing to refuse."""
_SETS = frozenset({"prefixes", "clusters", "hubs", "namespaces", "cidrs", "addresses"})
"""Lists in which an item stands once; server-side apply may then own single items."""
_RULES: Mapping[str, Callable[[], list[Json]]] = {
    "QosProfile": qos_rules,
    "SliceTopology": topology_rules,
    "ClusterLink": link_rules,
}
"""What needs more than one field, or more than one item of a list."""


def structural(name: str, *, without: tuple[str, ...] = ()) -> Json:
    """The structural schema of one of the model's dataclasses, without some of its fields."""
    components = component_schemas()
    return _object(name, components[name], components, without)


def conditions_schema() -> Json:
    """`status.conditions` as Kubernetes has them (API conventions, "Typical status properties")."""
    properties: Json = {
        "type": {"type": "string", "maxLength": 316, "description": "What holds or does not."},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why, in one CamelCase word."},
        "message": {"type": "string", "maxLength": 32768, "description": "Why, for people."},
        "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When status last changed."},
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "minimum": 0,
            "description": "The generation of the object that this was said of.",
        },
    }
    required = ["type", "status", "reason", "message", "lastTransitionTime"]
    return {
        "type": "array",
        "description": "What holds of this object and what does not; Ready sums up.",
        "items": {"type": "object", "required": required, "properties": properties},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }


def _object(name: str, schema: Json, components: Json, without: tuple[str, ...] = ()) -> Json:
    documented = dict(_field_docs(name))
    properties: Json = {}
    for field, one in schema["properties"].items():
        if field in without:
            continue
        made = _field(field, one, components)
        said = DESCRIPTIONS.get(f"{name}.{field}") or documented.get(field) or made.get("description", "")
        properties[camel(field)] = {**made, "description": said}
    required = [camel(field) for field in schema.get("required", []) if field not in without]
    result: Json = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    if name in _RULES:
        result["x-kubernetes-validations"] = _RULES[name]()
    if name == "ClusterLink":
        # The two belong together; and one name twice is refused in our words.
        del properties["clusters"]["x-kubernetes-list-type"]
    return result


def _field(field: str, schema: Json, components: Json) -> Json:
    schema = next((part for part in schema.get("anyOf", []) if part != {"type": "null"}), schema) | {
        key: schema[key] for key in ("default",) if key in schema
    }
    target = str(schema.get("$ref", "")).rpartition("/")[2]
    if target and "properties" in components[target]:
        return _object(target, components[target], components)
    if target:
        schema = {**components[target], **{key: value for key, value in schema.items() if key != "$ref"}}
    return _list(field, schema, components) if schema.get("type") == "array" else _scalar(field, schema)


def _list(field: str, schema: Json, components: Json) -> Json:
    items = schema["items"]
    result: Json = {
        "type": "array",
        "items": _field(field, items, components) if "$ref" in items else _scalar(field, items),
        "maxItems": schema.get("maxItems", LIST_MAX),
    }
    if field == "prefixes":
        result |= {"minItems": 1, "x-kubernetes-validations": prefixes_rules()}
    return result | ({"x-kubernetes-list-type": "set"} if field in _SETS else {})


def _scalar(field: str, schema: Json) -> Json:
    if "additionalProperties" in schema and schema["type"] == "object":
        value = {"type": "string", "maxLength": 63}
        return {"type": "object", "additionalProperties": value, "maxProperties": _LABELS_MAX}
    result: Json = {"type": schema["type"]}
    if schema["type"] == "integer":
        result["format"] = "int64"
    if schema["type"] == "string" and "enum" not in schema:
        result["maxLength"] = schema.get("maxLength") or (_PREFIX_MAX if "format" in schema else _TEXT_MAX)
    result |= {key: schema[key] for key in ("enum",) if key in schema}
    if schema.get("default") not in {None, ""}:
        result["default"] = schema["default"]
    rules = field_rules(_ONE.get(field, camel(field)), schema) if field not in _REPORTED else []
    return result | ({"x-kubernetes-validations": rules} if rules else {})


def _field_docs(name: str) -> Iterator[tuple[str, str]]:
    """(field, the docstring under it) of one of the model's dataclasses, on one line."""
    type_ = next(getattr(module, name) for module in (slices, topology, clusters, status) if hasattr(module, name))
    body = ast.parse(inspect.getsource(type_)).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            yield field.target.id, " ".join(str(ast.literal_eval(after.value)).split())
