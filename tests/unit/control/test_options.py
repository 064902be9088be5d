"""The command line of slicer-controller."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.model.errors import InvalidError
from slicer_controller.main import main, parse_options

HUB = ("--role", "hub", "--state", "/s", "--listen", "127.0.0.1:7443")
MEMBER = ("--role", "member", "--state", "/s", "--listen", "[::1]:7443", "--cluster", "a")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """main() sets the process's log handlers and umask; the other tests want theirs."""
    handlers, level, umask = logging.root.handlers[:], logging.root.level, os.umask(0o022)
    os.umask(umask)
    yield
    logging.root.handlers[:], logging.root.level = handlers, level
    os.umask(umask)


def test_a_hub_is_reached_as_it_listens() -> None:
    """Without --advertise the URL is made of --listen."""
    options = parse_options(HUB)

    assert (options.host, options.port, options.advertise) == ("127.0.0.1", 7443, "https://127.0.0.1:7443")
    assert options.roles == {"hub"}


def test_a_member_has_a_cluster_and_cidrs() -> None:
    """IPv6 addresses stand in brackets; --cidr may be repeated."""
    options = parse_options((*MEMBER, "--cidr", "10.0.0.0/8", "--cidr", "fd00::/8", "--advertise", "https://h:1/"))

    assert (options.host, options.cluster, options.advertise) == ("::1", "a", "https://h:1")
    assert [str(cidr) for cidr in options.cidrs] == ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (MEMBER[:-2], "--cluster"),
        ((*HUB, "--cluster", "a"), "--role member"),
        ((*MEMBER[:-1], "A"), "'A'"),
        ((*MEMBER, "--cidr", "10.0.0.1/8"), "10.0.0.1/8"),
        ((*HUB[:-1], "localhost:1"), "'localhost'"),
        ((*HUB[:-1], "127.0.0.1"), "'127.0.0.1'"),
        ((*HUB[:-1], "127.0.0.1:99999"), "99999"),
        ((*HUB, "--advertise", "http://h"), "'http://h'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], words: str) -> None:
    """The message shows the text; the process ends with 2."""
    with pytest.raises(InvalidError, match=words):
        parse_options(arguments)

    assert main(arguments) == 2


def test_a_member_without_identity_and_token_cannot_start(tmp_path: Path, capsys: Any) -> None:
    """Exit status 1, and the log says what is missing."""
    arguments = ["--role", "member", "--state", str(tmp_path), "--listen", "127.0.0.1:0", "--cluster", "a"]

    assert main(arguments) == 1
    assert "no join token was given" in capsys.readouterr().err
