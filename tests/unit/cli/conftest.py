"""A real hub for the tests of slicectl's commands; one a session, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.cli.hub import Hub, running


@pytest.fixture(scope="session")
def started() -> Iterator[Hub]:
    """One hub for all tests."""
    with running() as hub:
        yield hub


@pytest.fixture
def hub(started: Hub) -> Hub:
    """The hub with nothing in it."""
    started.clear()
    return started
