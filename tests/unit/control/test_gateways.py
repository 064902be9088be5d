"""Gateway slots: kept, spread, as many as wanted."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slicer.model.clusters import Gateway, Node, TunnelEndpoint
from slicer.model.slices import Slice, SliceState
from slicer.plan.gateways import plan_gateways

KEY = "A" * 42 + "A="


def node(name: str, *, capable: bool = True, **fields: Any) -> Node:
    """A node of cluster a."""
    address = ipaddress.ip_address("192.0.2.1")
    mac = "02:00:00:00:00:01"
    return Node(cluster="a", name=name, addresses=(address,), vtep_mac=mac, gateway_capable=capable, **fields)


def slice_(number: int, gateways: int, tunnel_set: int = 0) -> SliceState:
    """A slice in a tunnel set."""
    prefix = ipaddress.ip_network(f"10.{number}.0.0/16")
    return SliceState(
        spec=Slice(name=f"s{number}", prefixes=(prefix,), gateways=gateways), vni=number + 1, tunnel_set=tunnel_set
    )


def slots(gateways: list[Gateway]) -> dict[tuple[int, int], str]:
    """Who has which (set, slot)."""
    return {(g.tunnel_set, g.slot): g.node for g in gateways}


SLICES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=4)
NODES = st.dictionaries(st.sampled_from(["n1", "n2", "n3", "n4", "n5"]), st.booleans())


@given(st.lists(st.tuples(SLICES, NODES), min_size=1, max_size=6))
def test_slots_are_full_distinct_and_never_shift(steps: Any) -> None:
    """Through any history: each set has as many gateways as wanted and possible, and who can stay stays."""
    held: list[Gateway] = []
    for wishes, capable in steps:
        slices = [slice_(i, gateways, number) for i, (gateways, number) in enumerate(wishes)]
        nodes = [node(name, capable=able) for name, able in capable.items()]
        able = {name for name, is_able in capable.items() if is_able}
        before = slots(held)

        held = plan_gateways("a", slices, nodes, held)

        now = slots(held)
        for number in {n for _, n in wishes}:
            wanted = max(min(gateways or len(able), len(able)) for gateways, n in wishes if n == number)
            assert sorted(slot for n, slot in now if n == number) == list(range(wanted))
            names = [name for (n, _), name in now.items() if n == number]
            assert len(names) == len(set(names))
        assert set(now.values()) <= able
        assert all(now[place] == name for place, name in before.items() if place in now and name in able)
        assert plan_gateways("a", slices[::-1], nodes[::-1], held[::-1]) == held


def test_sets_are_spread_over_the_nodes() -> None:
    """Four sets with one gateway each on four nodes use all four."""
    slices = [slice_(number, 1, number) for number in range(4)]

    gateways = plan_gateways("a", slices, [node(f"n{i}") for i in range(4)], [])

    assert Counter(g.node for g in gateways) == {"n0": 1, "n1": 1, "n2": 1, "n3": 1}


def test_a_gateway_shows_its_outside_addresses_and_its_sets_devices() -> None:
    """Other clusters see where to send and the keys of this set only."""
    outside = (ipaddress.ip_address("203.0.113.1"),)
    tunnels = tuple(
        TunnelEndpoint(tunnel_set=number, index=index, public_key=KEY, port=51820 + index)
        for number, index in ((0, 1), (0, 0), (1, 2))
    )

    [gateway] = plan_gateways("a", [slice_(0, 1)], [node("n1", outside_addresses=outside, tunnels=tunnels)], [])

    assert gateway.addresses == outside
    assert [(t.tunnel_set, t.index) for t in gateway.tunnels] == [(0, 0), (0, 1)]


def test_nodes_of_other_clusters_are_no_gateways() -> None:
    """Only the own cluster's nodes count."""
    stranger = Node(cluster="b", name="n1", addresses=(), vtep_mac="02:00:00:00:00:01")

    assert plan_gateways("a", [slice_(0, 2)], [stranger], []) == []
