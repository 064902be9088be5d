"""The CRD files, and the reference that describes them, say what the model says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.client.marks import ATTACHMENTS, FORCE
from slicer.plan.membership import OPT_OUT
from slicer_controller.kube import annotated, nodes, pods
from slicer_controller.kube.crds import definitions, file_name, render
from slicer_controller.kube.naming import RECORD, camel, to_camel

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs/reference/custom-resources.md"
Json = dict[str, Any]


def fields(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """(dotted path, schema) of every field below; list items are written with `[]`."""
    for name, one in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, one
        yield from fields(one, here)
        yield from fields(one.get("items", {}), f"{here}[]")


def user_schemas() -> Iterator[tuple[str, Json]]:
    for crd in definitions():
        if crd["spec"]["names"]["plural"] != RECORD.plural:
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            yield crd["spec"]["names"]["kind"], {"properties": {k: schema["properties"][k] for k in ("spec", "status")}}


def test_files_are_what_the_model_makes() -> None:
    """manifests/crds differs from the generator in nothing; `python -m slicer_controller.kube.crds` writes it."""
    there = {path.name: path.read_text() for path in (ROOT / "manifests/crds").glob("*.yaml")}
    there.pop("kustomization.yaml", None)

    assert there == {file_name(crd): render(crd) for crd in definitions()}


def test_every_field_is_described() -> None:
    """kubectl explain has a sentence for each."""
    undescribed = [
        f"{kind}.{path}"
        for kind, schema in user_schemas()
        for path, one in fields(schema)
        if not one.get("description")
    ]

    assert undescribed == []


def test_every_field_and_annotation_is_in_the_reference() -> None:
    """The page has a row for each field of each kind, under the kind's heading, and one for each annotation."""
    text = REFERENCE.read_text()
    sections = {part.split("\n", 1)[0].strip(): part for part in text.split("\n## ")[1:]}
    for kind, schema in user_schemas():
        for path, one in fields(schema):
            assert f"| `{path}` | {one['description']}" in sections[kind], f"{kind}: {path}"
    for annotation in (
        pods.SLICES,
        ATTACHMENTS,
        pods.CONNECTED,
        pods.GATE,
        nodes.OUTSIDE,
        FORCE,
        OPT_OUT[0],
    ):
        assert f"| `{annotation}`" in sections["Annotations, labels and conditions"], annotation
    assert annotated.PODS


def test_no_field_has_a_name_of_the_model() -> None:
    """Users see camelCase only, in fields and in what refusals say of them."""
    for kind, schema in user_schemas():
        for path, one in fields(schema):
            rules = [str(rule) for rule in one.get("x-kubernetes-validations", [])]
            assert "_" not in path, kind
            assert not any("_bps" in rule or "_s " in rule for rule in rules), path


@pytest.mark.parametrize(
    ("model", "kubernetes"),
    [("name", "name"), ("guarantee_bps", "guaranteeBps"), ("ttl_s", "ttlSeconds"), ("tunnel_set", "tunnelSet")],
)
def test_names_are_written_as_kubernetes_writes_them(model: str, kubernetes: str) -> None:
    """camelCase, units spelled out."""
    assert camel(model) == kubernetes


def test_labels_keep_their_names() -> None:
    """Only field names change, also in lists; what users named stays."""
    value = {"labels": {"my_label": "x_y"}, "rx_bytes": [{"a_b": 1}], "reason": "as_is"}

    assert to_camel(value) == {"labels": {"my_label": "x_y"}, "rxBytes": [{"aB": 1}], "reason": "as_is"}
