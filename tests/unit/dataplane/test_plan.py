"""The plan of one node, read as the commands that would make it from nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slicer.model.attachments import Attachment
from slicer.model.clusters import ClusterBlocks, Node
from slicer.model.documents import key_of
from slicer.model.slices import Bandwidth, Encryption, QosProfile, Slice, SliceState
from slicer.plan.dataplane import Health, HostRoute, plan_node, pod_mtu, problems_of, wanted_tunnels
from slicer.plan.dataplane_diff import diff
from slicer.plan.dataplane_tunnel import probe_address
from slicer.plan.dataplane_values import NodePlan
from slicer.plan.probe_targets import plan_probes
from slicer.plan.standing import standing_of


def commands(view, local):
    """From nothing to the plan."""
    return [str(change) for change in diff(plan_node(view, local), NodePlan())]


def holding(lines, *words):
    return [line for line in lines if all(word in line for word in words)]


def pod(make, **changes):
    values = {
        "container_id": "c1",
        "interface": "net1",
        "slice": "red",
        "cluster": "a",
        "node": "a-n2",
        "namespace": "default",
        "pod": "web",
        "netns": "/run/netns/web",
        "addresses": make.addresses("10.1.0.130", "fd01:0:0:2::2"),
        "mac": "0a:00:00:00:00:01",
        "host_interface": "p00000001",
        "mtu": 1420,
    }
    return Attachment(**(values | changes))


def test_a_node_that_is_no_gateway(make):
    """A slice namespace with VXLAN, the other nodes by their router addresses, the other cluster by the gateway."""
    lines = commands(make.documents(), make.local("a-n2"))

    spoken = [line for line in lines if not any(word in line for word in ("sysctl", " -6 ", "fd01", "nexthop"))]
    assert [line.partition(" #")[0] for line in spoken if "nhid" not in line] == [
        "ip netns add s-000001",
        "ip netns exec s-000001 nft -f -",
        "ip -n s-000001 link set dev lo up",
        (
            "ip link add name vx0 netns s-000001 mtu 1450 address 02:00:00:00:01:02 type vxlan id 1 local 198.18.1.12"
            " dstport 4790 nolearning"
        ),
        "ip -n s-000001 link set dev vx0 up",
        "ip -n s-000001 address replace 10.1.0.129/32 dev lo noprefixroute",
        "ip -n s-000001 neighbour replace 10.1.0.65 lladdr 02:00:00:00:01:01 dev vx0 nud permanent",
        "ip -n s-000001 neighbour replace 10.1.0.193 lladdr 02:00:00:00:01:03 dev vx0 nud permanent",
        "bridge -n s-000001 fdb replace 02:00:00:00:01:01 dev vx0 dst 198.18.1.11 self permanent",
        "bridge -n s-000001 fdb replace 02:00:00:00:01:03 dev vx0 dst 198.18.1.13 self permanent",
        "ip -n s-000001 rule add pref 0 lookup 255",
        "ip -n s-000001 rule add pref 32766 lookup 254",
        "ip -n s-000001 rule add pref 32767 lookup 253",
        "ip -n s-000001 route replace 10.1.0.64/26 via 10.1.0.65 dev vx0 onlink proto 83",
        "ip -n s-000001 route replace 10.1.0.192/26 via 10.1.0.193 dev vx0 onlink proto 83",
    ]
    assert len(holding(lines, "ip -n s-000001 route replace 10.1.64.0/18 nhid")) == 1
    assert len(holding(lines, "ip -6 -n s-000001 route replace fd01:0:0:4000::/50 nhid")) == 1


def test_a_single_gateway_makes_a_group_of_two_nexthop_objects(make):
    """Both lead to the same gateway, the spare without a bucket: a group of one would not count its buckets as used."""
    lines = commands(make.documents(), make.local("a-n2"))
    hops = holding(lines, "nexthop replace", "via 10.1.0.65")
    ids = {hop.split(" id ")[1].split()[0] for hop in hops}
    groups = [line.split(" group ")[1] for line in holding(lines, " group ")]
    own = [
        words for words in groups if ids == set(words.split()[0].replace(",255/", "/").removesuffix(",1").split("/"))
    ]

    assert len(hops) == 2
    assert len(own) == 1
    assert own[0].endswith(",1 type resilient buckets 128 idle_timer 120 proto 83")


def test_a_second_gateway_keeps_the_first_ones_nexthop(make):
    """Ids depend on names only: what was there keeps its buckets when others come."""
    one = plan_node(make.documents(), make.local("a-n2"))
    two = plan_node(make.documents(make.gateway("a", 1, "a-n3", make.key(2))), make.local("a-n2"))
    before, after = ({hop.id for hop in plan.nexthops} for plan in (one, two))

    assert [group.id for group in one.groups] == [group.id for group in two.groups]
    assert [(len(group.members), bool(group.spare)) for group in one.groups] == [(1, True)] * 2
    assert [(len(group.members), bool(group.spare)) for group in two.groups] == [(2, False)] * 2
    assert before < after
    assert len(after) == 8


def test_a_gateway_sends_through_its_own_trunk_and_tunnel(make):
    """The slice's remote blocks go to the trunk; the tunnel namespace leads them to the device of the remote slot."""
    lines = commands(make.documents(), make.local("a-n1", (0, 0)))

    assert "ip -n s-000001 route replace 10.1.64.0/18 via 169.254.1.1 dev tk0 onlink proto 83" in lines
    assert "ip -6 -n s-000001 route replace fd01:0:0:4000::/50 via fe80::1 dev tk0 onlink proto 83" in lines
    assert (
        "ip link add name tk0 netns s-000001 mtu 1420 address 02:73:6c:00:00:01 type veth peer name tk000001 netns t-00"
    ) in lines
    assert "ip link add name w0.0 netns t-00 mtu 1420 type wireguard" in lines
    assert "ip netns exec t-00 wg set w0.0 private-key keys/0-0.key listen-port 51820" in lines
    assert (
        f"ip netns exec t-00 wg set w0.0 peer {make.key(1)} endpoint 198.18.2.11:51820 persistent-keepalive 25"
        f" allowed-ips 10.1.64.0/18,fd01:0:0:4000::/50,{probe_address('b', 0, 0)}/128"
    ) in lines
    assert "ip -n t-00 route replace 10.1.0.0/18 via 169.254.1.1 dev tk000001 onlink proto 83" in lines
    assert len(holding(lines, "ip -n t-00 nexthop replace", "dev w0.0 proto 83")) == 2
    assert len(holding(lines, "ip -n t-00 route replace 10.1.64.0/18 nhid")) == 1


def test_only_probes_are_delivered_in_the_tunnel_namespace(make):
    """The local table is asked for the probe address alone, so that router addresses are reached behind the trunk."""
    rules = plan_node(make.documents(), make.local("a-n1", (0, 0))).rules

    assert [(rule.version, rule.priority, str(rule.dst)) for rule in rules if rule.ns == "t-00"] == [
        (4, 32766, "None"),
        (4, 32767, "None"),
        (6, 1, f"{probe_address('a', 0, 0)}/124"),
        (6, 32766, "None"),
    ]


def test_device_j_talks_to_slot_j_over_the_device_of_our_slot(make):
    """With two gateways each, the second one's devices have as peers the remote devices of index 1."""
    view = make.documents(
        make.gateway("a", 1, "a-n2", make.key(2), make.key(3)),
        make.gateway("b", 0, "b-n1", make.key(4), make.key(5)),
        make.gateway("b", 1, "b-n2", make.key(6), make.key(7)),
    )
    peers = plan_node(view, make.local("a-n2", (0, 0), (0, 1))).wg_peers

    assert {(peer.dev, peer.public_key, str(peer.endpoint[0]), peer.endpoint[1]) for peer in peers} == {
        ("w0.0", make.key(5), "198.18.2.11", 51821),
        ("w0.1", make.key(7), "198.18.2.12", 51821),
    }


def test_a_gateway_without_keys_or_peers_is_ready_and_waits(make):
    """What has not been reported yet is absent: no peer, no route into a tunnel that leads nowhere."""
    view = make.documents(replace(make.gateway("b", 0, "b-n1"), addresses=()))
    lines = commands(view, make.local("a-n1", (0, 0)))

    assert holding(lines, "link add name w0.0")
    assert not holding(lines, "peer ", "wg set")
    assert not holding(lines, "t-00 route replace 10.1.64.0/18")


def test_wanted_tunnels_are_the_remote_slots_of_our_sets(make):
    """One device for each slot that a remote cluster uses, in the sets that this node carries and shares."""
    far = replace(make.gateway("b", 0, "b-n9", tunnel_set=7), slot=3)
    view = make.documents(make.gateway("b", 1, "b-n2", make.key(3)), far)

    assert wanted_tunnels(view, "a", "a-n1") == {(0, 0, 0, 0), (0, 1, 0, 0)}
    assert wanted_tunnels(view, "a", "a-n2") == frozenset()


def test_a_pod_is_a_route_and_a_neighbour(make):
    """One address of full length a family, on the host end of its veth."""
    lines = commands(make.documents(), make.local("a-n2", attachments=(pod(make),)))

    assert holding(lines, "p00000001") == [
        "ip -n s-000001 neighbour replace 10.1.0.130 lladdr 0a:00:00:00:00:01 dev p00000001 nud permanent",
        "ip -n s-000001 neighbour replace fd01:0:0:2::2 lladdr 0a:00:00:00:00:01 dev p00000001 nud permanent",
        "ip -n s-000001 route replace 10.1.0.130/32 dev p00000001 proto 83",
        "ip -6 -n s-000001 route replace fd01:0:0:2::2/128 dev p00000001 proto 83",
    ]


def test_a_fixed_address_on_another_node_is_a_host_route(make):
    """It overrides the block of the node that the address belongs to."""
    (address,) = make.addresses("10.1.0.77")
    lines = commands(
        make.documents(), make.local("a-n2", host_routes=(HostRoute(slice="red", address=address, node="a-n3"),))
    )

    assert "ip -n s-000001 route replace 10.1.0.77/32 via 10.1.0.193 dev vx0 onlink proto 83" in lines


def test_the_pods_rates(make):
    """Into the pod by TBF on its host end, out of it by a class of the namespace's IFB."""
    limited = pod(make, bandwidth=Bandwidth(ingress_bps=8_000_000, egress_bps=16_000_000))
    lines = holding(commands(make.documents(), make.local("a-n2", attachments=(limited,))), "tc ")
    classid = holding(lines, "class replace")[0].split("classid ")[1].split()[0]

    assert "tc -n s-000001 qdisc add dev p00000001 root handle 1: tbf rate 8000000bit burst 10000 latency 50ms" in lines
    assert "tc -n s-000001 qdisc add dev p00000001 clsact" in lines
    assert holding(lines, "class replace", "rate 16000000bit ceil 16000000bit burst 20000")
    assert holding(lines, "match ip src 10.1.0.130/32", f"flowid {classid}")
    assert holding(lines, "match ip6 src fd01:0:0:2::2/128", f"flowid {classid}")
    assert lines[-1] == (
        "tc -n s-000001 filter add dev p00000001 ingress protocol all pref 1 u32 match u32 0 0"
        " action mirred egress redirect dev ifb0"
    )


def red(make, **changes):
    return SliceState(
        spec=Slice(name="red", prefixes=make.prefixes("10.1.0.0/16", "fd01::/48"), **changes), vni=1, tunnel_set=0
    )


def test_the_slices_rates(make):
    """One HTB for the set: the uplink, the rest, and a class for the slice, found by source and destination."""
    profile = QosProfile(guarantee_bps=10_000_000, ceiling_bps=20_000_000, priority=2)
    local = make.local("a-n1", (0, 0), uplink_bps=100_000_000)
    lines = holding(commands(make.documents(red(make, qos=profile)), local), "tc ")

    assert lines == [
        "tc -n t-00 qdisc add dev ifb0 root handle 1: htb default 2",
        "tc -n t-00 qdisc add dev w0.0 clsact",
        (
            "tc -n t-00 class replace dev ifb0 root classid 1:1 htb rate 100000000bit ceil 100000000bit"
            " burst 125000 cburst 125000 prio 0 quantum 60000"
        ),
        (
            "tc -n t-00 class replace dev ifb0 parent 1:1 classid 1:11 htb rate 10000000bit ceil 20000000bit"
            " burst 12500 cburst 25000 prio 2 quantum 60000"
        ),
        (
            "tc -n t-00 class replace dev ifb0 parent 1:1 classid 1:2 htb rate 8000bit ceil 100000000bit"
            " burst 3200 cburst 125000 prio 4 quantum 60000"
        ),
        "tc -n t-00 qdisc add dev ifb0 parent 1:11 handle 11: pfifo limit 1000",
        "tc -n t-00 qdisc add dev ifb0 parent 1:2 handle 2: pfifo limit 1000",
        (
            "tc -n t-00 filter add dev ifb0 parent 1: protocol ip pref 34 u32"
            " match ip src 10.1.0.0/16 match ip dst 10.1.0.0/16 flowid 1:11"
        ),
        (
            "tc -n t-00 filter add dev ifb0 parent 1: protocol ipv6 pref 35 u32"
            " match ip6 src fd01::/48 match ip6 dst fd01::/48 flowid 1:11"
        ),
        (
            "tc -n t-00 filter add dev w0.0 egress protocol all pref 1 u32 match u32 0 0"
            " action mirred egress redirect dev ifb0"
        ),
    ]


def test_without_rates_there_is_no_scheduler(make):
    """DSCP alone is the packet filter's work."""
    plan = plan_node(make.documents(red(make, qos=QosProfile(dscp=46))), make.local("a-n1", (0, 0)))

    assert (plan.qdiscs, plan.classes, plan.filters) == ((), (), ())
    assert 'iifname "p*" ip dscp set 46' in plan.tables[0].text


def test_slices_of_one_set_share_devices_and_not_trunks(make):
    """A second slice adds a trunk and allowed addresses; the tunnel's filter ties each prefix to its own trunk."""
    blue = SliceState(spec=Slice(name="blue", prefixes=make.prefixes("10.2.0.0/16")), vni=2, tunnel_set=0)
    blocks = [
        ClusterBlocks(slice="blue", cluster="a", blocks=make.prefixes("10.2.0.0/18")),
        ClusterBlocks(slice="blue", cluster="b", blocks=make.prefixes("10.2.64.0/18")),
    ]
    plan = plan_node(make.documents(blue, *blocks), make.local("a-n1", (0, 0)))
    text = next(table.text for table in plan.tables if table.ns == "t-00")

    assert [device.name for device in plan.wg_devices] == ["w0.0"]
    assert [str(prefix) for prefix in plan.wg_peers[0].allowed_ips] == [
        "10.1.64.0/18",
        "10.2.64.0/18",
        "fd01:0:0:4000::/50",
        f"{probe_address('b', 0, 0)}/128",
    ]
    assert '"tk000001" . 10.1.0.0/16 . 10.1.0.0/16, "tk000002" . 10.2.0.0/16 . 10.2.0.0/16' in text


def test_a_cluster_that_is_no_member_has_nothing(make):
    """A slice that names other clusters leaves no trace here."""
    assert plan_node(make.documents(red(make, clusters=("b", "c"))), make.local("a-n1", (0, 0))) == NodePlan()


def test_a_node_in_another_family_is_a_problem_in_words(make):
    """VXLAN has one underlay family on a node; who cannot be reached is named, the rest is planned."""
    v6 = Node(cluster="a", name="a-n3", addresses=make.addresses("fd00::3"), vtep_mac="02:00:00:00:01:03")

    assert problems_of(make.documents(v6), make.local("a-n2")) == (
        "node a-n3 has no IPv4 address, which VXLAN uses here",
    )


def test_mtu_follows_the_underlay():
    """VXLAN and WireGuard follow each other, they do not nest: 80 bytes less than the underlay. In the mesh they do."""
    assert [pod_mtu(mtu, Encryption.BETWEEN_CLUSTERS) for mtu in (1500, 9000)] == [1420, 8920]
    assert [pod_mtu(mtu, Encryption.EVERYWHERE) for mtu in (1500, 9000)] == [1350, 8850]


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_the_order_of_the_view_does_not_matter(make, data):
    """The same documents in any order give the same plan."""
    view, local = make.documents(), make.local("a-n1", (0, 0))
    shuffled = data.draw(st.permutations(list(view.items())))

    assert plan_node(dict(shuffled), local) == plan_node(view, local)


class Counted(dict):
    """A view that counts how often it is looked through."""

    looks = 0

    def items(self):
        self.looks += 1
        return super().items()


@pytest.mark.parametrize(
    "plan",
    [plan_node, plan_probes, problems_of, standing_of, lambda view, local: standing_of(view, local, [Health()] * 5)],
    ids=["plan_node", "plan_probes", "problems_of", "standing_of", "standing_of, six healths"],
)
def test_a_view_is_looked_through_as_often_for_many_slices_as_for_one(make, plan):
    """A node plans after every change: what it costs may not be slices times documents."""

    def looks(slices):
        states = [
            SliceState(spec=Slice(name=f"s{n}", prefixes=make.prefixes(f"10.{n}.0.0/16")), vni=n, tunnel_set=n % 3)
            for n in range(2, slices + 2)
        ]
        view = Counted(make.documents(*states))
        plan(view, make.local("a-n1", (0, 0)))
        return view.looks

    assert 0 < looks(1) == looks(20) < 10


def test_node_names_do_not_collide_with_keys(make):
    """Every value of a plan has a key of its own."""
    plan = plan_node(make.documents(), make.local("a-n1", (0, 0), attachments=(pod(make),)))
    keys = [(type(item), item.key) for item in plan.items()]

    assert len(keys) == len(set(keys))
    assert key_of(make.node("a", 1)) == "node/a/a-n1"
