"""The machine that `make test-kernel` boots is what the tests on it take it for."""

from __future__ import annotations

import pytest
from node_process import WIREGUARD
from testnet import Machine

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def machine():
    """A node without a data plane."""
    machine = Machine("node")
    try:
        yield machine
    finally:
        machine.stop()


def test_the_kernel_loads_wireguard_when_it_is_asked_for_a_device(machine):
    """A node that leaves the choice to the agent gets the kernel's WireGuard, though wireguard-go is at hand."""
    assert machine("back_ends") == ["wireguard-go", "kernel"]
    assert machine("start", wireguard="auto") == "kernel"
    assert "wireguard " in machine.run("cat /proc/modules")


def test_what_a_killed_agent_left_does_not_hide_the_kernels_wireguard(machine):
    """A device under the name of the attempt is no reason to take wireguard-go, and nobody's to remove."""
    machine.run("ip link add w-probe type wireguard")

    assert machine("start", wireguard="auto") == "kernel"
    assert "w-probe" in machine.run("ip -o link")


def test_the_tests_ask_for_the_kernels_wireguard():
    """Every data plane of a test network is told to use it, and refuses to start otherwise."""
    assert WIREGUARD == "kernel"


def test_traffic_classes_get_the_kernels_fair_queue(machine):
    """This kernel has fq_codel, so that the leaf of a class is not the makeshift."""
    assert machine("leaf") == "fq_codel"
