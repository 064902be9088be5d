"""The manifests as objects: a base, components and patches, read as `kubectl kustomize` reads them.

The same files serve `kubectl apply -k`, the Helm chart (tools/chart.py) and `slicectl install`. This reads the part of
kustomize that they use: resources, components, `namespace`, and patches in RFC 6902 form with a target. Anything else
in a kustomization is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.model.errors import InvalidError, NotFoundError

Object = dict[str, Any]
"""A Kubernetes object, as parsed from YAML."""
CLUSTER_SCOPED = frozenset({
    "Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "CustomResourceDefinition",
})  # fmt: skip
"""Kinds of ours that are in no namespace."""
_KNOWN = {"apiVersion", "kind", "resources", "components", "patches", "namespace"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Operations of RFC 6902 on the object `kind` `name`."""

    kind: str
    name: str
    operations: tuple[Mapping[str, Any], ...]


def directory() -> Path:
    """Where the manifests lie: in the package, or in a checkout beside it."""
    package = Path(__file__).parents[2]
    for place in (package / "manifests", package.parent / "manifests"):
        if (place / "base" / "kustomization.yaml").exists():
            return place
    raise NotFoundError("this slicectl carries no manifests: install the package pod-slicer whole, or use a checkout")


def build(kustomization: Path, components: Sequence[Path] = (), patches: Sequence[Patch] = ()) -> list[Object]:
    """The objects of a kustomization's directory, with more components and patches on top."""
    objects = _build(kustomization, [])
    for component in components:
        objects = _build(component, objects)
    for patch in patches:
        apply_patch(objects, patch)
    return objects


def _build(where: Path, objects: list[Object]) -> list[Object]:
    """`objects` (those of whoever includes this as a component) and this directory's own."""
    head = _load(where / "kustomization.yaml")[0]
    unknown = sorted(set(head) - _KNOWN)
    if unknown:
        raise InvalidError(f"{where}/kustomization.yaml: {unknown[0]!r} is not understood here")
    found = list(objects)
    for name in head.get("resources", ()):
        found += _resource(where / name)
    for name in head.get("components", ()):
        found = _build((where / name).resolve(), found)
    for patch in head.get("patches", ()):
        apply_patch(found, _parse_patch(where, patch))
    if "namespace" in head:
        set_namespace(found, head["namespace"])
    return found


def _resource(path: Path) -> list[Object]:
    return _build(path.resolve(), []) if path.is_dir() else _load(path)


def _load(path: Path) -> list[Object]:
    import yaml

    try:
        return [document for document in yaml.load_all(path.read_text(), _loader()) if document is not None]
    except FileNotFoundError:
        raise NotFoundError(f"there is no {path}") from None


def _loader() -> Any:
    """libyaml's safe loader, ten times as quick, where PyYAML has it."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _parse_patch(where: Path, patch: Mapping[str, Any]) -> Patch:
    import yaml

    target = patch.get("target", {})
    operations = yaml.load(patch.get("patch", ""), _loader())  # noqa: S506 - a safe one
    if set(patch) != {"target", "patch"} or set(target) != {"kind", "name"} or not isinstance(operations, list):
        raise InvalidError(f"{where}/kustomization.yaml: a patch needs a target (kind, name) and RFC 6902 operations")
    return Patch(kind=target["kind"], name=target["name"], operations=tuple(operations))


def apply_patch(objects: Sequence[Object], patch: Patch) -> None:
    """Change the patch's target in place; InvalidError if there is none."""
    for found in objects:
        if (found["kind"], found["metadata"]["name"]) == (patch.kind, patch.name):
            for operation in patch.operations:
                _operate(found, operation)
            return
    raise InvalidError(f"a patch is for {patch.kind} {patch.name}, which is not there")


def _operate(found: Object, operation: Mapping[str, Any]) -> None:
    """RFC 6902: `add`, `replace` and `remove`; a path of RFC 6901."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = found
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    verb: str = operation["op"]
    key: Any = last
    if isinstance(place, list):
        index = len(place) if last == "-" else int(last)
        if verb == "add":
            place.insert(index, copy.deepcopy(operation["value"]))
            return
        key = index
    if verb == "remove":
        del place[key]
    elif verb in {"add", "replace"}:
        place[key] = copy.deepcopy(operation["value"])
    else:
        raise InvalidError(f"operation {verb!r} is not add, replace or remove")


def set_namespace(objects: Sequence[Object], namespace: str) -> None:
    for found in objects:
        if found["kind"] not in CLUSTER_SCOPED:
            found["metadata"]["namespace"] = namespace


def containers(objects: Sequence[Object]) -> Iterator[Object]:
    """All containers of the objects' pods, init containers too."""
    for found in objects:
        pod = found.get("spec", {}).get("template", {}).get("spec", {}) if isinstance(found.get("spec"), dict) else {}
        yield from pod.get("initContainers", ())
        yield from pod.get("containers", ())
