"""Names of our kinds in the Kubernetes API, and the model's field names as Kubernetes writes them. Pure.

model (snake_case, unit last)      custom resource (camelCase)
guarantee_bps                      guaranteeBps
ttl_s                              ttlSeconds
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GROUP = "slicer.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
MANAGER = "slicer-controller"
"""Our field manager, and the reporter of events."""
CATEGORY = "slicer"
_UNITS = {"s": "Seconds"}
"""A last word that Kubernetes spells out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of custom resources."""

    kind: str
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = False

    @property
    def crd(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"

    def path(self, name: str = "", namespace: str = "", *, sub: str = "") -> str:
        """Path of an object, of a collection (no name), or of a subresource."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = [f"/apis/{API_VERSION}{scope}/{self.plural}", name, sub]
        return "/".join(part for part in parts if part)


SLICE = Kind(kind="Slice", plural="slices")
CLUSTER = Kind(kind="SliceCluster", plural="sliceclusters", short=("sclu",))
MEMBERSHIP = Kind(kind="SliceMembership", plural="slicememberships", short=("smem",), namespaced=True)
QOS_PROFILE = Kind(kind="QosProfile", plural="qosprofiles", short=("qos",))
RECORD = Kind(kind="SlicerRecord", plural="slicerrecords", namespaced=True)
DECLARED = (SLICE, CLUSTER, MEMBERSHIP, QOS_PROFILE)
"""What users write."""


def camel(name: str) -> str:
    """`guarantee_bps` as `guaranteeBps`, `ttl_s` as `ttlSeconds`."""
    first, *rest = name.split("_")
    words = [*rest[:-1], _UNITS.get(rest[-1], rest[-1])] if rest else []
    return first + "".join(word[:1].upper() + word[1:] for word in words)


def to_camel(value: Any, keep: tuple[str, ...] = ("labels", "selector")) -> Any:
    """A JSON value of the model with its field names as Kubernetes writes them; contents of `keep` stay as they are."""
    if isinstance(value, list):
        return [to_camel(item, keep) for item in value]
    if not isinstance(value, dict):
        return value
    return {camel(key): item if key in keep else to_camel(item, keep) for key, item in value.items()}
