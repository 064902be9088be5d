"""The mesh between nodes in the plan: what a slice that is encrypted everywhere adds, and what it never does."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slicer.model.clusters import TUNNEL_SET_MAX, ClusterBlocks, NodeBlocks, TunnelEndpoint
from slicer.model.documents import key_of
from slicer.model.slices import Encryption, Slice, SliceState
from slicer.plan.dataplane import LocalTunnel, plan_node, problems_of, wanted_tunnels
from slicer.plan.dataplane_diff import diff
from slicer.plan.dataplane_values import Link, NodePlan, plan_of
from slicer.plan.mesh import MESH_NS, MESH_PREFIX, MESH_SET, MESH_TUNNEL, mesh_address
from slicer.plan.probing import PROBE_PREFIX

CHECKED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def secret(make, **changes):
    """Slice red of the conftest, encrypted everywhere."""
    spec = Slice(
        name="red", prefixes=make.prefixes("10.1.0.0/16", "fd01::/48"), encryption=Encryption.EVERYWHERE, **changes
    )
    return SliceState(spec=spec, vni=1, tunnel_set=0)


def green(make):
    """A slice beside it that is not."""
    yield SliceState(spec=Slice(name="green", prefixes=make.prefixes("10.2.0.0/16")), vni=2, tunnel_set=1)
    yield ClusterBlocks(slice="green", cluster="a", blocks=make.prefixes("10.2.0.0/18"))
    for number in (1, 2, 3):
        block = make.prefixes(f"10.2.0.{64 * number}/26")
        yield NodeBlocks(slice="green", cluster="a", node=f"a-n{number}", blocks=block)


def meshed(make, cluster, number, **changes):
    """A node that has told its key of the mesh."""
    node = make.node(cluster, number)
    end = TunnelEndpoint(tunnel_set=MESH_SET, index=0, public_key=make.key(2 + number), port=51830 + number)
    return replace(node, **{"wireguard": "kernel", "tunnels": (end,), **changes})


def me(make, **changes):
    """Node a-n2, no gateway, with its own key of the mesh."""
    own = LocalTunnel(tunnel_set=MESH_SET, index=0, port=51820, public_key=make.key(0))
    return replace(make.local("a-n2", **changes), tunnels=(own,))


def everybody(make):
    return [meshed(make, "a", number) for number in (1, 2, 3)]


def commands(view, local):
    return [str(change).partition(" #")[0] for change in diff(plan_node(view, local), NodePlan())]


def test_a_node_of_a_slice_that_is_encrypted_everywhere(make):
    """One namespace more: one device, a peer and a route for each other node; the VXLAN is born in it."""
    lines = commands(make.documents(secret(make), *everybody(make)), me(make))
    one, two, three = (mesh_address("a", f"a-n{number}") for number in (1, 2, 3))

    assert [line for line in lines if MESH_NS in line and "sysctl" not in line] == [
        f"ip netns add {MESH_NS}",
        f"ip netns exec {MESH_NS} nft -f -",
        f"ip -n {MESH_NS} link set dev lo up",
        f"ip link add name w256.0 netns {MESH_NS} mtu 1420 type wireguard",
        f"ip -n {MESH_NS} link set dev w256.0 up",
        (
            f"ip -n {MESH_NS} link add name vx0 netns s-000001 mtu 1350 address 02:00:00:00:01:02 type vxlan id 1"
            f" local {two} dstport 4790 nolearning"
        ),
        f"ip netns exec {MESH_NS} wg set w256.0 private-key keys/256-0.key listen-port 51820",
        *(
            f"ip netns exec {MESH_NS} wg set w256.0 peer {make.key(2 + number)}"
            f" endpoint 198.18.1.1{number}:5183{number} persistent-keepalive 25 allowed-ips {address}/128"
            for number, address in ((1, one), (3, three))
        ),
        f"ip -n {MESH_NS} address replace {two}/128 dev lo noprefixroute",
        f"ip -n {MESH_NS} rule add pref 0 lookup 255",
        f"ip -n {MESH_NS} rule add pref 32766 lookup 254",
        f"ip -n {MESH_NS} rule add pref 32767 lookup 253",
        f"ip -6 -n {MESH_NS} rule add pref 0 lookup 255",
        f"ip -6 -n {MESH_NS} rule add pref 32766 lookup 254",
        *(
            f"ip -6 -n {MESH_NS} route replace {address}/128 dev w256.0 proto 83"
            for address in sorted((one, three), key=int)
        ),
    ]
    assert f"bridge -n s-000001 fdb replace 02:00:00:00:01:01 dev vx0 dst {one} self permanent" in lines


def test_a_slice_that_is_not_stays_as_it_was(make):
    """Beside an encrypted one its part of the plan is the same to the last setting; alone there is no mesh at all."""
    alone = plan_node(make.documents(*green(make), *everybody(make)), me(make))
    beside = plan_node(make.documents(secret(make), *green(make), *everybody(make)), me(make))

    assert of_ns(alone, "s-000002")
    assert of_ns(alone, "s-000002") == of_ns(beside, "s-000002")
    assert not of_ns(alone, MESH_NS)
    assert of_ns(beside, MESH_NS)


def of_ns(plan, ns):
    return [item for item in plan.items() if item.ns == ns]


def test_the_trunk_of_a_gateway_is_as_narrow_as_its_pods(make):
    """What comes from another cluster and is too big for the mesh is told so before it; tunnels are as wide as ever."""
    plan = plan_node(make.documents(secret(make), *everybody(make)), make.local("a-n1", (0, 0)))

    assert {(link.name, link.mtu) for link in plan.links if link.name != "lo"} == {
        ("tk0", 1350),
        ("tk000001", 1350),
        ("vx0", 1350),
        ("w0.0", 1420),
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tunnels": ()}, "node a-n3 has told no key for the mesh between nodes"),
        ({"wireguard": ""}, "node a-n3 has no WireGuard"),
        ({"addresses": (ipaddress.ip_address("fd00::3"),)}, "node a-n3 has no address of a family that this node has"),
    ],
    ids=["no key", "no WireGuard", "no address"],
)
def test_who_cannot_be_reached_encrypted_is_not_reached_at_all(make, changes, words):
    """No peer, no route, and a problem in words; its forwarding entry still leads into the mesh, where it ends."""
    view = make.documents(secret(make), *everybody(make), meshed(make, "a", 3, **changes))
    plan = plan_node(view, me(make))
    far = mesh_address("a", "a-n3")

    assert [peer.public_key for peer in plan.wg_peers] == [make.key(3)]
    assert [str(route.dst) for route in of_ns(plan, MESH_NS) if hasattr(route, "dst") and hasattr(route, "via")] == [
        f"{mesh_address('a', 'a-n1')}/128"
    ]
    assert far in {entry.dst for entry in plan.fdb}
    assert problems_of(view, me(make)) == (f"{words}: slices encrypted everywhere do not reach it",)
    assert problems_of(make.documents(*green(make)), me(make)) == ()


def test_a_node_in_another_family_is_in_the_mesh(make):
    """VXLAN has one underlay family on a node, a WireGuard peer any: two nodes need one in common, whichever."""
    local = replace(me(make), addresses=make.addresses("198.18.1.12", "fd00::2"))
    view = make.documents(secret(make), *everybody(make), meshed(make, "a", 3, addresses=make.addresses("fd00::3")))

    assert [str(peer.endpoint[0]) for peer in plan_node(view, local).wg_peers] == ["198.18.1.11", "fd00::3"]
    assert problems_of(view, local) == ()


@pytest.mark.parametrize(("underlay_mtu", "left"), [(1429, 1279), (1430, None)])
def test_an_underlay_too_narrow_for_ipv6_is_a_problem_in_words(make, underlay_mtu, left):
    """The kernel takes IPv6 off interfaces below 1280 bytes; a slice that is not encrypted there still has room."""
    view = make.documents(secret(make), *green(make), *everybody(make))
    words = f"slice red has IPv6, which needs an MTU of 1280; this node's underlay leaves it {left}"

    assert problems_of(view, me(make, underlay_mtu=underlay_mtu)) == ((words,) if left else ())
    assert problems_of(make.documents(*everybody(make)), me(make, underlay_mtu=underlay_mtu)) == ()


def test_without_a_key_of_its_own_a_node_sends_nothing(make):
    """The mesh is there without a device: the VXLAN's socket has no way out."""
    plan = plan_node(make.documents(secret(make), *everybody(make)), make.local("a-n2"))

    assert [link.vxlan.socket_ns for link in plan.links if link.vxlan] == [MESH_NS]
    assert (plan.wg_devices, plan.wg_peers) == ((), ())
    assert not [route for route in plan.routes if route.ns == MESH_NS]


def test_the_mesh_is_wanted_where_an_encrypted_slice_is(make):
    """On every node of its clusters, gateway or not; by nobody else, and under a number that no tunnel set has."""
    view = make.documents(secret(make, clusters=("a",)))

    assert MESH_SET > TUNNEL_SET_MAX
    assert MESH_TUNNEL in wanted_tunnels(view, "a", "a-n1")
    assert wanted_tunnels(view, "a", "a-n3") == {MESH_TUNNEL}
    assert wanted_tunnels(view, "b", "b-n1") == frozenset()
    assert MESH_TUNNEL not in wanted_tunnels(make.documents(), "a", "a-n3")


def test_a_record_of_a_node_that_is_gone_takes_nothing_away(make):
    """Two names with one underlay address have two mesh addresses: no allowed address is claimed twice."""
    old = replace(meshed(make, "a", 3), name="a-n9", tunnels=meshed(make, "a", 1).tunnels)
    before = plan_node(make.documents(secret(make), *everybody(make)), me(make)).wg_peers
    after = plan_node(make.documents(secret(make), meshed(make, "a", 3), old), me(make)).wg_peers

    assert [peer for peer in after if peer in before] == [peer for peer in before if peer.public_key == make.key(5)]
    assert len({peer.allowed_ips for peer in after}) == 2


def test_a_vxlan_whose_socket_is_elsewhere_is_made_anew(make):
    """A namespace that was another slice's before, or that somebody changed by hand: the socket's place is compared."""
    wanted = next(link for link in plan_node(make.documents(secret(make)), me(make)).links if link.vxlan)
    outside = replace(wanted, vxlan=replace(wanted.vxlan, socket_ns=""))

    lines = [str(change) for change in diff(plan_of([wanted]), plan_of([outside]))]
    assert [line.partition(" mtu")[0] for line in lines] == [
        "ip -n s-000001 link delete dev vx0",
        f"ip -n {MESH_NS} link add name vx0 netns s-000001",
        "ip -n s-000001 link set dev vx0 up",
    ]


def test_mesh_addresses_are_in_the_probes_prefix_and_never_a_tunnels(make):
    """Slices cannot have that prefix; the number in it is the mesh's."""
    assert MESH_PREFIX.subnet_of(PROBE_PREFIX)
    assert mesh_address("a", "a-n1") in MESH_PREFIX
    assert len({mesh_address(c, n) for c in "ab" for n in ("a-n1", "a-n2")}) == 4


VIEWS = st.fixed_dictionaries(
    {
        "encrypted": st.booleans(),
        "known": st.sets(st.sampled_from([1, 2, 3])),
        "able": st.sets(st.sampled_from([1, 2, 3])),
        "keyed": st.booleans(),
    }
)


@given(view=VIEWS, shuffle=st.randoms(use_true_random=False))
@CHECKED
def test_an_encrypted_slice_is_never_planned_in_clear(make, view, shuffle):
    """Whatever is missing: its VXLAN's socket is in the mesh, whose only device is WireGuard; green's is not."""
    nodes = [
        meshed(
            make,
            "a",
            n,
            **({} if n in view["known"] else {"tunnels": ()}),
            **({} if n in view["able"] else {"wireguard": ""}),
        )
        for n in (1, 2, 3)
    ]
    red = secret(make) if view["encrypted"] else next(iter(make.documents().values()))
    documents = [*make.documents(red, *green(make), *nodes).values()]
    shuffle.shuffle(documents)
    local = me(make) if view["keyed"] else make.local("a-n2")
    plan = plan_node({key_of(value): value for value in documents}, local)

    sockets = {link.ns: link.vxlan.socket_ns for link in plan.links if link.vxlan}
    assert sockets == {"s-000001": MESH_NS if view["encrypted"] else "", "s-000002": ""}
    assert all(entry.dst in MESH_PREFIX for entry in plan.fdb if view["encrypted"] and entry.ns == "s-000001")
    assert not any(entry.dst in MESH_PREFIX for entry in plan.fdb if entry.ns == "s-000002")
    assert {item.kind for item in of_ns(plan, MESH_NS) if isinstance(item, Link)} <= {"loopback", "wireguard"}
    assert {peer.dev for peer in plan.wg_peers if peer.ns == MESH_NS} <= {"w256.0"}
    assert {link.name for link in plan.links if link.ns == MESH_NS and link.mac} == set()
