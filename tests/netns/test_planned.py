"""What is planned loses nothing: gateways drained and taken back, keys rotated, under numbered datagrams both ways.

The network is drawn in governed.py. Every datagram goes from one to two and back: a loss in either direction, at any
step, is seen.
"""

from __future__ import annotations

import pytest
from governed import Governed

from slicer.model.errors import ConflictError

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def world():
    """Two clusters of three nodes, of which two are gateways."""
    network = Governed()
    try:
        network.start()
        yield network
    finally:
        network.stop()


def test_keys_rotate_without_a_lost_datagram(world):
    """New devices stand beside the old ones, take over, and the old ones go with their keys."""
    before = {node: world.devices(node) for node in ("a-n1", "b-n2")}
    world.start_counting()
    generation = world.rotate()
    world.govern_until(lambda: len(world.devices("a-n1")) == 4, "new devices beside the old ones")
    with pytest.raises(ConflictError, match="are being rotated already"):
        world.rotate()
    world.govern_until(lambda: world.is_rotated(generation), "the rotation is over")
    world.sending()

    assert world.losses() == [0] * 8
    for node, devices in before.items():
        assert len(devices) == 2
        assert world.devices(node) == [f"{name}.{generation}" for name in devices]
        assert world.keys(node) == [f"0-{index}-{generation}.key" for index in (0, 1)]
    assert world.all_up()


def test_a_gateway_is_drained_and_taken_back_without_a_lost_datagram(world):
    """Another node takes over, in a slot of its own; the drained one keeps no namespace, device or key."""
    world.start_counting()
    world.drain("a-n1")
    world.govern_until(lambda: world.is_drained("a-n1"), "a-n1 is drained")
    world.govern_until(lambda: not world.keys("a-n1"), "its keys are gone")
    world.sending()

    assert world.slots() == {"a-n2": (1, "active"), "a-n3": (2, "active"), "b-n1": (0, "active"), "b-n2": (1, "active")}
    assert "t-00" not in world.net.nodes["a-n1"].machine.run("ip netns list")
    world.undrain("a-n1")
    world.govern()
    world.sending()
    assert world.losses() == [0] * 8
