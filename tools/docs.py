"""What the Markdown files promise: links that lead somewhere, and files that exist."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
FOREIGN = ("http://", "https://", "mailto:")
TOP = ("slicer", "cni-plugin", "controller", "dns", "manifests", "tests", "tools", "docs", ".ci")
PATH = re.compile(rf"^(?:{'|'.join(map(re.escape, TOP))})/[\w./*-]*$")
"""What in backquotes reads as a file of this repository."""


def check_docs(pages: Mapping[str, str], files: Sequence[str]) -> list[str]:
    """One problem for each link or named file in `pages` (path → Markdown) that is not among `files` of the clone."""
    known = _with_directories(files)
    problems = []
    for page, text in sorted(pages.items()):
        for number, line in prose_lines(text):
            problems += [f"{page}:{number}: {what}" for what in _line_problems(page, line, pages, known)]
    return problems


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of everything outside fenced blocks."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line


def fenced_lines(text: str) -> Iterator[str]:
    """The lines inside fenced blocks: what a reader types or sees."""
    prose = {number for number, _ in prose_lines(text)}
    for number, line in enumerate(text.splitlines(), 1):
        if number not in prose and not FENCE.match(line):
            yield line


def anchor(heading: str) -> str:
    """The fragment that GitHub gives a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _line_problems(page: str, line: str, pages: Mapping[str, str], known: frozenset[str]) -> Iterator[str]:
    for target in LINK.findall(CODE.sub("", line) if "](" not in CODE.sub("", line) else line):
        if not target.startswith(FOREIGN):
            yield from _link_problems(page, target, pages, known)
    for text in CODE.findall(line):
        if PATH.match(text) and not _exists(text.rstrip("/"), known):
            yield f"`{text}` does not exist"


def _link_problems(page: str, target: str, pages: Mapping[str, str], known: frozenset[str]) -> Iterator[str]:
    path, _, fragment = target.partition("#")
    where = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    if where not in known:
        yield f"link to {target}: there is no {where}"
    elif fragment and where in pages and fragment not in _anchors(pages[where]):
        yield f"link to {target}: {where} has no heading with that name"


def _anchors(text: str) -> frozenset[str]:
    matches = (HEADING.match(line) for _, line in prose_lines(text))
    return frozenset(anchor(match.group(1)) for match in matches if match)


def _exists(path: str, known: frozenset[str]) -> bool:
    return path in known or ("*" in path and any(fnmatch(name, path) for name in known))


def _with_directories(files: Sequence[str]) -> frozenset[str]:
    known = {"."}
    for name in files:
        while name:
            known.add(name)
            name = posixpath.dirname(name)
    return frozenset(known)
