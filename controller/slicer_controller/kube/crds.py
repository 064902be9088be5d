"""The CustomResourceDefinitions, made from the model: `python -m slicer_controller.kube.crds DIRECTORY` writes them.

Pure but for `main`. A test fails if manifests/crds differs from what this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from slicer_controller.kube.crd_rules import membership_rules, name_rules, slice_rules
from slicer_controller.kube.crd_schema import conditions_schema, structural
from slicer_controller.kube.naming import (
    CATEGORY,
    CLUSTER,
    GROUP,
    MEMBERSHIP,
    QOS_PROFILE,
    RECORD,
    SLICE,
    VERSION,
    Kind,
)

Json = dict[str, Any]
HEADER = "# Made by `python -m slicer_controller.kube.crds manifests/crds`; do not edit.\n"
_NAME_MAX = 253
_CONDITION = '.status.conditions[?(@.type=="{}")].{}'
_AGE: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def definitions() -> list[Json]:
    """All of them, by name."""
    made = [_slice(), _cluster(), _membership(), _qos_profile(), _record()]
    return sorted(made, key=lambda crd: str(crd["metadata"]["name"]))


def render(crd: Json) -> str:
    """The file of one definition."""
    return HEADER + yaml.safe_dump(crd, sort_keys=False, width=120)


def file_name(crd: Json) -> str:
    """Where `render` goes, below manifests/crds."""
    return f"{crd['spec']['names']['plural']}.yaml"


def _slice() -> Json:
    spec = structural("Slice", without=("name",))
    spec["properties"]["qosProfile"] = _name_of("Name of the QosProfile whose values hold; instead of qos.")
    spec["description"] = "What the slice is to be."
    status = _status(
        {
            "vni": _number("The slice's number in VXLAN headers and kernel names."),
            "tunnelSet": _number("Number of the set of WireGuard tunnels that carries the slice."),
            "attachments": _number("Pods that are attached, in all clusters."),
            "clusterCount": _number("Clusters that are in the slice."),
            "clusters": {
                "type": "array",
                "description": "What the slice has in each of its clusters.",
                "items": structural("SliceInCluster"),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "objectives": {
                "type": "array",
                "description": "How the slice's objectives stand between each two of its clusters.",
                "items": structural("PairStatus", without=("latency_us", "loss_percent")),
            },
        }
    )
    columns = [
        _column("Prefixes", "string", ".spec.prefixes"),
        _column("Clusters", "integer", ".status.clusterCount"),
        _column("Pods", "integer", ".status.attachments"),
        *_condition_columns(),
        _column("VNI", "integer", ".status.vni", wide=True),
        _column("Message", "string", _CONDITION.format("Ready", "message"), wide=True),
    ]
    words = "A private layer-3 overlay over one or more clusters."
    return _definition(SLICE, words, {"spec": spec, "status": status}, slice_rules(), columns)


def _cluster() -> Json:
    spec = structural("Cluster", without=("name",))
    spec["description"] = "What is known of the cluster's own network."
    status = _status(
        {
            "nodes": _number("Nodes whose agents have reported."),
            "slices": {
                "type": "array",
                "description": "Slices that the cluster is in.",
                "items": {"type": "string"},
                "x-kubernetes-list-type": "set",
            },
        }
    )
    columns = [
        _column("CIDRs", "string", ".spec.cidrs"),
        _column("Nodes", "integer", ".status.nodes"),
        *_condition_columns(),
    ]
    words = "A cluster that has joined; its CIDRs are only for the overlap check."
    return _definition(CLUSTER, words, {"spec": spec, "status": status}, name_rules("cluster"), columns)


def _membership() -> Json:
    # Hardware address and rates are one pod's own to ask for, by annotation.
    without = ("name", "cluster", "namespace", "mac", "bandwidth", "until_s", "declared_in")
    spec = structural("Membership", without=without)
    spec["properties"]["until"] = {
        "type": "string",
        "format": "date-time",
        "description": "When the membership ends by itself, such as 2030-01-31T18:00:00Z.",
    }
    spec["description"] = "Which pods of this namespace join which slice."
    status = _status({"attachments": _number("Pods of the namespace that are attached to the slice.")})
    columns = [
        _column("Slice", "string", ".spec.slice"),
        _column("Pod", "string", ".spec.pod"),
        _column("Pods", "integer", ".status.attachments"),
        *_condition_columns(),
        _column("Message", "string", _CONDITION.format("Ready", "message"), wide=True),
    ]
    words = "Running pods of this namespace join a slice, if the slice allows the namespace."
    made = _definition(MEMBERSHIP, words, {"spec": spec, "status": status}, membership_rules(), columns)
    made["spec"]["versions"][0]["selectableFields"] = [{"jsonPath": ".spec.slice"}]
    return made


def _qos_profile() -> Json:
    spec = structural("QosProfile")
    spec["description"] = "Rates in bit/s of IP packets; a rate that is not given is unlimited."
    slices: Json = {
        "type": "array",
        "description": "Slices that name the profile.",
        "items": {"type": "string"},
        "x-kubernetes-list-type": "set",
    }
    columns = [
        _column("Guarantee", "integer", ".spec.guaranteeBps"),
        _column("Ceiling", "integer", ".spec.ceilingBps"),
        _column("Priority", "integer", ".spec.priority"),
    ]
    words = "Bandwidth and priority that several slices share by name."
    parts = {"spec": spec, "status": _status({"slices": slices})}
    return _definition(QOS_PROFILE, words, parts, name_rules("QoS profile"), columns)


def _record() -> Json:
    """Internal: what the controller promised and heard. Text, so that every JSON value comes back exactly."""
    spec: Json = {
        "type": "object",
        "description": "One entry of the controller's store.",
        "required": ["key", "value"],
        "properties": {
            "key": {"type": "string", "description": "Key of the entry."},
            "value": {"type": "string", "description": "Its value, as JSON text."},
        },
    }
    columns = [_column("Key", "string", ".spec.key")]
    words = "Internal to slicer-controller: an entry of its store. Not for users; a change here breaks promises."
    return _definition(RECORD, words, {"spec": spec}, [], columns)


def _definition(kind: Kind, description: str, parts: Json, rules: list[Json], columns: list[Json]) -> Json:
    schema: Json = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **parts,
        },
    }
    if rules:
        schema["x-kubernetes-validations"] = rules
    version: Json = {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if "status" in parts:
        version["subresources"] = {"status": {}}
    version["additionalPrinterColumns"] = [*columns, _AGE]
    names: Json = {"kind": kind.kind, "listKind": f"{kind.kind}List", "plural": kind.plural}
    names |= {"singular": kind.kind.lower()}
    names |= {"shortNames": list(kind.short)} if kind.short else {}
    names |= {"categories": [CATEGORY]} if "status" in parts else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd, "labels": {"app.kubernetes.io/part-of": "slicer"}},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _status(properties: Json) -> Json:
    observed = _number("The generation of the object that this status speaks of.")
    return {
        "type": "object",
        "description": "What is, as the controller sees it.",
        "properties": {"observedGeneration": observed, "conditions": conditions_schema(), **properties},
    }


def _name_of(description: str) -> Json:
    return {"type": "string", "maxLength": _NAME_MAX, "minLength": 1, "description": description}


def _number(description: str) -> Json:
    return {"type": "integer", "format": "int64", "description": description}


def _column(name: str, type_: str, path: str, *, wide: bool = False) -> Json:
    return {"name": name, "type": type_, "jsonPath": path} | ({"priority": 1} if wide else {})


def _condition_columns() -> list[Json]:
    return [
        _column("Ready", "string", _CONDITION.format("Ready", "status")),
        _column("Reason", "string", _CONDITION.format("Ready", "reason")),
    ]


def main() -> int:
    """Write every definition into the directory that is named."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for crd in definitions():
        (directory / file_name(crd)).write_text(render(crd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
