"""Gateway slots: kept, spread, as many as wanted."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slicer.model.clusters import Gateway, GatewayState, Node, Surroundings, TunnelEndpoint
from slicer.model.slices import Slice, SliceState
from slicer.plan.gateways import Leaving, plan_gateways, surrounded

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
NAMES = ["n1", "n2", "n3", "n4", "n5"]
NODES = st.dictionaries(st.sampled_from(NAMES), st.booleans())
PLACES = st.fixed_dictionaries(dict.fromkeys(NAMES, st.tuples(st.sampled_from(["", "x", "y"]), st.booleans())))
DRAINED = st.frozensets(st.sampled_from(["n1", "n2", "n3"]))


@given(st.lists(st.tuples(SLICES, NODES, DRAINED, st.booleans(), PLACES), min_size=1, max_size=6))
def test_slots_are_full_distinct_and_never_shift(steps: Any) -> None:
    """Through any history: each set has as many active gateways as wanted and possible, and who has a slot keeps it.

    As many of the preferred nodes as can be are among them, and zones have as many as each other where they have nodes.
    """
    held: list[Gateway] = []
    for time, (wishes, capable, drained, done, places) in enumerate(steps):
        slices = [slice_(i, gateways, number) for i, (gateways, number) in enumerate(wishes)]
        nodes = [
            node(name, capable=able, zone=places[name][0], gateway_preferred=places[name][1])
            for name, able in capable.items()
        ]
        able = {name for name, is_able in capable.items() if is_able}
        departures = frozenset(g.departure for g in held if done and g.state is not GatewayState.ACTIVE)
        leaving = Leaving(drained=drained, done=departures, now_ms=time)
        before = slots(held)

        held = plan_gateways("a", slices, nodes, held, leaving)

        now, active = slots(held), [g for g in held if g.state is GatewayState.ACTIVE]
        for number in {n for _, n in wishes}:
            free = len(able - drained)
            wanted = max(min(gateways or free, free) for gateways, n in wishes if n == number)
            assert len([g for g in active if g.tunnel_set == number]) == wanted
            names = [name for (n, _), name in now.items() if n == number]
            assert len(names) == len(set(names))
            check_spread([g.node for g in active if g.tunnel_set == number], able - drained, places)
        assert not drained & {g.node for g in active}
        assert set(now.values()) <= able
        assert all(now[place] == name for place, name in before.items() if place in now and name in able)
        sets = {n for _, n in wishes}
        gone = {p for p, name in before.items() if p not in now and name in able and p[0] in sets}
        assert not gone or done
        again = plan_gateways("a", slices[::-1], nodes[::-1], held[::-1], replace(leaving, done=frozenset()))
        assert again == held


def check_spread(active: list[str], free: set[str], places: dict[str, tuple[str, bool]]) -> None:
    """No free node is better than an active one: preferred where that one is not, or in an emptier zone."""
    zones = Counter(places[name][0] for name in active)
    for name in active:
        zone, preferred = places[name]
        for other in free - set(active):
            elsewhere, better = places[other]
            assert preferred >= better, f"{other} is preferred to {name}"
            if preferred == better:
                assert zones[zone] <= zones[elsewhere] + 1, f"{other} is in an emptier zone than {name}"


def test_one_gateway_too_many_in_a_zone_leaves_as_drained_ones_do() -> None:
    """A node of another zone gets a slot of its own first; two zones of which each has one stay as they are."""
    first = [node(name, zone="x") for name in ("n1", "n2")]
    held = plan_gateways("a", [slice_(0, 2)], first, [])

    nodes = [*first, node("n3", zone="y")]
    held = plan_gateways("a", [slice_(0, 2)], nodes, held, Leaving(now_ms=1))
    assert [(g.slot, g.node, g.zone, g.state) for g in held] == [
        (0, "n1", "x", "active"),
        (1, "n2", "x", "draining"),
        (2, "n3", "y", "active"),
    ]

    more = [*nodes, node("n4", zone="w")]
    assert plan_gateways("a", [slice_(0, 2)], more, held, Leaving(now_ms=2)) == held


def test_what_an_agent_was_told_counts_before_its_surroundings() -> None:
    """Addresses and zone of the agent's own stay; either may say that the node is no gateway, or preferred."""
    told = node("n1", zone="mine", outside_addresses=(ipaddress.ip_address("203.0.113.1"),))
    known = Surroundings(outside_addresses=(ipaddress.ip_address("203.0.113.2"),), zone="theirs", gateway=True)

    assert surrounded(told, known) == replace(told, gateway_preferred=True)
    assert surrounded(node("n1"), known) == node(
        "n1", zone="theirs", outside_addresses=known.outside_addresses, gateway_preferred=True
    )
    assert not surrounded(told, Surroundings(gateway=False)).gateway_capable
    assert not surrounded(node("n1", capable=False), known).gateway_capable


def way_out(node_names: str, **leaving: Any) -> list[list[tuple[int, str, str]]]:
    """What becomes, step by step, of two gateways when each step is done at once: (slot, node, state)."""
    nodes = [node(name) for name in node_names.split()]
    held = plan_gateways("a", [slice_(0, 2)], nodes, [])
    seen = []
    for time in range(1, 5):
        done = frozenset(g.departure for g in held if g.since_ms < time)
        held = plan_gateways("a", [slice_(0, 2)], nodes, held, Leaving(done=done, now_ms=time, **leaving))
        seen.append([(g.slot, g.node, str(g.state)) for g in held])
    return seen


def test_a_drained_gateway_is_replaced_first_and_leaves_in_two_steps() -> None:
    """The other gateway keeps its slot, the new one gets one of its own, the drained one's is free at the end."""
    stays, new = (1, "n2", "active"), (2, "n3", "active")

    assert way_out("n1 n2 n3", drained=frozenset({"n1"})) == [
        [(0, "n1", "draining"), stays, new],
        [(0, "n1", "leaving"), stays, new],
        [stays, new],
        [stays, new],
    ]


def test_without_another_node_a_drained_gateway_is_not_replaced() -> None:
    """Two nodes, one drained: the other one carries all."""
    assert way_out("n1 n2", drained=frozenset({"n2"}))[-1] == [(0, "n1", "active")]


def test_an_undrained_gateway_is_active_again_in_its_slot() -> None:
    """Undraining half way turns round; who had replaced it is one too many and leaves in its turn."""
    nodes = [node(name) for name in ("n1", "n2")]
    held = plan_gateways("a", [slice_(0, 2)], nodes, [])
    held = plan_gateways("a", [slice_(0, 2)], nodes, held, Leaving(drained=frozenset({"n1"}), now_ms=1))
    assert held[0].state is GatewayState.DRAINING

    held = plan_gateways("a", [slice_(0, 2)], nodes, held, Leaving(now_ms=2))

    assert [(g.slot, g.node, g.state) for g in held] == [(0, "n1", "active"), (1, "n2", "active")]


def test_fewer_wanted_gateways_leave_as_drained_ones_do() -> None:
    """A slice that wants one gateway less takes none away at once."""
    nodes = [node(name) for name in ("n1", "n2")]
    held = plan_gateways("a", [slice_(0, 2)], nodes, [])

    held = plan_gateways("a", [slice_(0, 1)], nodes, held, Leaving(now_ms=1))

    assert [(g.slot, g.state) for g in held] == [(0, "active"), (1, "draining")]


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
