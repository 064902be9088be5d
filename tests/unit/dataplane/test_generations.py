"""Keys that rotate and gateways that leave, as one node plans them: what it sends through, and what it says of that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slicer.model.clusters import GatewayState, Rotation, RotationState, TunnelEndpoint, TunnelUse
from slicer.model.documents import key_of
from slicer.plan.assuming import assumed_health
from slicer.plan.dataplane import Health, LocalTunnel, plan_node, wanted_tunnels
from slicer.plan.probe_targets import TunnelTarget, assumed, judge, lost, plan_probes
from slicer.plan.probing import Kind, Message, Pace, digest
from slicer.plan.standing import standing_of

OLD, NEW = (0, "b", 0, 0, 0), (0, "b", 0, 1, 0)
BOTH = Health(judged_tunnels=frozenset({OLD, NEW}))


@pytest.fixture
def view(make):
    """One gateway a cluster, each with devices of two generations; the second is in force."""
    return {key_of(value): value for value in _documents(make, rotating(make, "a"), rotating(make, "b"))}


def rotating(make, cluster, *, generations=(0, 1), uses=(0,)):
    """A gateway whose keys rotate."""
    number = {"a": 0, "b": 1}[cluster]
    ends = tuple(
        TunnelEndpoint(tunnel_set=0, index=0, public_key=make.key(4 * g + number), port=51820 + g, generation=g)
        for g in generations
    )
    return replace(make.gateway(cluster, 0, f"{cluster}-n1", make.key(number)), tunnels=ends, uses=uses)


def _documents(make, *more):
    rotation = RotationState(spec=Rotation(tunnel_set=0, generation=1), started_at_s=1)
    return make.documents(rotation, *more).values()


def here(make, health=BOTH, generations=(0, 1)):
    """Gateway a-n1 with its devices."""
    tunnels = tuple(
        LocalTunnel(tunnel_set=0, index=0, generation=g, port=51820 + g, public_key=make.key(4 * g))
        for g in generations
    )
    return replace(make.local("a-n1", health=health), tunnels=tunnels)


def devices(plan):
    """What the groups of the tunnel namespace send through."""
    hops = {hop.id: hop.dev for hop in plan.nexthops}
    return {hops[member] for group in plan.groups if group.ns == "t-00" for member in group.members}


def used(view, local):
    """The same, and the generations that the node reports to use."""
    said = {use.generation for use in standing_of(view, local).uses}
    return devices(plan_node(view, local)), said


def test_a_new_device_stands_beside_the_old_one(view, make):
    """Own key, port, peer and probe address; the old one is not touched."""
    before = plan_node(view, here(make, generations=(0,)))
    plan = plan_node(view, here(make))

    assert [(device.name, device.port) for device in plan.wg_devices] == [("w0.0", 51820), ("w0.0.1", 51821)]
    assert {peer.dev: peer.public_key for peer in plan.wg_peers} == {"w0.0": make.key(1), "w0.0.1": make.key(5)}
    assert set(before.wg_peers) < set(plan.wg_peers)
    probes = [target for target in plan_probes(view, here(make)).targets if isinstance(target, TunnelTarget)]
    assert len({(target.spot.address, target.address) for target in probes}) == 2


@pytest.mark.parametrize(
    ("health", "device", "generation"),
    [
        (Health(), "w0.0", 0),
        (Health(judged_tunnels=frozenset({OLD})), "w0.0", 0),
        (replace(BOTH, avoided_tunnels=frozenset({NEW})), "w0.0", 0),
        (BOTH, "w0.0.1", 1),
        (replace(BOTH, avoided_tunnels=frozenset({OLD})), "w0.0.1", 1),
        (replace(BOTH, avoided_tunnels=frozenset({OLD, NEW})), "w0.0.1", 1),
    ],
    ids=["nothing known", "new unknown", "new down", "both up", "old down", "both down"],
)
def test_the_new_device_is_used_once_it_is_proved(view, make, health, device, generation):
    """And not a moment earlier: an unknown tunnel is not a good one."""
    assert used(view, here(make, health)) == ({device}, {generation})


def test_who_said_that_the_old_one_is_not_used_does_not_go_back_to_it(make):
    """The other end may take it away: a new tunnel that seems down is better than one that may be gone."""
    down = replace(BOTH, avoided_tunnels=frozenset({NEW}))
    documents = _documents(make, rotating(make, "a", uses=(1,)), rotating(make, "b"))

    assert used({key_of(d): d for d in documents}, here(make, down)) == ({"w0.0.1"}, {1})


def test_a_generation_that_was_taken_back_is_left_again(make):
    """Without the rotation's document the earlier one is in force, and both ways are the same."""
    documents = make.documents(rotating(make, "a", uses=(1,)), rotating(make, "b", uses=(1,)))

    assert used(documents, here(make)) == ({"w0.0"}, {0})
    assert used(documents, here(make, replace(BOTH, avoided_tunnels=frozenset({OLD})))) == ({"w0.0.1"}, {1})


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        (((0,), (0,)), ((0,), (0,)), {0, 1}),
        (((0, 1), (1,)), ((0, 1), (0, 1)), {0, 1}),
        (((0, 1), (0, 1)), ((0, 1), (1,)), {0, 1}),
        (((0, 1), ()), ((0, 1), (1,)), {0, 1}),
        (((0, 1), (1,)), ((0, 1), (1,)), {1}),
        (((1,), (1,)), ((0, 1), (0, 1)), {1}),
    ],
    ids=["begin", "they use it", "we use it", "we never said", "nobody uses it", "gone here already"],
)
def test_an_old_device_is_wanted_while_anybody_uses_it(make, mine, theirs, wanted):
    """(devices, uses) of both sides; the generation in force is always wanted."""
    gateways = (
        rotating(make, cluster, generations=generations, uses=uses)
        for cluster, (generations, uses) in zip("ab", (mine, theirs), strict=True)
    )
    view = {key_of(document): document for document in _documents(make, *gateways)}

    assert wanted_tunnels(view, "a", "a-n1") == {(0, 0, generation, 0) for generation in wanted}


def leaving(make, state, **changes):
    """Two gateways in cluster a, of which a-n1 goes out of use; one in b."""
    return make.documents(
        replace(make.gateway("a", 0, "a-n1", make.key(0)), state=state, since_ms=7, **changes),
        make.gateway("a", 1, "a-n2", make.key(4)),
        make.gateway("b", 0, "b-n1", make.key(1), make.key(5)),
    )


N1, N2 = (0, "b", "a-n1"), (0, "b", "a-n2")
GOOD = Health(judged_gateways=frozenset({N1, N2}))


def vias(plan):
    """Next hops of the slice namespace's IPv4 groups."""
    hops = {hop.id: str(hop.via) for hop in plan.nexthops if hop.version == 4}
    return {hops[m] for group in plan.groups if group.ns == "s-000001" for m in group.members if m in hops}


@pytest.mark.parametrize(
    ("health", "left"),
    [
        (GOOD, True),
        (replace(GOOD, avoided_gateways=frozenset({N2})), False),
        (replace(GOOD, judged_gateways=frozenset({N1})), False),
        (replace(GOOD, avoided_gateways=frozenset({N1})), True),
    ],
    ids=["both work", "the other is down", "the other is new", "it is down itself"],
)
def test_a_node_leaves_a_draining_gateway_for_one_that_works(make, health, left):
    """And says so; as long as no other works it stays, and says nothing."""
    view, local = leaving(make, GatewayState.DRAINING), make.local("a-n3", health=health)

    assert vias(plan_node(view, local)) == ({"10.1.0.129"} if left else {"10.1.0.65"})
    assert standing_of(view, local).left == (("a/0/0@7",) if left else ())


@pytest.mark.parametrize(("keys", "left"), [((), False), ((4,), True)], ids=["no tunnels", "tunnels"])
def test_without_probes_a_node_leaves_a_draining_gateway_for_one_that_has_tunnels(make, keys, left):
    """Where nothing is known, what a gateway says of itself counts; probes that know it count for more."""
    view = leaving(make, GatewayState.DRAINING)
    view |= {"gateway/a/0/1": make.gateway("a", 1, "a-n2", *map(make.key, keys))}

    assert vias(plan_node(view, make.local("a-n3"))) == ({"10.1.0.129"} if left else {"10.1.0.65"})
    assert standing_of(view, make.local("a-n3")).left == (("a/0/0@7",) if left else ())
    assert vias(plan_node(view, make.local("a-n3", health=GOOD))) == {"10.1.0.129"}


def test_without_probes_a_gateway_without_tunnels_sends_by_one_that_has_some(make):
    """Its own trunk leads into nowhere yet; where no gateway has tunnels each keeps to its own."""
    view = leaving(make, GatewayState.ACTIVE, tunnels=())
    local = make.local("a-n1", (0, 0))

    assert not trunk_routes(plan_node(view, local))
    assert trunk_routes(plan_node(view, replace(local, health=Health(judged_tunnels=frozenset({OLD})))))
    view |= {"gateway/a/0/1": make.gateway("a", 1, "a-n2")}
    assert trunk_routes(plan_node(view, local))
    assert vias(plan_node(view, make.local("a-n3"))) == {"10.1.0.65", "10.1.0.129"}


def test_nobody_goes_back_to_a_gateway_that_all_have_left(make):
    """Not even when the other one seems down: it forwards nothing for others any more."""
    view = leaving(make, GatewayState.LEAVING)
    local = make.local("a-n3", health=replace(GOOD, avoided_gateways=frozenset({N2})))

    assert vias(plan_node(view, local)) == {"10.1.0.129"}


def test_a_remote_gateway_leaves_the_tunnel_to_a_draining_one(make):
    """Once the tunnel to the other works; the devices stay until the slot is gone."""
    view = leaving(make, GatewayState.DRAINING)
    tunnels = frozenset({(0, "a", 0, 0, 0), (0, "a", 1, 0, 0)})
    local = replace(make.local("a-n1", (0, 0), (0, 1)), cluster="b", node="b-n1")
    good, bad = (
        Health(judged_tunnels=tunnels),
        Health(judged_tunnels=tunnels, avoided_tunnels=frozenset({(0, "a", 1, 0, 0)})),
    )

    assert devices(plan_node(view, replace(local, health=good))) == {"w0.1"}
    assert standing_of(view, replace(local, health=good)).left == ("a/0/0@7",)
    assert devices(plan_node(view, replace(local, health=bad))) == {"w0.0"}
    assert standing_of(view, replace(local, health=bad)).left == ()


def trunk_routes(plan):
    """IPv4 routes to cluster b in the slice namespace that lead into the own trunk."""
    return [route for route in plan.routes if route.ns == "s-000001" and route.dev == "tk0" and route.dst.version == 4]


def test_own_pods_of_a_leaving_gateway_go_by_the_others(make):
    """Not while it drains, when others still send through it: what comes from them may not turn round here."""
    local = make.local("a-n1", (0, 0), health=Health(judged_gateways=frozenset({N2}), judged_tunnels=frozenset({OLD})))

    assert trunk_routes(plan_node(leaving(make, GatewayState.DRAINING), local))
    assert standing_of(leaving(make, GatewayState.DRAINING), local).left == ()
    assert not trunk_routes(plan_node(leaving(make, GatewayState.LEAVING), local))
    assert standing_of(leaving(make, GatewayState.LEAVING), local).left == ("a/0/0@7",)


def test_own_pods_of_a_new_gateway_go_by_the_others_until_its_tunnels_work(make):
    """A trunk into tunnels that nobody has probed is a way into nowhere."""
    view = leaving(make, GatewayState.ACTIVE)
    new = make.local("a-n1", (0, 0), health=Health(judged_gateways=frozenset({N2})))
    alone = make.local("a-n1", (0, 0), health=Health())

    assert not trunk_routes(plan_node(view, new))
    assert trunk_routes(plan_node(view, replace(new, health=replace(new.health, judged_tunnels=frozenset({OLD})))))
    assert trunk_routes(plan_node(view, alone))


def test_what_is_said_names_set_and_generation(view, make):
    """For the report."""
    assert standing_of(view, here(make)).uses == (TunnelUse(tunnel_set=0, generation=1),)
    assert standing_of(view, make.local("a-n3")).uses == ()


@pytest.mark.parametrize("health", [BOTH, replace(BOTH, avoided_tunnels=frozenset({NEW}))])
def test_a_restarted_agent_takes_up_what_the_kernel_uses(view, make, health):
    """Planned from what it reads off the groups, everything stays as it is: nothing flips before the first probe."""
    left_behind = plan_node(view, here(make, health))

    health_now = assumed_health(view, here(make, Health()), left_behind)

    assert plan_node(view, here(make, health_now)) == left_behind
    assert health_now.judged_tunnels == {OLD, NEW}


def test_a_restarted_agent_does_not_take_dead_gateways_for_good(make):
    """What was out of the group is down until it answers; what was in it is up; what has no objects is new."""
    view, dead = leaving(make, GatewayState.ACTIVE), replace(GOOD, avoided_gateways=frozenset({N1}))
    left_behind = plan_node(view, make.local("a-n3", health=dead))
    local = make.local("a-n3")

    health = assumed_health(view, local, left_behind)
    plan = plan_probes(view, local)

    assert health == dead
    assert {target.node: assumed(target, plan, health).up for target in plan.targets} == {"a-n1": False, "a-n2": True}
    assert assumed_health(view, local, plan_node({}, local)) == Health()
    assert all(assumed(target, plan, Health()).up for target in plan.targets)
    only = replace(GOOD, judged_gateways=frozenset({N2}))
    assert {target.node: assumed(target, plan, only).up for target in plan.targets} == {"a-n1": False, "a-n2": True}


def test_a_restarted_gateway_knows_that_its_pods_went_by_the_others(make):
    """The route tells."""
    view = leaving(make, GatewayState.ACTIVE)
    cut = Health(judged_gateways=frozenset({N2}), judged_tunnels=frozenset({OLD}), cut_off=frozenset({(0, "b")}))
    local = make.local("a-n1", (0, 0))
    left_behind = plan_node(view, replace(local, health=cut))

    assert assumed_health(view, local, left_behind).cut_off == {(0, "b")}


@pytest.mark.parametrize("node", ["a-n1", "a-n3"])
def test_a_restarted_agent_still_knows_that_a_cluster_is_gone(make, node):
    """Gateway or not: nothing flips, the cluster is announced as gone, and answers end that."""
    view, gone = leaving(make, GatewayState.ACTIVE), frozenset({(0, "b")})
    local = make.local(node, (0, 0)) if node == "a-n1" else make.local(node)
    well = replace(local, health=assumed_health(view, local, plan_node(view, local)))
    left_behind = plan_node(view, replace(well, health=replace(well.health, gone=gone)))

    health = assumed_health(view, local, left_behind)
    plan = plan_probes(view, local)
    lines = {target: assumed(target, plan, health) for target in plan.targets}

    assert well.health.gone == frozenset()
    assert health == replace(well.health, gone=gone)
    assert plan_node(view, replace(local, health=health)) == left_behind
    said = lost(plan, lines, 0, now=0, pace=Pace())
    assert said == ({digest("b")} if node == "a-n1" else frozenset())
    assert judge(plan, lines, health, {0: said}).gone == gone
    answer = Message(kind=Kind.REPLY, reached=frozenset({digest("b")}))
    for _ in range(Pace().good):
        lines = {target: line.heard(Pace(), answer, 0.01) for target, line in lines.items()}
    assert judge(plan, lines, health, {0: lost(plan, lines, 0, now=0, pace=Pace())}).gone == frozenset()
