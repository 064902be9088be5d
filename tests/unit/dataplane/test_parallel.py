"""Parallel tunnels between two gateways, as one node plans them: names, groups, shares, and how one comes and goes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from slicer.kernel.switch import group_body
from slicer.model.clusters import LaneUse, NodeBlocks, Rotation, RotationState, TunnelEndpoint
from slicer.model.documents import key_of
from slicer.model.slices import Slice, SliceState
from slicer.plan.assuming import assumed_health
from slicer.plan.dataplane import Health, LocalTunnel, plan_node, wanted_tunnels
from slicer.plan.dataplane_commands import put
from slicer.plan.dataplane_diff import diff
from slicer.plan.dataplane_values import NexthopGroup
from slicer.plan.mesh import MESH_PREFIX
from slicer.plan.probe_targets import TunnelTarget, concerned, ends_of, judge, plan_probes
from slicer.plan.probing import Kind, Line, Message, decode, encode
from slicer.plan.rotation import progress
from slicer.plan.standing import standing_of

UP = Line(up=True, proved=True, rtts_s=(0.001,), answered=9)


def public(make, cluster, slot, lane, generation=0):
    """A key that no other device has."""
    text = f"{cluster}{slot}{lane}{generation}"
    return make.key(0).replace("A" * 5, f"{text}A", 1)


def ends(make, cluster, own_slot, slots, lanes, generations=(0,)):
    """The devices of a gateway: one a remote slot and lane."""
    return tuple(
        TunnelEndpoint(
            tunnel_set=0,
            index=slot,
            lane=lane,
            generation=generation,
            public_key=public(make, cluster, 8 * own_slot + slot, lane, generation),
            port=51820 + 100 * generation + 10 * lane + slot,
        )
        for slot in slots
        for generation in generations
        for lane in range(lanes)
    )


def gateway(make, cluster, slot, slots, count, **changes):
    generations = changes.pop("generations", (0,))
    bare = make.gateway(cluster, slot, f"{cluster}-n{slot + 1}")
    changes = {"uses": (0,), **changes}
    return replace(bare, tunnels=ends(make, cluster, slot, slots, count, generations), **changes)


def red(make, asked, name="red", number=1, **changes):
    """A slice that asks for so many."""
    spec = Slice(name=name, prefixes=make.prefixes(f"10.{number}.0.0/16"), tunnels_per_pair=asked, **changes)
    return SliceState(spec=spec, vni=number, tunnel_set=0)


def said(*lanes, cluster="b"):
    return tuple(LaneUse(tunnel_set=0, remote_cluster=cluster, lane=lane) for lane in lanes)


def view_of(make, asked, count, *more, far=1, **changes):
    """Gateway a-n1 and `far` gateways of b; all have `count` lanes and slices ask for `asked`."""
    return make.documents(
        red(make, asked),
        gateway(make, "a", 0, range(far), count, **changes),
        *(gateway(make, "b", slot, (0,), count) for slot in range(far)),
        *more,
    )


def here(make, view, health=None):
    """a-n1, with what its gateway says it has."""
    own = view["gateway/a/0/0"].tunnels
    tunnels = tuple(
        LocalTunnel(
            tunnel_set=0, index=t.index, generation=t.generation, lane=t.lane, port=t.port, public_key=t.public_key
        )
        for t in own
    )
    known = frozenset((0, "b", t.index, t.generation, t.lane) for t in own)
    return replace(make.local("a-n1", health=health or Health(judged_tunnels=known)), tunnels=tunnels)


def down(local, *names):
    return replace(local, health=replace(local.health, avoided_tunnels=frozenset((0, "b", *name) for name in names)))


def outer(plan, version=4):
    """Of the group towards b in the tunnel namespace: device → weight."""
    hops = {hop.id: hop.dev for hop in plan.nexthops if hop.ns == "t-00" and hop.version == version}
    routed = {r.nexthop for r in plan.routes if r.ns == "t-00" and r.dst == ip_network("10.1.64.0/18")}
    (group,) = (group for group in plan.groups if group.id in routed)
    weights = group.weights or (1,) * len(group.members)
    return {hops[member]: weight for member, weight in zip(group.members, weights, strict=True)}


def test_three_tunnels_have_names_ports_peers_and_probe_addresses_of_their_own(make):
    """The first is what it is where there is one only; each talks to the one of its own lane, and no other."""
    view, one = view_of(make, 3, 3), view_of(make, 1, 1)
    plan, before = plan_node(view, here(make, view)), plan_node(one, here(make, one))

    assert [d.name for d in plan.wg_devices] == ["w0.0", "w0.0b", "w0.0c"]
    assert [d.port for d in plan.wg_devices] == [51820, 51830, 51840]
    assert {p.dev: p.public_key for p in plan.wg_peers} == {
        f"w0.0{letter}": public(make, "b", 0, lane) for lane, letter in enumerate(("", "b", "c"))
    }
    assert set(before.wg_devices) < set(plan.wg_devices)
    assert set(before.wg_peers) < set(plan.wg_peers)
    probes = [target for target in plan_probes(view, here(make, view)).targets if isinstance(target, TunnelTarget)]
    assert len({target.spot.address for target in probes}) == len({target.address for target in probes}) == 3
    assert not any(target.address in MESH_PREFIX for target in probes)


def test_no_peer_may_send_what_belongs_to_another_lane(make):
    """The pods' blocks are the same; of probes each peer has its own address and no other's."""
    view = view_of(make, 2, 2)
    peers = plan_node(view, here(make, view)).wg_peers
    blocks, probes = (
        [{p for p in peer.allowed_ips if (p.prefixlen == 128) is of_probes} for peer in peers]
        for of_probes in (False, True)
    )

    assert blocks[0] == blocks[1] != set()
    assert len(probes[0]) == len(probes[1]) == 1
    assert not probes[0] & probes[1]


def test_one_tunnel_is_what_it_was_before_there_were_several(make, view):
    """No lane shows in any name, rule, group or report."""
    local = make.local("a-n1", (0, 0), (0, 1))
    plan = plan_node(view, local)

    assert [d.name for d in plan.wg_devices] == ["w0.0", "w0.1"]
    assert [(rule.version, rule.priority) for rule in plan.rules if rule.ns == "t-00" and rule.dst] == [(6, 1)]
    assert all(group.weights == () for group in plan.groups)
    assert not any("," in put(group)[0].text for group in plan.groups if not group.spare)
    assert wanted_tunnels(view, "a", "a-n1") == {(0, 0, 0, 0), (0, 1, 0, 0)}
    assert standing_of(view, local).lanes == ()


def test_flows_are_spread_over_all_tunnels_alike(make):
    """With equal numbers no weights are needed."""
    view = view_of(make, 3, 3, far=2)

    assert outer(plan_node(view, here(make, view))) == dict.fromkeys(
        ("w0.0", "w0.0b", "w0.0c", "w0.1", "w0.1b", "w0.1c"), 1
    )


@pytest.mark.parametrize(
    ("dead", "shares"),
    [
        ([(0, 0, 1)], {"w0.0": 240, "w0.1": 120, "w0.1b": 120}),
        ([(0, 0, 0), (0, 0, 1)], {"w0.1": 1, "w0.1b": 1}),
        ([(0, 0, 0), (1, 0, 1)], {"w0.0b": 1, "w0.1": 1}),
    ],
    ids=["one of a gateway", "a whole gateway", "one of each"],
)
def test_every_far_gateway_gets_the_same_share(make, dead, shares):
    """However many of its tunnels work: one with two is not sent twice as much as one with one."""
    view = view_of(make, 2, 2, far=2)

    assert outer(plan_node(view, down(here(make, view), *dead))) == shares


def test_one_dead_tunnel_changes_groups_and_nothing_else(make):
    """So that only its own flows move: devices, peers and routes stay."""
    view = view_of(make, 3, 3, far=2)
    local = here(make, view)

    changes = diff(plan_node(view, down(local, (0, 0, 1))), plan_node(view, local))

    assert {type(change.item) for change in changes} == {NexthopGroup}


def test_weights_are_written_and_read_alike(make):
    """The command and the message of the quick way say the same shares; 1 is written as 0 in the message."""
    view = view_of(make, 2, 2, far=2)
    plan = plan_node(view, down(here(make, view), (0, 0, 1)))
    group = next(g for g in plan.groups if g.weights)
    text = put(group)[0].text

    assert all(f"{member},{weight}" in text for member, weight in zip(group.members, group.weights, strict=True))
    assert bytes([239]) in group_body(group)


def test_pods_of_a_far_gateways_node_are_reached_by_all_its_tunnels(make):
    """A group of their own, of the tunnels to that gateway; by a lone one while the other is down."""
    held = NodeBlocks(slice="red", cluster="b", node="b-n1", blocks=(ip_network("10.1.64.64/26"),))
    view = view_of(make, 2, 2, held, far=2)

    def way(local):
        plan = plan_node(view, local)
        (route,) = (r for r in plan.routes if r.ns == "t-00" and r.dst == held.blocks[0])
        hops = {hop.id: hop.dev for hop in plan.nexthops}
        (group,) = (g for g in plan.groups if g.ns == "t-00" and g.id == route.nexthop)
        return {hops[member] for member in group.members}, bool(group.spare)

    assert way(here(make, view)) == ({"w0.0", "w0.0b"}, False)
    assert way(down(here(make, view), (0, 0, 0))) == ({"w0.0b"}, True)
    assert way(down(here(make, view), (0, 0, 0), (0, 0, 1))) == ({"w0.1", "w0.1b"}, False)


@pytest.mark.parametrize(("mine", "theirs", "lanes"), [(3, 1, 1), (1, 3, 1), (3, 2, 2), (2, 2, 2)])
def test_a_tunnel_is_there_where_both_ends_have_its_device(make, mine, theirs, lanes):
    """While one side is behind, what both have works, and nothing leads into a device without a peer."""
    documents = make.documents(red(make, 3), gateway(make, "a", 0, (0,), mine), gateway(make, "b", 0, (0,), theirs))
    plan = plan_node(documents, here(make, documents))

    assert len(plan.wg_peers) == lanes
    assert len(outer(plan)) == lanes


@pytest.mark.parametrize("mine", [1, 2, 3])
def test_both_ends_want_as_many_by_themselves(make, mine):
    """Each from its own view: the most that any slice asks for that links the two, whatever others ask for."""
    slices = (
        red(make, mine),
        red(make, 2, "green", 2, clusters=("a", "b")),
        red(make, 8, "blue", 3, clusters=("a", "c")),
    )
    view = make.documents(
        *slices, *(gateway(make, cluster, 0, (0,), 1) for cluster in "ab"), gateway(make, "c", 1, (0,), 1)
    )
    lanes = {
        (cluster, slot): {
            lane for _, index, _, lane in wanted_tunnels(view, cluster, f"{cluster}-n{own}") if index == slot
        }
        for cluster, own, slot in (("a", 1, 0), ("b", 1, 0), ("a", 1, 1), ("c", 2, 0))
    }

    assert lanes["a", 0] == lanes["b", 0] == set(range(max(mine, 2)))
    assert lanes["a", 1] == lanes["c", 0] == set(range(8))


def test_slices_in_tunnels_of_their_own_ask_for_those_only(make):
    """A dedicated set has its own number."""
    other = SliceState(spec=replace(red(make, 4).spec, name="own"), vni=9, tunnel_set=1)
    view = make.documents(
        red(make, 1),
        other,
        *(make.gateway(cluster, 0, f"{cluster}-n1", make.key(0), tunnel_set=n) for cluster in "ab" for n in (0, 1)),
    )

    assert wanted_tunnels(view, "a", "a-n1") == {(0, 0, 0, 0), *((1, 0, 0, lane) for lane in range(4))}


def test_more_tunnels_add_objects_and_touch_no_device_that_is_there(make):
    """From one to three, once the others answer: nothing is deleted; of the rest only groups and filter change."""
    one, three = view_of(make, 1, 1), view_of(make, 3, 3)
    before = plan_node(one, here(make, one))
    changes = diff(plan_node(three, here(make, three)), before)

    assert not [change for change in changes if change.verb == "delete"]
    known = {(type(item), item.key) for item in before.items()}
    touched = {type(c.item).__name__ for c in changes if (type(c.item), c.item.key) in known}
    assert touched == {"NexthopGroup", "Table"}


def test_a_new_tunnel_is_used_once_it_is_proved(make):
    """Until its own probes come back everything goes by the first."""
    view = view_of(make, 2, 2)
    fresh = here(make, view, Health(judged_tunnels=frozenset({(0, "b", 0, 0, 0)})))

    assert outer(plan_node(view, fresh)) == {"w0.0": 1}
    assert standing_of(view, fresh).lanes == ()
    assert outer(plan_node(view, here(make, view))) == {"w0.0": 1, "w0.0b": 1}
    assert standing_of(view, here(make, view)).lanes == said(1)


def test_one_too_many_is_left_before_it_goes(make):
    """It stays with its peer, and is used only where no other works; after this end has said so not even then."""
    view = view_of(make, 1, 2, lanes=said(1))
    local = here(make, view)
    plan = plan_node(view, local)

    assert [d.name for d in plan.wg_devices] == [p.dev for p in plan.wg_peers] == ["w0.0", "w0.0b"]
    assert outer(plan) == {"w0.0": 1}
    assert standing_of(view, local).lanes == ()
    assert outer(plan_node(view, down(local, (0, 0, 0)))) == {"w0.0b": 1}
    promised = view_of(make, 1, 2, lanes=())
    assert outer(plan_node(promised, down(local, (0, 0, 0)))) == {"w0.0": 1}


@pytest.mark.parametrize(
    ("mine", "theirs", "kept"),
    [
        ({"lanes": said(1)}, {"lanes": said(1, cluster="a")}, True),
        ({"lanes": said(1)}, {}, True),
        ({}, {"lanes": said(1, cluster="a")}, True),
        ({}, {"uses": ()}, True),
        ({"uses": ()}, {}, True),
        ({}, {}, False),
        ({"lanes": said(1, cluster="c")}, {"lanes": said(1, cluster="c")}, False),
    ],
    ids=["both use it", "we use it", "they use it", "they never said", "we never said", "nobody", "towards others"],
)
def test_one_too_many_is_wanted_while_either_end_uses_it(make, mine, theirs, kept):
    """What goes between the same two clusters counts, and nothing else."""
    view = make.documents(
        red(make, 1), gateway(make, "a", 0, (0,), 2, **mine), gateway(make, "b", 0, (0,), 2, **theirs)
    )

    assert ((0, 0, 0, 1) in wanted_tunnels(view, "a", "a-n1")) is kept
    assert (0, 0, 0, 0) in wanted_tunnels(view, "a", "a-n1")


def rotating(make, **changes):
    rotation = RotationState(spec=Rotation(tunnel_set=0, generation=1), started_at_s=1)
    return make.documents(
        red(make, 2),
        rotation,
        *(gateway(make, cluster, 0, (0,), 2, generations=(0, 1), **changes) for cluster in "ab"),
    )


def test_keys_rotate_in_each_lane_by_itself(make):
    """A lane swaps when its own new device is proved; the rotation waits for all."""
    view = rotating(make)
    local = here(make, view)

    assert {d.name for d in plan_node(view, local).wg_devices} == {"w0.0", "w0.0b", "w0.0.1", "w0.0b.1"}
    assert set(outer(plan_node(view, local))) == {"w0.0.1", "w0.0b.1"}
    assert set(outer(plan_node(view, down(local, (0, 1, 1))))) == {"w0.0.1", "w0.0b"}
    half = replace(
        view["gateway/a/0/0"],
        tunnels=tuple(t for t in view["gateway/a/0/0"].tunnels if (t.generation, t.lane) != (1, 1)),
    )
    assert progress(0, view).state == "handshake"
    assert progress(0, view | {key_of(half): half}).state == "keys"
    wanted = wanted_tunnels(view, "a", "a-n1")
    assert wanted == {(0, 0, generation, lane) for generation in (0, 1) for lane in (0, 1)}
    assert wanted_tunnels(rotating(make, uses=(1,)), "a", "a-n1") == {(0, 0, 1, 0), (0, 0, 1, 1)}


def test_a_restarted_agent_takes_up_the_tunnels_that_the_kernel_uses(make):
    """One of two was out of the group: so it stays until it answers."""
    view = view_of(make, 2, 2, far=2)
    local = down(here(make, view), (0, 0, 1))
    left_behind = plan_node(view, local)

    health = assumed_health(view, replace(local, health=Health()), left_behind)

    assert health.avoided_tunnels == {(0, "b", 0, 0, 1)}
    assert plan_node(view, replace(local, health=health)) == left_behind


def test_probes_judge_each_tunnel_by_itself(make):
    """One that is down is avoided, the others of the same gateway are not."""
    view = view_of(make, 2, 2, far=2)
    plan = plan_probes(view, here(make, view))
    lines = dict.fromkeys(plan.targets, UP)
    dead = next(t for t in plan.targets if isinstance(t, TunnelTarget) and (t.index, t.lane) == (1, 1))

    assert judge(plan, lines | {dead: Line(up=False)}, Health()).avoided_tunnels == {(0, "b", 1, 0, 1)}


def test_word_of_a_dead_tunnel_names_its_lane(make):
    """The far end leaves that one and no other; who knows of no lanes takes it for nobody's."""
    view = view_of(make, 2, 2)
    mine = plan_probes(view, here(make, view))
    broken = next(t for t in mine.targets if isinstance(t, TunnelTarget) and t.lane == 1)
    data = encode(Message(kind=Kind.BROKEN, broken=(ends_of(mine, broken),)))
    far_view = view
    theirs = replace(here(make, view), cluster="b", node="b-n1")
    told = decode(data).broken[0]
    found = concerned(plan_probes(far_view, theirs), 0, told)

    assert (found.cluster, found.index, found.lane) == ("a", 0, 1)
    assert concerned(plan_probes(far_view, theirs), 0, replace(told, far_slot=4096)) is None
