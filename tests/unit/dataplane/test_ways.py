"""Which tunnel the routes of a gateway lead into, and how large a packet they let in."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from slicer.model.clusters import GatewayState, NodeBlocks
from slicer.model.documents import key_of
from slicer.plan.assuming import assumed_health
from slicer.plan.dataplane import Health, plan_node
from slicer.plan.probe_targets import judge, plan_probes
from slicer.plan.probing import Line


def test_pods_of_a_gateways_node_are_reached_straight_while_its_tunnel_is_used(view, make):
    """More specific routes by one tunnel; by all others when it is avoided or its gateway is drained, never by none."""
    block = ip_network("10.1.64.64/26")
    held = NodeBlocks(slice="red", cluster="b", node="b-n1", blocks=(block,))
    view = view | {key_of(held): held}
    local = make.local("a-n1", (0, 0), (0, 1))

    def way(documents, **health):
        plan = plan_node(documents, replace(local, health=Health(**health)))
        found = {route.dst: route for route in plan.routes if route.ns == "t-00" and route.nexthop}
        devices = {hop.id: hop.dev for hop in plan.nexthops if hop.ns == "t-00"}
        return devices.get(found[block].nexthop, "group"), len(found)

    assert way(view) == ("w0.0", 3)
    assert way(view, avoided_tunnels=frozenset({(0, "b", 0, 0, 0)})) == ("group", 3)
    assert way(view, avoided_tunnels=frozenset({(0, "b", 1, 0, 0)})) == ("w0.0", 3)
    drained = replace(view["gateway/b/0/0"], state=GatewayState.DRAINING)
    assert way(view | {key_of(drained): drained}) == ("group", 3)
    whole = replace(held, blocks=(ip_network("10.1.64.0/18"),))
    plan = plan_node(view | {key_of(whole): whole}, local)
    assert len({route.key for route in plan.routes}) == len(plan.routes)


def test_routes_say_the_least_that_the_tunnels_in_use_carry(view, make):
    """One route has both tunnels of its group; one that is avoided does not count; what is unknown stays as it was."""
    local = make.local("a-n1", (0, 0), (0, 1))
    plan = plan_probes(view, local)
    _, first, second = plan.targets
    up = {target: Line(up=True, proved=True, rtts_s=(0.001,), answered=9) for target in plan.targets}

    narrow = judge(plan, up, Health(), sizes={first: 1420, second: 1300})
    assert narrow.path_mtus == {(0, "b", 1300)}
    down = up | {second: Line(up=False)}
    assert not judge(plan, down, narrow, sizes={first: 1420, second: 1300}).path_mtus
    assert judge(plan, up, narrow).path_mtus == narrow.path_mtus
    assert not judge(plan, up, narrow, sizes={first: 1420, second: 1420}).path_mtus

    routes = {r.mtu for r in plan_node(view, replace(local, health=narrow)).routes if r.ns == "t-00" and r.nexthop}
    assert routes == {1300}
    left_behind = plan_node(view, replace(local, health=narrow))
    assert assumed_health(view, local, left_behind).path_mtus == narrow.path_mtus
    assert not assumed_health(view, local, plan_node(view, local)).path_mtus
