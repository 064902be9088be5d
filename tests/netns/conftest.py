"""Networks for the kernel tests: one gateway a cluster, or two; made once a session, torn down whatever happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from testnet import Network


@pytest.fixture(scope="session")
def net():
    """Two clusters of two nodes, pods of each slice on each: red (dual), green (IPv6), blue (red's IPv4 again)."""
    network = Network()
    try:
        network.start()
        network.add_slice("red", 1, "10.77.0.0/16", "fd77::/48")
        network.add_slice("green", 2, "fd78::/48")
        network.add_slice("blue", 3, "10.77.0.0/16", tunnel_set=1)
        network.converge()
        for name in network.slices:
            for node in network.nodes:
                network.add_pod(f"{name}-{node}", node, name)
        network.converge()
        yield network
    finally:
        network.stop()


@pytest.fixture(scope="session")
def wide():
    """Two clusters of three nodes, two of them gateways: four tunnels."""
    network = Network(nodes_each=3, gateways=2)
    try:
        network.start()
        network.add_slice("red", 1, "10.77.0.0/16", "fd77::/48")
        network.converge()
        for node in network.nodes:
            network.add_pod(f"red-{node}", node, "red")
        network.converge()
        yield network
    finally:
        network.stop()
