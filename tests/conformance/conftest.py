"""Fixtures of the CNI tests; the drawing is in `node.py`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from slicer_cni.install import install_executable
from tests.conformance.node import Node, Pod
from tools.plugin import PROGRAM


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed CNI executable."""
    return install_executable(PROGRAM, tmp_path_factory.mktemp("cni-bin"))


@pytest.fixture
def bare_node(tmp_path: Path, executable: Path) -> Iterator[Node]:
    """A node with slice `red` (IPv4) in its view and no agent running."""
    node = Node(
        state=tmp_path / "state", run=tmp_path / "run", executable=executable, token=secrets.token_hex(3), view={}
    )
    try:
        node.add_slice("red", ("10.22.5.0/26",))
        yield node
    finally:
        node.close()


@pytest.fixture
def node(bare_node: Node) -> Node:
    """A node with slice `red` (IPv4) in its view, and its agent running."""
    bare_node.start()
    return bare_node


@pytest.fixture
def pod(node: Node) -> Pod:
    """A pod on `node`, not attached."""
    return node.pod()
