"""The examples of docs/reference/dns.md, run with dig against the real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conformance_dns.running import RED, loopback_world, running, write_view
from tools.run import ROOT

PAGE = ROOT / "docs/reference/dns.md"
FENCE = re.compile(r"```console\n(.*?)```", re.DOTALL)
STATUS = re.compile(r"status: (\w+)")


@dataclass(frozen=True)
class Example:
    """One dig line of the page with what it prints."""

    command: str
    output: tuple[str, ...]

    def __str__(self) -> str:
        return self.command


def examples() -> Iterator[Example]:
    """All of the page, in its order."""
    for block in FENCE.findall(PAGE.read_text()):
        command, output = "", []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield Example(command, tuple(output))
                command, output = line[2:], []
            else:
                output.append(" ".join(line.split()))
        yield Example(command, tuple(output))


EXAMPLES = tuple(examples())


def dig(command: str, port: int) -> tuple[str, list[str]]:
    """(status, records) of a dig line, asked from web-1's address."""
    program, *words = command.split()
    assert program == "dig"
    options = ["@127.0.0.1", "-p", str(port), "-b", RED, "+noall", "+comments", "+answer", "+authority", "+additional"]
    done = subprocess.run(
        ["dig", *options, *words], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    status = STATUS.search(done.stdout)
    assert status is not None, done.stdout
    records = (" ".join(line.split()) for line in done.stdout.splitlines() if line and not line.startswith(";"))
    return status.group(1), sorted(records)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one server for all examples."""
    view = tmp_path_factory.mktemp("reference") / "view.jsonl"
    write_view(view, loopback_world())
    with running("--listen", "127.0.0.1:0", "--view-file", str(view)) as server:
        server.event("zones_swapped")
        yield server.port()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_examples(example: Example, port: int) -> None:
    """What the page shows is what dig prints; `…` stands for one word."""
    expected_status = "".join(STATUS.findall("\n".join(example.output))) or "NOERROR"
    expected = sorted(line for line in example.output if not line.startswith(";;"))
    status, records = dig(example.command, port)
    shown = [_as_shown(record, expected) for record in records]

    assert status == expected_status
    assert shown == expected


def _as_shown(record: str, expected: list[str]) -> str:
    """The expected line that a record matches, else the record itself."""
    for line in expected:
        pattern = re.escape(line).replace("…", r"\S+")
        if re.fullmatch(pattern, record):
            return line
    return record


def test_the_page_has_examples_of_each_kind() -> None:
    """The page shows services, pods, SRV, PTR, the tops, refusals and the option: none is lost unseen."""
    commands = " ".join(example.command for example in EXAMPLES)

    assert len(EXAMPLES) >= 18
    assert all(word in commands for word in (" SRV", "-x ", " SOA", " NS", " TXT", " ANY", "+subnet", " AAAA"))
