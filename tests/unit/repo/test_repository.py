"""What the documents promise about the repository holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tools.docs import fenced_lines
from tools.run import ROOT
from tools.tracked import read_texts, tracked_files

TARGET = re.compile(r"^([a-z-]+):.*?## ", re.MULTILINE)
MAKE = re.compile(r"^\$?\s*(?:sudo (?:-E )?)?make\s+([a-z-]+(?:\s+[a-z-]+)*)")

NAMED_FILE = re.compile(
    r"(?<![\w./-])((?:tests|tools|slicer|docs|manifests|controller|dns)/[\w./-]+\.(?:py|md|toml|yaml))\b"
)


def make_targets() -> set[str]:
    """The documented targets of the Makefile."""
    return set(TARGET.findall((ROOT / "Makefile").read_text()))


def promised_targets(page: Path) -> set[str]:
    """The targets in `make …` lines of a page's fenced blocks."""
    found = (MAKE.match(line) for line in fenced_lines(page.read_text()))
    return {target for match in found if match for target in match.group(1).split()}


def test_every_make_command_of_the_documents_exists() -> None:
    """A page that says `make x` names a target of the Makefile."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/benchmarks/README.md")]
    promised = set().union(*map(promised_targets, pages))

    assert {"demo", "test"} <= promised
    assert promised <= make_targets()


def test_files_named_in_programs_exist() -> None:
    """What a docstring, comment or message calls a file of the repository is one. (Pages: tools.docs.)"""
    sources = read_texts(ROOT, tracked_files(ROOT), ".py")
    ours = {name: text for name, text in sources.items() if not name.startswith("tests/unit/repo/")}
    named = {(name, file) for name, text in ours.items() for file in NAMED_FILE.findall(text)}

    assert len(named) > 20
    assert sorted(f"{name} names {file}" for name, file in named if not (ROOT / file).exists()) == []


def test_every_decision_is_indexed() -> None:
    """Each page of docs/decisions is linked from its index, and the index links to no page twice."""
    directory = ROOT / "docs/decisions"
    pages = sorted(page.name for page in directory.glob("*.md") if page.name != "README.md")
    linked = re.findall(r"\]\(([\w.-]+\.md)\)", (directory / "README.md").read_text())

    assert sorted(linked) == pages


def test_every_page_is_linked_from_the_index() -> None:
    """Each page below docs/ is reached from docs/README.md, directly or by its directory's index."""
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text()
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if page.parent.name != "decisions"}
    linked = set(re.findall(r"\]\(([\w./-]+\.md)\)", index))

    assert pages - {"README.md"} <= linked
    assert "decisions/README.md" in linked


def test_the_pipeline_runs_targets_that_exist() -> None:
    """Each step of .ci/run is a target of the Makefile, check and test among them."""
    steps = set(re.findall(r"^step ([a-z-]+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE))

    assert {"setup", "check", "test"} <= steps <= make_targets()


def test_every_requirement_is_pinned() -> None:
    """Each dependency of pyproject.toml names one exact version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    groups = (*extras, project["project"]["dependencies"], project["dependency-groups"]["dev"])
    requirements = [text for group in groups for text in group if not text.startswith("pod-slicer[")]
    loose = [text for text in requirements if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+", text)]

    assert loose == []
