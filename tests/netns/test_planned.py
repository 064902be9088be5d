"""What is planned loses nothing: gateways drained and taken back, keys rotated, under numbered datagrams both ways.

The network is drawn in governed.py. Every datagram goes from one to two and back: a loss in either direction, at any
step, is seen.
"""

from __future__ import annotations

import pytest
from governed import Governed

from slicer.model.errors import ConflictError

pytestmark = pytest.mark.root
NONE_LOST = [0] * 8
"""Of each flow."""


@pytest.fixture(scope="module")
def world():
    """Two clusters of three nodes, of which two are gateways."""
    network = Governed()
    try:
        network.start()
        yield network
    finally:
        network.stop()


@pytest.fixture
def flows(world):
    """Eight flows while the test runs; it asks for the losses itself."""
    world.govern_until(world.all_up, "every gateway and tunnel is up")
    world.start_counting()
    return world


def test_keys_rotate_without_a_lost_datagram(flows):
    """New devices stand beside the old ones, take over, and the old ones go with their keys."""
    before = {node: flows.devices(node) for node in ("a-n1", "b-n2")}
    generation = flows.rotate()
    flows.govern_until(lambda: len(flows.devices("a-n1")) == 4, "new devices beside the old ones")
    with pytest.raises(ConflictError, match="are being rotated already"):
        flows.rotate()
    flows.govern_until(lambda: flows.is_rotated(generation), "the rotation is over")
    flows.govern_until(lambda: flows.all_keys({f"-{generation}.key"}), "only the new keys are left")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
    for node, devices in before.items():
        assert len(devices) == 2
        assert flows.devices(node) == [f"w0.{index}.{generation}" for index in (0, 1)]


def test_a_rotation_that_cannot_go_on_uses_the_old_keys_and_goes_back(flows):
    """A far cluster that hears nothing makes no keys: nothing changes; taken back, the new devices go."""
    before = {node: flows.devices(node) for node in flows.net.nodes}
    deaf = ("b-n1", "b-n2", "b-n3")
    generation = flows.rotate()
    flows.govern_until(lambda: len(flows.devices("a-n1")) == 4, "new devices in a", deaf=deaf)
    flows.sending()
    assert flows.state_of(generation) == ("keys", ("b/b-n1", "b/b-n2"))
    flows.take_back(generation)
    flows.govern_until(lambda: {n: flows.devices(n) for n in before} == before, "the new devices are gone", deaf=deaf)
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()


def test_a_rotation_goes_on_where_everybody_was_deaf_for_a_while(flows):
    """Half of the gateways swapped, then no report and no view for some time; then it ends as if nothing had been."""
    generation = flows.rotate()
    flows.govern_until(lambda: flows.state_of(generation)[0] == "handshake", "new devices beside the old ones")
    flows.sending()
    flows.sending()
    flows.govern_until(lambda: flows.is_rotated(generation), "the rotation is over")

    assert flows.losses() == NONE_LOST, flows.gaps()


def test_a_gateway_is_drained_without_a_lost_datagram(flows):
    """Another node takes over, in a slot of its own; the drained one keeps no namespace, device or key."""
    flows.drain("a-n1")
    flows.govern_until(lambda: flows.is_drained("a-n1"), "a-n1 is drained")
    flows.govern_until(lambda: not flows.keys("a-n1"), "its keys are gone")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
    assert flows.slots() == {"a-n2": (1, "active"), "a-n3": (2, "active"), "b-n1": (0, "active"), "b-n2": (1, "active")}
    assert "t-00" not in flows.net.nodes["a-n1"].machine.run("ip netns list")


def test_a_drained_node_can_come_back_and_another_go(flows):
    """Undrained, it is no gateway before one is wanted; then it is one again, in the lowest free slot."""
    flows.undrain("a-n1")
    flows.govern()
    assert "a-n1" not in flows.slots()
    flows.drain("a-n2")
    flows.govern_until(lambda: flows.is_drained("a-n2"), "a-n2 is drained")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
    assert flows.slots()["a-n1"] == (0, "active")
    flows.undrain("a-n2")


def test_a_drain_waits_for_who_has_not_left(flows):
    """A far gateway that hears nothing still sends through it: it stays, draining, until that one has left."""
    node = next(node for node in flows.slots() if node[0] == "a")
    flows.drain(node)
    flows.govern_until(lambda: flows.awaited(node) == ("b/b-n1",), "only b-n1 is waited for", deaf=("b-n1",))
    flows.sending()
    flows.govern(deaf=("b-n1",))
    assert flows.slots()[node][1] == "draining"
    flows.govern_until(lambda: flows.is_drained(node), "it is drained")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
    flows.undrain(node)
