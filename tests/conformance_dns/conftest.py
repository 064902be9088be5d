"""A server that serves the world from a view file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance_dns.running import Server, loopback_world, running, write_view


@pytest.fixture
def view(tmp_path: Path) -> Path:
    """A view file with the world in it."""
    path = tmp_path / "view.jsonl"
    write_view(path, loopback_world())
    return path


@pytest.fixture
def server(view: Path) -> Iterator[Server]:
    """A process that answers from `view` on 127.0.0.1."""
    with running("--listen", "127.0.0.1:0", "--view-file", str(view)) as started:
        started.event("zones_swapped")
        yield started
