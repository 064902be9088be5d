"""The rules that `make check` counts."""

from __future__ import annotations

import ast

import pytest

from tools.house import check_machine_paths, check_sizes, function_lines, parse_exceptions

LONG_FUNCTION = "class A:\n    def b(self):\n" + "        x = 1\n" * 40
SHORT_FUNCTION = "def b():\n" + "    x = 1\n" * 39


def test_a_function_of_41_lines_is_a_problem_that_names_class_and_function() -> None:
    """A function above 40 lines is named with its class and its size."""
    problems = check_sizes({"m.py": LONG_FUNCTION}, {})

    assert problems == ["m.py:A.b: 41 lines (without docstring), the house rule is 40"]


def test_a_function_of_40_lines_is_none() -> None:
    """Forty lines are allowed."""
    assert check_sizes({"m.py": SHORT_FUNCTION}, {}) == []


def test_a_file_above_400_lines_is_a_problem() -> None:
    """The 401st line makes a file too large."""
    assert check_sizes({"m.py": "x = 1\n" * 400}, {}) == []
    assert check_sizes({"m.py": "x = 1\n" * 401}, {}) == ["m.py: 401 lines, the house rule is 400"]


def test_an_exception_needs_a_reason_and_a_cause() -> None:
    """An exception silences its problem; without a reason, or without anything to except, it is a problem itself."""
    assert check_sizes({"m.py": LONG_FUNCTION}, {"m.py:A.b": "a table"}) == []
    assert check_sizes({"m.py": LONG_FUNCTION}, {"m.py:A.b": " "}) == [
        "tools/size_exceptions.toml: m.py:A.b has no reason"
    ]
    assert check_sizes({"m.py": SHORT_FUNCTION}, {"m.py:b": "a table"}) == [
        "tools/size_exceptions.toml: m.py:b is not too large any more"
    ]


def test_a_docstring_does_not_count() -> None:
    """The lines of a docstring are not lines of the function."""
    function = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body[0]
    assert isinstance(function, ast.FunctionDef)

    assert function_lines(function) == 2


def test_exceptions_are_read_from_their_table() -> None:
    """The [sizes] table maps places to reasons; without it there are none."""
    assert parse_exceptions('[sizes]\n"m.py" = "a table"\n') == {"m.py": "a table"}
    assert parse_exceptions("") == {}


@pytest.mark.parametrize(
    "path", ["/" + path for path in ("work/main/x", "work/shared/STYLE.md", "root/.ssh", "home/me/src", "tmp/w/common")]
)
def test_a_path_of_a_machine_is_found_with_its_line(path: str) -> None:
    """A line that names somebody's directory is a problem with file and line number."""
    (problem,) = check_machine_paths({"a.md": f"fine\nsee {path}\n"})

    assert problem.startswith("a.md:2: names a path of one machine: /")


@pytest.mark.parametrize("text", ["/var/lib/slicer", "make workers", "rootless", "/run/slicer/cni.sock", "/tmp/x"])
def test_paths_of_the_product_are_fine(text: str) -> None:
    """Paths that every machine has are no problem."""
    assert check_machine_paths({"a.md": text}) == []
