"""Custom resources as values of the model, and back. Pure.

The API server has checked what it can (CEL); what it cannot is refused here as everywhere, by the model itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from slicer.client.codec import decode, encode
from slicer.client.marks import FINALIZER
from slicer.model.clusters import Cluster
from slicer.model.errors import InvalidError, NotFoundError
from slicer.model.slices import Membership, Objectives, QosProfile, Slice
from slicer.plan.validation import DECLARED_PREFIX
from slicer_controller.kube.naming import API_VERSION, Kind, camel, to_camel

Json = dict[str, Any]
_NAME_MAX = 253


def parse_slice(object_: Json, profiles: Mapping[str, Json]) -> Slice:
    """The slice that a Slice declares; NotFoundError if it names a QoS profile that is not there."""
    spec = dict(object_["spec"])
    name, profile = object_["metadata"]["name"], spec.pop("qosProfile", None)
    if profile is not None:
        if profile not in profiles:
            raise NotFoundError(f"slice {name!r} names QoS profile {profile!r}, which does not exist")
        spec["qos"] = profiles[profile]["spec"]
    fields = _fields(Slice, spec)
    if isinstance(fields.get("qos"), dict):
        fields["qos"] = _fields(QosProfile, spec["qos"])
    if isinstance(fields.get("objectives"), dict):
        fields["objectives"] = _fields(Objectives, spec["objectives"])
    if "dns" in spec:
        fields["dns"] = {"ttl_s": spec["dns"]["ttlSeconds"]} if "ttlSeconds" in spec["dns"] else {}
    return decode(Slice, {**fields, "name": name})


def parse_cluster(object_: Json) -> Cluster:
    """The cluster that a SliceCluster declares."""
    return decode(Cluster, {**_fields(Cluster, object_["spec"]), "name": object_["metadata"]["name"]})


def parse_membership(object_: Json, cluster: str) -> Membership:
    """The membership that a SliceMembership in `cluster` declares."""
    spec, metadata = dict(object_["spec"]), object_["metadata"]
    until = spec.pop("until", None)
    fields = _fields(Membership, spec) | {
        "name": membership_name(cluster, metadata["namespace"], metadata["name"]),
        "cluster": cluster,
        "namespace": metadata["namespace"],
        "declared_in": cluster,
        "until_s": None if until is None else _unix_time(until),
    }
    return decode(Membership, fields)


def _unix_time(text: str) -> int:
    """Unix time of a date-time; InvalidError for what the API server takes and no calendar has (year 0, second 60)."""
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp())
    except (ValueError, OverflowError) as error:
        raise InvalidError(f"spec.until {text!r} is not a time: {error}") from None


def membership_name(cluster: str, namespace: str, name: str) -> str:
    """Name of the membership that an object of a cluster declares: unique over all clusters."""
    whole = f"{DECLARED_PREFIX}{cluster}.{namespace}.{name}"
    if len(whole) <= _NAME_MAX:
        return whole
    return f"{DECLARED_PREFIX}{cluster}.{namespace}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def render_declared(
    kind: Kind, value: Slice | Cluster, before: Json | None = None, profiles: Mapping[str, Json] = MappingProxyType({})
) -> Json:
    """The object that declares a value: a new one, or `before` with another spec.

    A QoS profile that `before` names is named again as long as its values are the slice's: an edit of something else
    does not untie the two.
    """
    spec = {key: item for key, item in encode(value).items() if key != "name" and item is not None}
    for part in ("qos", "objectives"):
        if isinstance(spec.get(part), dict):
            spec[part] = {key: item for key, item in spec[part].items() if item is not None}
    metadata = dict(before["metadata"]) if before else {"name": value.name, "finalizers": [FINALIZER]}
    rendered = to_camel(spec)
    profile = str(before["spec"].get("qosProfile", "")) if before else ""
    if isinstance(value, Slice) and profile in profiles and _parse_profile(profiles[profile]) == value.qos:
        del rendered["qos"]
        rendered["qosProfile"] = profile
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": rendered}


def _parse_profile(object_: Json) -> QosProfile:
    return decode(QosProfile, _fields(QosProfile, object_["spec"]))


def _fields(type_: type, spec: Json) -> Json:
    """The object's fields under the model's names; InvalidError for one that the model does not have."""
    names = {camel(field): field for field in type_.__dataclass_fields__}  # type: ignore[attr-defined]
    unknown = sorted(spec.keys() - names.keys())
    if unknown:
        raise InvalidError(f"spec.{unknown[0]}: there is no such field")
    return {names[key]: item for key, item in spec.items()}
