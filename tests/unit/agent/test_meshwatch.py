"""Which nodes a node does not hear in the mesh."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from slicer.agent.meshwatch import PATIENCE_S, MeshWatch
from slicer.kernel.observer import SESSION_S
from slicer.model.clusters import MeshSilence, Node, TunnelEndpoint
from slicer.model.documents import key_of
from slicer.plan.mesh import MESH_SET

KEYS = {name: f"{letter * 42}A=" for name, letter in (("n1", "A"), ("n2", "B"), ("n3", "C"))}
BEGIN = 1_800_000_000


def node(name, key):
    end = TunnelEndpoint(tunnel_set=MESH_SET, index=0, public_key=key, port=51820)
    address = ipaddress.ip_address("198.18.1.11")
    mac = "02:00:00:00:00:01"
    return Node(cluster="a", name=name, addresses=(address,), vtep_mac=mac, wireguard="kernel", tunnels=(end,))


VIEW = {key_of(one): one for one in (node(name, key) for name, key in KEYS.items())}


class World:
    """A clock, and the peers of a device with their last handshakes."""

    def __init__(self, **handshakes):
        self.now, self.handshakes = float(BEGIN), {KEYS[name]: at for name, at in handshakes.items()}
        self.watch = MeshWatch(lambda: self.handshakes, lambda: self.now)

    def look(self, after_s=0.0, view=VIEW):
        """The nodes that are reported after so long."""
        self.now += after_s
        self.watch.look(view)
        return [name for told in self.watch.documents("a", "n0") for name in told.silent]


def test_peers_with_a_session_are_heard():
    """Nothing is reported while every handshake is younger than a session."""
    world = World(n1=BEGIN, n2=BEGIN - SESSION_S + 20)

    assert world.look() == []
    assert world.look(20) == []
    assert world.watch.documents("a", "n0") == ()


def test_a_peer_that_stops_answering_is_told_when_its_session_is_over():
    """By name, and no longer once it is back."""
    world = World(n1=BEGIN, n2=BEGIN)

    assert world.look(SESSION_S) == []
    world.handshakes[KEYS["n1"]] = BEGIN + SESSION_S
    assert world.look(1) == ["n2"]
    assert world.watch.documents("a", "n0") == (MeshSilence(cluster="a", node="n0", silent=("n2",)),)
    world.handshakes[KEYS["n2"]] = BEGIN + SESSION_S + 1
    assert world.look() == []


def test_a_new_peer_has_a_while_to_answer():
    """One that never did is told after that, one that came later after its own while, in the order of names."""
    world = World(n3=None)

    assert world.look() == []
    world.handshakes = {**world.handshakes, KEYS["n1"]: None}
    assert world.look(PATIENCE_S) == []
    assert world.look(1) == ["n3"]
    assert world.look(PATIENCE_S) == ["n1", "n3"]


def test_who_left_is_not_missed():
    """A peer whose node's record or key is gone is nobody's silence; one that comes again begins anew."""
    world = World(n1=None, n2=None)
    world.look()

    assert world.look(PATIENCE_S + 1, {key: one for key, one in VIEW.items() if one.name != "n1"}) == ["n2"]
    assert world.look(0, {key: replace(one, tunnels=()) for key, one in VIEW.items()}) == []
    world.handshakes = {}
    assert world.look() == []
    world.handshakes = {KEYS["n1"]: None}
    assert world.look() == []
