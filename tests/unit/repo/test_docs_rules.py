"""What `make check` asks of Markdown."""

from __future__ import annotations

import pytest

from tools.docs import anchor, check_docs, fenced_lines, prose_lines

FILES = ("README.md", "docs/a.md", "docs/sub/b.md", "slicer/model/names.py", "tests/unit/x.py")


@pytest.mark.parametrize(
    "line",
    [
        "[a](docs/a.md)",
        "[dir](docs/sub)",
        "![picture](docs/a.md)",
        "[web](https://example.org/nothing)",
        "[here](#a-heading)",
        "[there](docs/a.md#of-a)",
        "[`code`](docs/a.md)",
        "`slicer/model/names.py`, `slicer/model/`, `tests/unit/*.py`",
        "`slicer/<name>.py` and `docs and other words`",
        "`/var/lib/slicer/view.json`",
    ],
)
def test_good_lines(line: str) -> None:
    """Links to files, directories, headings and the web are fine, and so are names of files that exist."""
    pages = {"README.md": f"# A heading\n{line}\n", "docs/a.md": "## Of `A`\n"}

    assert check_docs(pages, FILES) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[a](docs/none.md)", "link to docs/none.md: there is no docs/none.md"),
        ("[a](../x.md)", "link to ../x.md: there is no ../x.md"),
        ("[a](#nowhere)", "link to #nowhere: README.md has no heading with that name"),
        ("[a](docs/a.md#nowhere)", "link to docs/a.md#nowhere: docs/a.md has no heading with that name"),
        ("`slicer/gone.py`", "`slicer/gone.py` does not exist"),
        ("`tests/e2e/*.py`", "`tests/e2e/*.py` does not exist"),
    ],
)
def test_bad_lines(line: str, problem: str) -> None:
    """A link or a file name that leads nowhere is a problem with page and line number."""
    pages = {"README.md": f"# A\n{line}\n", "docs/a.md": ""}

    assert check_docs(pages, FILES) == [f"README.md:2: {problem}"]


def test_links_are_relative_to_their_page() -> None:
    """A page in a directory links from there."""
    assert check_docs({"docs/sub/b.md": "[up](../a.md) [top](../../README.md)"}, FILES) == []


def test_fenced_blocks_are_not_prose() -> None:
    """What stands in a fenced block is neither link nor name, and is what fenced_lines gives."""
    text = "one\n```sh\nmake test [x](none.md)\n```\ntwo"

    assert [line for _, line in prose_lines(text)] == ["one", "two"]
    assert list(fenced_lines(text)) == ["make test [x](none.md)"]
    assert check_docs({"README.md": text}, FILES) == []


@pytest.mark.parametrize(
    ("heading", "fragment"),
    [("A heading", "a-heading"), ("Of `A`, and B!", "of-a-and-b"), ("[Link](x.md) here", "link-here"), ("1.9", "19")],
)
def test_anchors_are_as_github_makes_them(heading: str, fragment: str) -> None:
    """Lower case, spaces to hyphens, punctuation gone."""
    assert anchor(heading) == fragment
