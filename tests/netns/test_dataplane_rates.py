"""Bandwidth: what a slice may send between clusters, what a pod may send and get; changed while it runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from testnet import Network

from slicer.model.slices import Bandwidth, QosProfile

pytestmark = pytest.mark.root

MBIT = 1_000_000
_ports = count(7000)


@pytest.fixture(scope="module")
def rated():
    """Two clusters; slice slow has a ceiling, slice free shares the tunnels and has none."""
    network = Network()
    try:
        network.start()
        network.add_slice("slow", 1, "10.81.0.0/16", "fd81::/48", qos=QosProfile(ceiling_bps=20 * MBIT))
        network.add_slice("free", 2, "10.82.0.0/16")
        network.converge()
        for name in ("slow", "free"):
            for node in ("a-n2", "b-n2"):
                network.add_pod(f"{name}-{node}", node, name)
        network.converge()
        yield network
    finally:
        network.stop()


def pod(network, name):
    return next(p for node in network.nodes.values() for p in node.pods if p.name == name)


def speed(client, server, version=4, seconds=2.5, *, above):
    """Mbit/s of TCP payload from one pod to the other, the highest of at most three tries; stops once it is `above`.

    A machine that is busy starves the sender at times, which says nothing about a rate; one that lets too much pass
    does so at every try.
    """
    best = 0.0
    for _ in range(3):
        port = next(_ports)
        server.node.machine("sink", server.name, str(server.address(version)), port)
        client.node.machine("pour", client.name, str(server.address(version)), port, seconds)
        best = max(best, server.node.machine("sunk") / MBIT)
        if best > above:
            break
    return best


def classes(network, node):
    """Counters of the HTB classes of a gateway: class id → bytes."""
    words = network.nodes[node].machine.run("tc -s class show dev ifb0", "t-00").split()
    return {words[i + 2]: int(words[words.index("Sent", i) + 1]) for i, word in enumerate(words) if word == "class"}


def set_qos(network, name, qos):
    state = network.slices[name]
    network.slices[name] = replace(state, spec=replace(state.spec, qos=qos))
    network.converge()


@pytest.mark.parametrize("version", [4, 6])
def test_a_slice_stays_below_its_ceiling_and_reaches_it(rated, version):
    """Payload of a TCP stream between clusters is the ceiling less the headers, in both families."""
    measured = speed(pod(rated, "slow-a-n2"), pod(rated, "slow-b-n2"), version, above=0.85 * 20)

    assert 0.85 * 20 < measured < 20


def test_a_slice_without_a_profile_is_not_slowed(rated):
    """The other slice of the same tunnels goes far beyond the first one's ceiling."""
    assert speed(pod(rated, "free-a-n2"), pod(rated, "free-b-n2"), seconds=1.5, above=40) > 40


def test_inside_a_cluster_the_ceiling_does_not_count(rated):
    """A slice's profile is about the tunnels between clusters."""
    near = rated.add_pod("slow-a-n1", "a-n1", "slow")
    rated.converge()

    assert speed(near, pod(rated, "slow-a-n2"), seconds=1.5, above=40) > 40


def test_a_changed_ceiling_is_one_command_and_disturbs_no_other_class(rated):
    """Live change: one tc command on each gateway; the other classes' counters go on from where they were."""
    set_qos(rated, "free", QosProfile(guarantee_bps=5 * MBIT))
    pod(rated, "free-a-n2").ping(pod(rated, "free-b-n2").address(4))
    before = classes(rated, "a-n1")
    set_qos(rated, "slow", QosProfile(ceiling_bps=10 * MBIT))
    changes = rated.nodes["a-n1"].outcome.changes
    after = classes(rated, "a-n1")

    assert len(changes) == 1
    assert changes[0].startswith(
        "tc -n t-00 class replace dev ifb0 parent 1:1 classid 1:11 htb rate 8000bit ceil 10000000bit"
    )
    assert all(after[name] >= sent for name, sent in before.items())
    assert before["1:12"] > 0
    assert 0.85 * 10 < speed(pod(rated, "slow-a-n2"), pod(rated, "slow-b-n2"), above=0.85 * 10) < 10
    set_qos(rated, "slow", QosProfile(ceiling_bps=20 * MBIT))
    set_qos(rated, "free", None)


def test_a_guarantee_is_kept_while_another_slice_takes_all_it_can(rated):
    """On a full uplink the guaranteed slice gets its share, and what is left is shared."""
    gateway = rated.nodes["a-n1"]
    near, far = rated.add_pod("slow-g-a", "a-n1", "slow", part=9), rated.add_pod("slow-g-b", "b-n1", "slow", part=9)
    gateway.local = replace(gateway.local, uplink_bps=20 * MBIT)
    set_qos(rated, "slow", QosProfile(guarantee_bps=15 * MBIT))
    pairs = [(near, far), (pod(rated, "free-a-n2"), pod(rated, "free-b-n2"))]
    # A sender that the machine starves does not ask for its share, which says nothing about the scheduler: three tries.
    tries = (_poured_at_once(pairs) for _ in range(3))
    guaranteed, other = next((found for found in tries if found[0] > 0.85 * 15 and found[1] > 1), (0.0, 0.0))
    gateway.local = replace(gateway.local, uplink_bps=None)
    set_qos(rated, "slow", QosProfile(ceiling_bps=20 * MBIT))

    assert guaranteed > 0.85 * 15
    assert 1 < other < 10


def _poured_at_once(pairs):
    """Mbit/s that arrived at each server while all clients sent as fast as they could."""
    port = next(_ports)
    for client, server in pairs:
        server.node.machine("sink", server.name, str(server.address(4)), port)
        client.node.machine.send("pour", client.name, str(server.address(4)), port, 3.0, "reno")
    for client, _ in pairs:
        client.node.machine.receive()
    return [server.node.machine("sunk") / MBIT for _, server in pairs]


def test_without_profiles_there_is_no_scheduler(rated):
    """The last profile takes the IFB, its classes and the redirects along; packets pass."""
    set_qos(rated, "slow", None)
    shown = rated.nodes["a-n1"].machine.run(
        "ip -o link show; tc qdisc show dev w0.0; tc filter show dev w0.0 egress", "t-00"
    )
    passed = pod(rated, "slow-a-n2").ping(pod(rated, "slow-b-n2").address(4))
    set_qos(rated, "slow", QosProfile(ceiling_bps=20 * MBIT))

    assert "ifb0" not in shown
    assert "clsact" not in shown
    assert passed


def test_a_class_removed_by_hand_comes_back(rated):
    """HTB class, leaf and filter are repaired like everything else."""
    machine = rated.nodes["a-n1"].machine
    machine.run("tc filter del dev ifb0 parent 1: && tc class del dev ifb0 classid 1:11", "t-00")
    rated.converge()

    assert rated.nodes["a-n1"].outcome.changes
    assert 0.85 * 20 < speed(pod(rated, "slow-a-n2"), pod(rated, "slow-b-n2"), above=0.85 * 20) < 20


def test_packets_carry_the_slices_dscp(rated):
    """The DSCP of the profile is written where a packet enters the slice."""
    set_qos(rated, "free", QosProfile(dscp=46))
    two = pod(rated, "free-b-n2")
    two.node.machine.send("run", "timeout 20 tcpdump -nvl -i net1 -c 1 icmp and dst host 10.82.72.5", two.name)
    pod(rated, "free-a-n2").run(f"ping -n -c 20 -i 0.1 {two.address(4)}")
    shown = two.node.machine.receive()
    set_qos(rated, "free", None)

    assert "tos 0xb8" in shown


def test_pods_have_rates_both_ways_changed_while_they_run(rated):
    """set_pod_rates holds what a pod sends and gets, tells it back, changes it, and takes it away again."""
    one, two = pod(rated, "free-a-n2"), pod(rated, "free-b-n2")
    node = two.node
    seen = []
    for wish in (Bandwidth(ingress_bps=8 * MBIT, egress_bps=16 * MBIT), Bandwidth(egress_bps=8 * MBIT), None):
        two.attachment = replace(two.attachment, bandwidth=wish)
        outcome = node.machine("call", "set_pod_rates", two.vni, two.attachment, node.local)
        assert outcome.failures == ()
        seen.append(node.machine("call", "observe_pod_rates", two.vni, two.attachment))
        rated.converge()
        assert node.outcome.changes == ()
        if wish and wish.ingress_bps:
            assert 0.85 * 8 < speed(one, two, above=0.85 * 8) < 8
            assert 0.85 * 16 < speed(two, one, above=0.85 * 16) < 16

    assert seen == [Bandwidth(ingress_bps=8 * MBIT, egress_bps=16 * MBIT), Bandwidth(egress_bps=8 * MBIT), Bandwidth()]
