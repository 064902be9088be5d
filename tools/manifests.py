"""The YAML files parse, and those under manifests/ are Kubernetes objects. Helm's templates are none yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

CHARTS = "manifests/helm/"


def check_yaml(texts: Mapping[str, str]) -> list[str]:
    """One problem for each file of `texts` (path → YAML) that does not parse or holds something else than objects."""
    found = {name: text for name, text in texts.items() if not (name.startswith(CHARTS) and "/templates/" in name)}
    return [problem for name, text in sorted(found.items()) for problem in _problems(name, text)]


def _problems(name: str, text: str) -> Iterator[str]:
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        yield f"{name}: not YAML: {' '.join(str(error).split())}"
        return
    if not name.startswith("manifests/") or name.startswith(CHARTS):
        return
    if not documents:
        yield f"{name}: holds no object"
    for index, document in enumerate(documents):
        missing = [field for field in ("apiVersion", "kind") if not _get(document, field)]
        if missing:
            yield f"{name}: document {index} has no {' and no '.join(missing)}"


def _get(document: object, field: str) -> object:
    return document.get(field) if isinstance(document, dict) else None
