"""What probes found out, as the planner's input: members leave groups, the last one stays, pods of a gateway turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slicer.model.clusters import NodeBlocks
from slicer.model.documents import key_of
from slicer.plan.dataplane import Health, plan_node
from slicer.plan.dataplane_diff import diff
from slicer.plan.dataplane_tunnel import probe_address
from slicer.plan.dataplane_values import Nexthop, NexthopGroup, Route
from slicer.plan.probe_targets import (
    GatewayTarget,
    TunnelTarget,
    by_address,
    concerned,
    ends_of,
    judge,
    lost,
    passed_on,
    plan_probes,
    reached,
    told_of,
)
from slicer.plan.probing import PROBE_PREFIX, Line, Pace, digest


def ways(plan, ns):
    """Of each group in a namespace the devices and next hops that it leads to, the spare left out."""
    hops = {hop.id: hop for hop in plan.nexthops if hop.ns == ns}
    return [
        [str(hops[member].via or hops[member].dev) for member in group.members]
        for group in plan.groups
        if group.ns == ns and hops[group.members[0]].version == 4
    ]


def verdict(health):
    """What is avoided, without what was judged at all."""
    return replace(health, judged_gateways=frozenset(), judged_tunnels=frozenset())


def only_group_changes(before, after):
    """Whether two plans differ in members of groups only."""
    return {type(change.item) for change in diff(after, before)} <= {NexthopGroup}


def test_an_avoided_gateway_leaves_the_group_and_nothing_else_changes(view, make):
    """Its nexthop objects stay: one replaced group is all that it takes, and all that it takes back."""
    whole = plan_node(view, make.local("a-n3"))
    less = plan_node(view, make.local("a-n3", health=Health(avoided_gateways=frozenset({(0, "b", "a-n1")}))))

    assert [sorted(way) for way in ways(whole, "s-000001")] == [["10.1.0.129", "10.1.0.65"]]
    assert ways(less, "s-000001") == [["10.1.0.129"]]
    assert all(group.spare for group in less.groups)
    assert only_group_changes(whole, less)


def test_a_gateway_is_avoided_towards_one_cluster_only(view, make):
    """Reachability is a matter of pairs: health that speaks of another cluster changes nothing here."""
    other = Health(avoided_gateways=frozenset({(0, "c", "a-n1")}), cut_off=frozenset({(0, "c")}))

    assert plan_node(view, make.local("a-n3", health=other)) == plan_node(view, make.local("a-n3"))


def test_all_avoided_is_none_avoided(view, make):
    """A group is never empty: when nothing may be used, everything is (fail static)."""
    nodes = frozenset({(0, "b", "a-n1"), (0, "b", "a-n2")})

    assert plan_node(view, make.local("a-n3", health=Health(avoided_gateways=nodes))) == plan_node(
        view, make.local("a-n3")
    )


def test_an_avoided_tunnel_leaves_its_group(view, make):
    """On a gateway the other device carries all; the devices, peers and probe routes stay."""
    whole = plan_node(view, make.local("a-n1", (0, 0), (0, 1)))
    health = Health(avoided_tunnels=frozenset({(0, "b", 0, 0, 0)}))
    less = plan_node(view, make.local("a-n1", (0, 0), (0, 1), health=health))

    assert [sorted(way) for way in ways(whole, "t-00")] == [["w0.0", "w0.1"]]
    assert ways(less, "t-00") == [["w0.1"]]
    assert only_group_changes(whole, less)


def test_pods_of_a_gateway_that_is_cut_off_send_by_the_other_gateways(view, make):
    """Only the routes of the slice turn, from the trunk to the group that stood by."""
    whole = plan_node(view, make.local("a-n1", (0, 0), (0, 1)))
    turned = plan_node(view, make.local("a-n1", (0, 0), (0, 1), health=Health(cut_off=frozenset({(0, "b")}))))
    turning = {str(change.item.dst): change.item.nexthop for change in diff(turned, whole)}

    assert {type(change.item) for change in diff(turned, whole)} == {Route}
    assert turning.keys() == {"10.1.64.0/18", "fd01:0:0:4000::/50"}
    assert set(turning.values()) == {group.id for group in turned.groups if group.ns == "s-000001"}
    assert ways(turned, "s-000001") == [["10.1.0.129"]]


def test_a_cut_off_gateway_without_an_alternative_keeps_its_trunk(view, make):
    """When the other gateways do not reach the cluster either, own pods' traffic stays where it was."""
    health = Health(cut_off=frozenset({(0, "b")}), avoided_gateways=frozenset({(0, "b", "a-n2")}))

    assert not diff(
        plan_node(view, make.local("a-n1", (0, 0), (0, 1), health=health)),
        plan_node(view, make.local("a-n1", (0, 0), (0, 1))),
    )


def test_packets_of_other_nodes_never_turn_round_on_a_gateway(view, make):
    """The rule that makes a loop between gateways impossible comes before every rule that accepts."""
    table = next(t for t in plan_node(view, make.local("a-n1", (0, 0))).tables if t.ns == "s-000001")
    forward = table.text.partition("chain forward")[2]

    assert forward.index('"vx0" . "vx0"') < forward.index("accept\n")


def test_probe_addresses_of_a_devices_peers_differ():
    """Peers of one device are of different clusters; sets and slots differ as well; all lie in the kept prefix."""
    found = [probe_address(c, s, j) for c in ("a", "b", "cluster-with-a-long-name") for s in (0, 7) for j in (0, 1, 63)]

    assert len(set(found)) == len(found)
    assert all(address in PROBE_PREFIX for address in found)


def test_pods_can_neither_reach_nor_send_from_probe_addresses(view, make):
    """Nothing is forwarded to or from them, and they are taken in from tunnels only, to one port."""
    table = next(t for t in plan_node(view, make.local("a-n1", (0, 0))).tables if t.ns == "t-00")
    forward, _, entry = table.text.partition("chain input")

    assert forward.index(f"ip6 daddr {PROBE_PREFIX}") < forward.index("accept")
    assert [line.split()[:2] for line in entry.splitlines() if "accept" in line] == [["iifname", '"w*"']]
    assert "udp dport 8383 accept" in entry


def test_routers_alone_may_probe_over_vxlan(view, make):
    """The slice's namespace takes probes from the router addresses of this cluster's nodes only, out of VXLAN."""
    table = next(t for t in plan_node(view, make.local("a-n1", (0, 0))).tables if t.ns == "s-000001")
    rules = [line.strip() for line in table.text.splitlines() if "udp dport" in line]

    assert rules[0] == 'iifname "vx0" ip saddr { 10.1.0.129, 10.1.0.193 } ip daddr 10.1.0.65 udp dport 8383 accept'
    assert all(rule.startswith('iifname "vx0"') for rule in rules)


def test_a_node_probes_gateways_and_a_gateway_its_tunnels_too(view, make):
    """Each other gateway once a tunnel set, by its router address; each tunnel by the far end's probe address."""
    node, gateway = (plan_probes(view, local) for local in (make.local("a-n3"), make.local("a-n1", (0, 0), (0, 1))))

    assert [(t.node, str(t.address), t.spot.ns) for t in node.targets] == [
        ("a-n1", "10.1.0.65", "s-000001"),
        ("a-n2", "10.1.0.129", "s-000001"),
    ]
    assert [t.node for t in gateway.targets if isinstance(t, GatewayTarget)] == ["a-n2"]
    assert [(t.device, t.cluster, t.address) for t in gateway.targets if isinstance(t, TunnelTarget)] == [
        ("w0.0", "b", probe_address("b", 0, 0)),
        ("w0.1", "b", probe_address("b", 0, 1)),
    ]
    assert (node.asked, gateway.asked) == (frozenset(), frozenset({0}))
    assert len(by_address(gateway.targets)) == 3


def test_a_gateway_that_says_it_does_not_get_there_is_avoided(view, make):
    """Alive is not enough: a-n1 answers, but reaches nobody; a-n2 does."""
    plan = plan_probes(view, make.local("a-n3"))
    cut, well = (Line(up=True, rtts_s=(0.001,), reached=found) for found in (frozenset(), frozenset({digest("b")})))

    health = judge(plan, dict(zip(plan.targets, (cut, well), strict=True)), Health())
    assert verdict(health) == Health(avoided_gateways=frozenset({(0, "b", "a-n1")}))
    assert health.judged_gateways == {(0, "b", "a-n1"), (0, "b", "a-n2")}
    assert verdict(judge(plan, dict(zip(plan.targets, (cut, cut), strict=True)), health)) == Health()


def test_a_gateway_that_is_silent_is_worse_than_one_that_does_not_get_there(view, make):
    """With none that reaches the cluster the living ones stay; with none living everything stays as it is."""
    plan = plan_probes(view, make.local("a-n3"))
    dead, cut = Line(up=False, rtts_s=(0.001,)), Line(up=True, rtts_s=(0.001,))
    health = judge(plan, dict(zip(plan.targets, (dead, cut), strict=True)), Health())

    assert verdict(health) == Health(avoided_gateways=frozenset({(0, "b", "a-n1")}))
    assert judge(plan, dict(zip(plan.targets, (dead, dead), strict=True)), health) == health


def test_a_tunnel_whose_far_end_is_not_heard_by_its_cluster_is_down(view, make):
    """The far gateway lost its inside: its tunnel is healthy and useless."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    lines = {target: Line(up=True, proved=True, heard_inside=True) for target in plan.targets}
    first, second = [target for target in plan.targets if isinstance(target, TunnelTarget)]
    lines[first] = Line(up=True, proved=True, heard_inside=False)

    assert judge(plan, lines, Health()).avoided_tunnels == {(0, "b", 0, 0, 0)}
    assert reached(plan, lines, 0) == {digest("b")}
    lines[second] = Line(up=False)
    assert verdict(judge(plan, lines, Health())) == Health(
        avoided_tunnels=frozenset({(0, "b", 1, 0, 0)}), cut_off=frozenset({(0, "b")})
    )
    assert reached(plan, lines, 0) == frozenset()


def test_a_gateway_turns_to_others_only_if_they_get_there(view, make):
    """Where no gateway reaches the cluster for certain each keeps to its own tunnels: two that turn drop everything."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    near, *far = plan.targets
    lines = dict.fromkeys(far, Line(up=True, proved=True, heard_inside=False))
    cut, well = (Line(up=True, rtts_s=(0.001,), reached=found) for found in (frozenset(), frozenset({digest("b")})))

    assert not judge(plan, {near: cut} | lines, Health()).cut_off
    assert judge(plan, {near: well} | lines, Health()).cut_off == {(0, "b")}


def test_an_assumption_is_not_announced(view, make):
    """A gateway that has just started uses its tunnels, but promises nothing before they have answered."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    lines = {target: Line(up=True) for target in plan.targets}

    assert verdict(judge(plan, lines, Health())) == Health()
    assert reached(plan, lines, 0) == frozenset()


def test_nexthop_objects_have_a_spare_each(view, make):
    """Two of every member, whether it is used or not, so that no change has to make one first."""
    hops = [hop for hop in plan_node(view, make.local("a-n3")).nexthops if isinstance(hop, Nexthop)]

    assert len(hops) == 2 * 2 * 2


@pytest.fixture
def plans(view, make):
    """The probe plans of all gateways."""
    far = [make.node("b", number) for number in (1, 2)]
    blocks = [
        NodeBlocks(slice="red", cluster="b", node=node.name, blocks=make.prefixes(f"10.1.64.{64 * number}/26"))
        for number, node in enumerate(far)
    ]
    whole = view | {key_of(document): document for document in (*far, *blocks)}
    near = [make.local(name, (0, 0), (0, 1)) for name in ("a-n1", "a-n2")]
    locals_ = [*near, *(replace(near[0], cluster="b", node=node.name, addresses=node.addresses) for node in far)]
    return {local.node: plan_probes(whole, local) for local in locals_}


def tunnel(plan, index):
    """A gateway's own tunnel by its device."""
    (found,) = [t for t in plan.targets if isinstance(t, TunnelTarget) and t.index == index]
    return found


def test_word_of_an_ended_tunnel_takes_one_stop(plans):
    """a-n1 tells a-n2 and its other far end of the tunnel to b-n2; both know how to tell b-n2, whose tunnel it is."""
    broken = tunnel(plans["a-n1"], 1)
    ends = ends_of(plans["a-n1"], broken)
    told = told_of(plans["a-n1"], broken)

    assert [getattr(t, "node", None) or (t.cluster, t.index) for t in told] == ["a-n2", ("b", 0)]
    assert passed_on(plans["a-n2"], 0, ends) == tunnel(plans["a-n2"], 1)
    assert passed_on(plans["b-n1"], 0, ends).node == "b-n2"
    assert concerned(plans["b-n2"], 0, ends) == tunnel(plans["b-n2"], 0)


def test_word_of_an_ended_tunnel_goes_no_further(plans):
    """Who it concerns tells nobody; who it does not concern leaves no tunnel; of another set nobody knows anything."""
    ends = ends_of(plans["a-n1"], tunnel(plans["a-n1"], 1))

    assert passed_on(plans["b-n2"], 0, ends) is None
    assert [concerned(plans[name], 0, ends) for name in ("a-n1", "a-n2", "b-n1")] == [None, None, None]
    assert [concerned(plan, 1, ends) for plan in plans.values()] == [None] * 4
    assert [passed_on(plan, 1, ends) for plan in plans.values()] == [None] * 4


GONE = Health(gone=frozenset({(0, "b")}))


def ways_to_b(plan):
    """The routes of the slice's namespace to the blocks of b."""
    return [r for r in plan.routes if r.ns == "s-000001" and str(r.dst) in {"10.1.64.0/18", "fd01:0:0:4000::/50"}]


@pytest.mark.parametrize("name", ["a-n1", "a-n3"])
def test_a_cluster_that_is_gone_is_unreachable(view, make, name):
    """On gateways and on other nodes alike; nothing but its routes changes, so that all is ready when it is back."""
    tunnels = ((0, 0), (0, 1)) if name == "a-n1" else ()
    whole, gone = (plan_node(view, make.local(name, *tunnels, health=health)) for health in (Health(), GONE))

    assert len(ways_to_b(gone)) == 2
    assert all(not route.dev and not route.nexthop for route in ways_to_b(gone))
    assert {change.item for change in diff(gone, whole)} == set(ways_to_b(gone))
    assert "route replace unreachable 10.1.64.0/18 proto 83" in {change.text for change in diff(gone, whole)}


def test_a_node_believes_that_a_cluster_is_gone_when_every_answering_gateway_says_so(view, make):
    """One that says nothing of it is enough to go on; if none answers, nobody said anything."""
    plan = plan_probes(view, make.local("a-n3"))
    dead, well, lone = Line(up=False, rtts_s=(0.001,)), Line(up=True), Line(up=True, lost=frozenset({digest("b")}))

    def gone(*lines):
        return bool(judge(plan, dict(zip(plan.targets, lines, strict=True)), Health()).gone)

    assert gone(lone, lone)
    assert gone(lone, dead)
    assert not gone(lone, well)
    assert not gone(dead, dead)
    assert not gone(well, dead)


def test_a_gateway_loses_a_cluster_when_all_tunnels_that_ever_worked_are_down_for_a_while(view, make):
    """Not before, not while one is up, and not where no probe ever passed."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    far = plan.targets[1:]
    well, down = Line(up=True, rtts_s=(0.001,)), Line(up=False, rtts_s=(0.001,), downs=(10.0,))
    never = Line(up=False, downs=(10.0,))

    def said(now, *lines):
        return lost(plan, dict(zip(far, lines, strict=True)), 0, now, pace=Pace())

    assert said(11.0, down, down) == said(11.0, down, never) == {digest("b")}
    assert said(10.1, down, down) == said(11.0, down, well) == said(11.0, never, never) == frozenset()


def test_a_cluster_is_not_lost_while_a_probe_now_and_then_is_answered(view, make):
    """A way that loses much still carries something: only ten probes without an answer on every tunnel are a loss."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    far = plan.targets[1:]

    def said(*fates):
        lines = [Line(up=False, rtts_s=(0.001,), downs=(10.0,), fates=bits) for bits in fates]
        return lost(plan, dict(zip(far, lines, strict=True)), 0, 12.0, pace=Pace())

    assert said(0, 1 << 10) == said(1 << 10, 1 << 11) == {digest("b")}
    assert said(0, 1 << 9) == said(1, 1) == frozenset()


@pytest.mark.parametrize(("interval_s", "losses", "probes"), [(0.1, 3, 10), (0.05, 2, 20), (1.0, 3, 3), (0.1, 20, 20)])
def test_so_many_probes_are_silence_as_fit_into_the_time_after_which_a_cluster_is_gone(
    view, make, interval_s, losses, probes
):
    """But not fewer than make a tunnel go down; those that may still be under way do not count."""
    plan, pace = plan_probes(view, make.local("a-n1", (0, 0))), Pace(interval_s=interval_s, losses=losses)

    def said(fates, rtt_s=0.001):
        line = Line(up=False, rtts_s=(rtt_s,), downs=(10.0,), fates=fates)
        return lost(plan, {plan.targets[-1]: line}, 0, 12.0, pace=pace)

    assert (said(1 << probes), said(1 << probes - 1)) == ({digest("b")}, frozenset())
    assert said(1 << probes, rtt_s=interval_s * 1.5) == frozenset()


def test_a_deaf_gateway_loses_no_cluster_and_forgets_none(view, make):
    """What it has said holds as long as the tunnels are down; nothing is added, and what works is gone no more."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    far, b = plan.targets[1:], frozenset({digest("b")})
    down, well = Line(up=False, rtts_s=(0.001,), downs=(10.0,)), Line(up=True, rtts_s=(0.001,))

    def said(known, line):
        return lost(plan, dict.fromkeys(far, line), 0, 20.0, pace=Pace(), known=known)

    assert [said(frozenset(), down), said(b, down), said(b, well)] == [frozenset(), b, frozenset()]


def test_a_gateway_believes_that_a_cluster_is_gone_when_it_and_the_others_lost_it(view, make):
    """It does not answer for the others while one of them may get there; alone it decides alone."""
    plan = plan_probes(view, make.local("a-n1", (0, 0), (0, 1)))
    near, *far = plan.targets
    tunnels = dict.fromkeys(far, Line(up=False, rtts_s=(0.001,)))
    others = [Line(up=True, lost=frozenset({digest("b")})), Line(up=False), Line(up=True)]
    here = {0: frozenset({digest("b")})}

    assert [bool(judge(plan, {near: o} | tunnels, Health(), here).gone) for o in others] == [True, True, False]
    assert not judge(plan, {near: others[0]} | tunnels, Health(), {}).gone
