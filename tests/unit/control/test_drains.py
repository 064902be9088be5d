"""A member that drains a gateway while nothing else happens in the world."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from slicer.cli.commands.upkeep import DRAIN_TIMEOUT
from slicer.cli.quantities import parse_duration
from slicer.model.clusters import Drain, Gateway, GatewayState, Surroundings
from slicer.model.documents import of_kind
from slicer.plan.draining import FORCE_S, LINGER_S
from slicer_controller.member import Member
from slicer_controller.state import State
from slicer_controller.store.memory import MemoryStore
from tests.unit.control.conftest import Clock
from tests.unit.control.test_gateways import node, slice_


def states(state: State) -> dict[str, GatewayState]:
    """Of each gateway, by node."""
    return {gateway.node: gateway.state for gateway in of_kind(state.documents, Gateway)}


def test_a_pause_ends_without_any_other_event(tmp_path: Path) -> None:
    """The member says when it has to look again: woken just then, and never otherwise, a drain gets to its end."""
    clock = Clock()
    state = State(MemoryStore(clock=clock))
    member = Member(state, "a", clock)
    nodes = [node("n1"), node("n2"), node("n3")]
    for one in (slice_(0, 2), *nodes):
        state.put(one)
    member.reconcile()
    assert member.again_s == math.inf
    state.put(Drain(cluster="a", node="n1"))
    member.reconcile()
    seen = [states(state)["n1"]]

    for _ in range(2):
        (gateway,) = (one for one in of_kind(state.documents, Gateway) if one.node == "n1")
        for one in nodes:
            state.put(replace(one, left=(gateway.departure,)))
        member.reconcile()
        assert member.again_s == LINGER_S
        assert states(state)["n1"] == seen[-1]
        clock.now_s += member.again_s
        member.reconcile()
        seen.append(states(state).get("n1", "gone"))

    assert seen == [GatewayState.DRAINING, GatewayState.LEAVING, "gone"]
    assert member.again_s == math.inf


def test_a_node_whose_label_takes_the_role_away_is_no_gateway_at_once(tmp_path: Path) -> None:
    """What the platform knows is asked at each look: zones first, then the node that must not be one any more."""
    clock = Clock()
    state = State(MemoryStore(clock=clock))
    known = {name: Surroundings(zone=zone) for name, zone in (("n1", "x"), ("n2", "x"), ("n3", "y"))}
    member = Member(state, "a", clock, known.__getitem__)
    for one in (slice_(0, 2), node("n1"), node("n2"), node("n3")):
        state.put(one)
    member.reconcile()
    assert states(state) == {"n1": GatewayState.ACTIVE, "n3": GatewayState.ACTIVE}

    known["n3"] = Surroundings(zone="y", gateway=False)
    member.reconcile()

    assert states(state) == {"n1": GatewayState.ACTIVE, "n2": GatewayState.ACTIVE}


def test_force_waits_a_minute_in_each_step_whoever_is_missing(tmp_path: Path) -> None:
    """Nobody answers and nothing else happens: woken when it says, the member gets there, before --wait gives up."""
    clock = Clock()
    begun_s = clock.now_s
    state = State(MemoryStore(clock=clock))
    member = Member(state, "a", clock)
    for one in (slice_(0, 2), node("n1"), node("n2"), node("n3")):
        state.put(one)
    member.reconcile()
    state.put(Drain(cluster="a", node="n1", force=True))

    seen: dict[str, float] = {}
    for _ in range(12):
        member.reconcile()
        member.reconcile()  # what the first one wrote wakes it
        seen.setdefault(states(state).get("n1", "gone"), clock.now_s - begun_s)
        if "gone" in seen:
            break
        clock.now_s += member.again_s

    step_s = FORCE_S + LINGER_S
    assert seen == {
        GatewayState.DRAINING: 0,
        GatewayState.LEAVING: pytest.approx(step_s),
        "gone": pytest.approx(2 * step_s),
    }
    assert parse_duration("--timeout", DRAIN_TIMEOUT) > 2 * step_s
