"""What is planned loses nothing: gateways drained and taken back, keys rotated, under numbered datagrams both ways.

The network is drawn in governed.py. Every datagram goes from one to two and back: a loss in either direction, at any
step, is seen.
"""

from __future__ import annotations

import pytest
from governed import FLOWS, Governed
from guarded import running

from slicer.model.errors import ConflictError

pytestmark = [pytest.mark.root, pytest.mark.counts_losses]
NONE_LOST = [0] * FLOWS
"""Of each flow."""


@pytest.fixture(scope="module")
def world():
    """Two clusters of three nodes, of which two are gateways."""
    with running(Governed()) as network:
        yield network


@pytest.fixture
def flows(world):
    """Flows while the test runs, which asks for the losses itself; nothing is drained or rotated before and after."""
    world.govern_until(world.is_calm, "every gateway and tunnel is up")
    world.start_counting()
    yield world
    world.losses()
    world.let_go()


def test_keys_rotate_without_a_lost_datagram(flows):
    """New devices stand beside the old ones, take over, and the old ones go with their keys."""
    one = flows.first("a")
    generation = flows.rotate()
    flows.govern_until(lambda: len(flows.devices(one)) == 4, "new devices beside the old ones")
    with pytest.raises(ConflictError, match="are being rotated already"):
        flows.rotate()
    flows.govern_until(lambda: flows.is_rotated(generation), "the rotation is over")
    flows.govern_until(lambda: flows.all_keys(f"-{generation}.key"), "only the new keys are left")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
    assert all(len(flows.devices(node)) == 2 for node in flows.slots())
    assert all(name.endswith(f".{generation}") for node in flows.slots() for name in flows.devices(node))


def test_a_rotation_that_cannot_go_on_uses_the_old_keys_and_goes_back(flows):
    """A far cluster that hears nothing makes no keys: nothing changes; taken back, the new devices go."""
    before, one = {node: flows.devices(node) for node in flows.net.nodes}, flows.first("a")
    deaf = tuple(node for node in flows.net.nodes if node[0] == "b")
    generation = flows.rotate()
    flows.govern_until(lambda: len(flows.devices(one)) == 4, "new devices in a", deaf=deaf)
    flows.sending()
    flows.govern(deaf=deaf)
    state, waiting = flows.state_of(generation)
    assert (state, {name[0] for name in waiting}) == ("keys", {"b"})
    flows.take_back(generation)
    flows.govern_until(lambda: {n: flows.devices(n) for n in before} == before, "the new devices are gone", deaf=deaf)
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()


def test_a_rotation_goes_on_where_everybody_was_deaf_for_a_while(flows):
    """New devices beside the old ones, then no report and no view for some time; it ends as if nothing had been."""
    generation = flows.rotate()
    flows.govern_until(lambda: flows.state_of(generation)[0] == "handshake", "new devices beside the old ones")
    flows.sending()
    flows.sending()
    flows.govern_until(lambda: flows.is_rotated(generation), "the rotation is over")

    assert flows.losses() == NONE_LOST, flows.gaps()


def test_a_gateway_is_drained_without_a_lost_datagram(flows):
    """Another node takes over, in a slot of its own; the drained one keeps no namespace, device or key."""
    before, one = flows.slots(), flows.first("a")
    flows.drain(one)
    flows.govern_until(lambda: flows.is_drained(one), f"{one} is drained")
    flows.govern_until(lambda: not flows.keys(one), "its keys are gone")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
    after = flows.slots()
    (new,) = after.keys() - before.keys()
    assert {node: place for node, place in before.items() if node != one} == {
        node: place for node, place in after.items() if node != new
    }
    assert after[new][0] not in {slot for node, (slot, _) in before.items() if node[0] == "a"}
    assert "t-00" not in flows.net.nodes[one].machine.run("ip netns list")


def test_a_drained_node_can_come_back_while_another_goes(flows):
    """Undrained half way it stays where it is; who was to replace it goes again."""
    before, one = flows.slots(), flows.first("b")
    flows.drain(one)
    flows.govern()
    flows.govern()
    assert flows.slots()[one][1] == "draining"
    flows.undrain(one)
    flows.govern_until(lambda: flows.slots() == before, "all is as it was")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()


def test_a_drain_waits_for_who_has_not_left(flows):
    """A far gateway that hears nothing still sends through it: it stays, draining, until that one has left."""
    one, far = flows.first("a"), flows.first("b")
    flows.drain(one)
    flows.govern_until(lambda: flows.awaited(one) == (f"b/{far}",), f"only {far} is waited for", deaf=(far,))
    flows.sending()
    flows.govern(deaf=(far,))
    assert flows.slots()[one][1] == "draining"
    flows.govern_until(lambda: flows.is_drained(one), "it is drained")
    flows.sending()

    assert flows.losses() == NONE_LOST, flows.gaps()
