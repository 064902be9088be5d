"""The reference page is the program's, and what the guides tell people to type is accepted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from slicer.cli import reference
from slicer.cli.errors import EXIT_CODES
from slicer.cli.main import build
from slicer.client.codec import decode
from slicer.model.slices import Slice

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs/guide").glob("*.md"))


def typed_lines() -> list[str]:
    """Each line that begins with `slicectl` in a fenced block of a guide, without prompt, redirection and remark."""
    lines = []
    for page in PAGES:
        for block in page.read_text().split("```")[1::2]:
            lines += [line.removeprefix("$ ").split(" > ")[0] for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("slicectl ") and "…" not in line})


def test_the_reference_is_what_the_program_says() -> None:
    """If this fails: python -m slicer.cli.reference > docs/reference/slicectl.md"""
    assert (ROOT / "docs/reference/slicectl.md").read_text() == reference.render()


def test_every_exit_code_is_documented() -> None:
    """In the component's README, one row each."""
    text = (ROOT / "slicer/cli/README.md").read_text()

    assert [code for code, _, _ in EXIT_CODES if f"\n| {code} |" not in text] == []


def test_the_guides_have_examples() -> None:
    """The next test has something to check."""
    assert len(typed_lines()) > 25


@pytest.mark.parametrize("line", typed_lines())
def test_the_guides_examples_parse(line: str) -> None:
    """Command, options and arguments exist; values are read when the command runs."""
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(build())
    context = command.make_context("slicectl", words)
    while children := getattr(command, "commands", None):
        rest = [*context._protected_args, *context.args]
        command = children[rest[0]]
        context = command.make_context(rest[0], rest[1:], parent=context)

    assert context.args == []


def test_the_slice_file_of_the_guide_is_a_slice() -> None:
    """The example for `create-slice -f` has no field that the model does not know."""
    text = (ROOT / "docs/guide/slices.md").read_text()
    documents = [
        yaml.safe_load(block.removeprefix("yaml")) for block in text.split("```")[1::2] if "prefixes:" in block
    ]

    assert [decode(Slice, document).name for document in documents] == ["green"]
