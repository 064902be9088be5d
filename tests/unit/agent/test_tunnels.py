"""Which tunnels a node keeps, and when it deletes their keys: on a clock that only the test moves."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from slicer.agent.changes import Changes
from slicer.agent.reconciler import Reconciler
from slicer.agent.tunnels import LINGER_S, Tunnels
from slicer.model.clusters import (
    ClusterBlocks,
    Gateway,
    GatewayState,
    Rotation,
    RotationState,
    TunnelEndpoint,
    TunnelUse,
)
from slicer.model.documents import key_of
from slicer.model.slices import Slice, SliceState
from slicer.plan.dataplane import Health, LocalState, LocalTunnel

KEY = "A" * 43 + "="


class FakeDataPlane:
    """Keys without a kernel; refuses what it does not know."""

    def __init__(self, *known):
        self.keys = set(known)
        self.forgotten = []

    def known_tunnels(self):
        return tuple(sorted(self.keys))

    def ensure_keys(self, wanted):
        self.keys |= set(wanted)
        return tuple(
            LocalTunnel(tunnel_set=s, index=i, generation=g, lane=lane, port=51820, public_key=KEY)
            for s, i, g, lane in sorted(wanted)
        )

    def forget_keys(self, wanted):
        gone = tuple(sorted(self.keys - set(wanted)))
        self.keys &= set(wanted)
        return gone


@pytest.fixture
def view():
    """Slice red, one gateway a cluster."""
    red = SliceState(spec=Slice(name="red", prefixes=(ip_network("10.1.0.0/16"),)), vni=1, tunnel_set=0)
    gateways = [Gateway(cluster=c, tunnel_set=0, slot=0, node=f"{c}-n1") for c in "ab"]
    return {key_of(value): value for value in (red, *gateways)}


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def wanted(tunnels, view):
    return [t.key for t in tunnels.wanted(view, "a", "a-n1")]


LOCAL = LocalState(
    cluster="a", node="a-n1", addresses=(ip_address("198.18.1.11"),), vtep_mac="02:00:00:00:00:01", health=Health()
)


def test_a_tunnel_outlives_its_last_use(view):
    """Unwanted it stays for a while, with its key; then both go, and are never in the way of a new one."""
    plane, clock = FakeDataPlane(), Clock()
    tunnels = Tunnels(plane, clock)
    assert wanted(tunnels, view) == [(0, 0, 0, 0)]

    clock.now_s += LINGER_S * 0.9
    assert wanted(tunnels, view) == [(0, 0, 0, 0)]
    clock.now_s += LINGER_S * 0.9
    assert wanted(tunnels, {}) == [(0, 0, 0, 0)]
    tunnels.settled({}, LOCAL, [])
    assert plane.keys == {(0, 0, 0, 0)}
    clock.now_s += LINGER_S * 0.2
    assert wanted(tunnels, {}) == []
    tunnels.settled({}, LOCAL, [])
    assert plane.keys == set()


def test_a_restarted_agent_begins_the_pause_anew(view):
    """What it finds keys of may have been in use until a moment ago."""
    plane, clock = FakeDataPlane((0, 0, 0, 0), (0, 0, 1, 0)), Clock()
    tunnels = Tunnels(plane, clock)

    assert wanted(tunnels, view) == [(0, 0, 0, 0), (0, 0, 1, 0)]
    clock.now_s += LINGER_S
    assert wanted(tunnels, view) == [(0, 0, 0, 0)]


def test_a_restarted_agent_says_which_tunnels_it_has_before_it_has_looked_at_anything():
    """Its first report may come before its first reconcile: without them its peers would take theirs down."""
    plane = FakeDataPlane((0, 0, 0, 0), (0, 1, 2, 0))
    reconciler = Reconciler(dataplane=plane, view=dict, local=lambda _: LOCAL, changed=Changes())

    assert [t.key for t in reconciler.tunnels] == [(0, 0, 0, 0), (0, 1, 2, 0)]


def test_what_is_said_holds_for_all_that_may_be_in_force(view):
    """Health may have changed while the kernel was read: the uses of both count, and the departures that both have."""
    red = view["slice/red"]
    blocks = ClusterBlocks(slice="red", cluster="b", blocks=(ip_network("10.1.64.0/18"),))
    ends = tuple(
        TunnelEndpoint(tunnel_set=0, index=0, public_key=KEY, port=1 + generation, generation=generation)
        for generation in (0, 1)
    )
    far = {"cluster": "b", "tunnel_set": 0, "addresses": (ip_address("198.18.2.11"),), "tunnels": ends}
    view = {
        key_of(value): value
        for value in (
            red,
            blocks,
            RotationState(spec=Rotation(tunnel_set=0, generation=1), started_at_s=1),
            Gateway(cluster="a", tunnel_set=0, slot=0, node="a-n1"),
            Gateway(**far, slot=0, node="b-n1", state=GatewayState.DRAINING, since_ms=4),
            Gateway(**far, slot=1, node="b-n2"),
        )
    }
    local = replace(
        LOCAL,
        tunnels=FakeDataPlane().ensure_keys([(0, index, generation, 0) for index in (0, 1) for generation in (0, 1)]),
    )
    known = frozenset((0, "b", index, generation, 0) for index in (0, 1) for generation in (0, 1))
    down = frozenset(key for key in known if key[3] == 1)
    swapped, before = Health(judged_tunnels=known), Health(judged_tunnels=known, avoided_tunnels=down)
    alone = Health(judged_tunnels=known, avoided_tunnels=frozenset(key for key in known if key[2] == 1))
    tunnels = Tunnels(FakeDataPlane(), Clock())

    tunnels.settled(view, replace(local, health=before), [swapped])
    assert tunnels.uses == tuple(TunnelUse(tunnel_set=0, generation=generation) for generation in (0, 1))
    assert tunnels.left == ("b/0/0@4",)
    tunnels.settled(view, replace(local, health=swapped), [alone])
    assert tunnels.uses == (TunnelUse(tunnel_set=0, generation=1),)
    assert tunnels.left == ()
