"""The Helm chart is what the manifests say. What it renders to is compared in tests/kubernetes/test_manifests.py."""

from __future__ import annotations

import re

import yaml

from tools.chart import CHART, render


def test_the_chart_is_made_of_the_manifests() -> None:
    """Every made file is there as it would be made now, and no other: after a change run `python -m tools.chart`."""
    files = {
        str(path.relative_to(CHART)): path.read_text()
        for path in CHART.rglob("*")
        if path.is_file() and path.name != "values.yaml"
    }

    assert files == render()


def test_every_value_is_used_and_every_used_value_is_there() -> None:
    """values.yaml names the values that the templates use, each once, and none else."""
    text = "".join(text for name, text in render().items() if name.startswith("templates/"))
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", text))

    def names(value: object, path: str = "") -> list[str]:
        if isinstance(value, dict):
            return [name for key, inner in value.items() for name in names(inner, f"{path}.{key}" if path else key)]
        return [path]

    assert sorted(used) == sorted(names(yaml.safe_load((CHART / "values.yaml").read_text())))
