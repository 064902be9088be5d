"""The house rules that can be counted: sizes of files and functions, and no path of somebody's machine in a file."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping

FILE_LINES = 400
FUNCTION_LINES = 40
EXCEPTIONS = "tools/size_exceptions.toml"
"""Larger files and functions, each with its reason."""

MACHINE_PATH = re.compile(
    r"/work/(main|shared|\.)|(?<![\w}>*])/root/|/home/(?!kubernetes/bin)[a-z]|/Users/|/tmp/w/|\.pyenv"
)
"""Where one developer's things lie. One that is named works on one machine (/home/kubernetes/bin is GKE's)."""
MACHINE_PATH_EXEMPT = frozenset({"tools/house.py", "tests/unit/repo/test_house.py"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_sizes(sources: Mapping[str, str], exceptions: Mapping[str, str]) -> list[str]:
    """One problem for each file or function above the rule, and for each exception that is not needed any more.

    Exceptions are `path` or `path:qualified.name` → reason.
    """
    large = dict(_large(sources))
    problems = [f"{where}: {what}" for where, what in large.items() if where not in exceptions]
    problems += [f"{EXCEPTIONS}: {where} is not too large any more" for where in exceptions if where not in large]
    problems += [f"{EXCEPTIONS}: {where} has no reason" for where, reason in exceptions.items() if not reason.strip()]
    return sorted(problems)


def parse_exceptions(text: str) -> dict[str, str]:
    """The `[sizes]` table of the exceptions file."""
    return {str(where): str(reason) for where, reason in tomllib.loads(text).get("sizes", {}).items()}


def check_machine_paths(texts: Mapping[str, str]) -> list[str]:
    """One problem for each line that names a path of a developer's machine."""
    return [
        f"{name}:{number}: names a path of one machine: {match.group()}"
        for name, text in sorted(texts.items())
        if name not in MACHINE_PATH_EXEMPT
        for number, line in enumerate(text.splitlines(), 1)
        if (match := MACHINE_PATH.search(line))
    ]


def _large(sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in sources.items():
        lines = text.count("\n")
        if lines > FILE_LINES:
            yield name, f"{lines} lines, the house rule is {FILE_LINES}"
        for path, function in _functions(ast.parse(text, name), ()):
            size = function_lines(function)
            if size > FUNCTION_LINES:
                yield (
                    f"{name}:{'.'.join(path)}",
                    f"{size} lines (without docstring), the house rule is {FUNCTION_LINES}",
                )


def _functions(node: ast.AST, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Function]]:
    for child in ast.iter_child_nodes(node):
        inner = path
        if isinstance(child, Function | ast.ClassDef):
            inner = (*path, child.name)
        if isinstance(child, Function):
            yield inner, child
        yield from _functions(child, inner)


def function_lines(function: Function) -> int:
    """Lines from `def` to the end, without the docstring: facts about a function are no reason to split it."""
    assert function.end_lineno is not None
    size = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        size -= first.end_lineno - first.lineno + 1
    return size
