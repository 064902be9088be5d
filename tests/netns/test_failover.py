"""Gateways, tunnels and links that die under running flows, and come back; each node decides for itself.

    one (a-n3) -- VXLAN -- a-n1, a-n2 == four tunnels == b-n1, b-n2 -- VXLAN -- two (b-n3)

The network is drawn in guarded.py. Nothing here asserts how long anything took: tests/bench/failover.py measures that.
"""

from __future__ import annotations

import json
import time

import pytest
from guarded import GATEWAYS, Guarded, running, until, vars_of

from slicer.plan.probing import Pace

pytestmark = pytest.mark.root

MUTE = (
    "nft 'add table inet mute; add chain inet mute out { type filter hook postrouting priority 0; };"
    ' add rule inet mute out oifname "w*" drop\''
)
"""Another table than ours, so that the reconcile leaves it alone: nothing enters the tunnels any more."""
KILL = "kill -9 $(pidof wireguard-go)"
UNMAKE = "ip link del w0.0; ip link del w0.1"


@pytest.fixture(scope="module")
def guarded():
    """Two clusters of three nodes, two of them gateways, that look after themselves."""
    with running(Guarded()) as network:
        yield network


@pytest.fixture
def patient():
    """The same, where a hundred probes have to be lost before one matters: whatever is noticed, was told."""
    with running(Guarded(pace=Pace(losses=100))) as network:
        yield network


@pytest.fixture
def idle():
    """The same, told to leave the paths alone."""
    with running(Guarded(acting=False)) as network:
        yield network


@pytest.fixture(scope="module")
def guarded_go(guarded):
    """The same with wireguard-go, whatever the kernel can do."""
    if guarded.net.back_end == "wireguard-go":
        yield guarded
        return
    with running(Guarded(wireguard="wireguard-go")) as network:
        yield network


@pytest.fixture
def flows(guarded):
    """Twelve UDP flows from one to two, while the test runs; every group is full before and after."""
    yield from flowing(guarded)


@pytest.fixture
def flows_go(guarded_go):
    """The same with wireguard-go."""
    yield from flowing(guarded_go)


def flowing(guarded):
    guarded.settled()
    guarded.start_flows()
    yield guarded
    guarded.end_flows()
    guarded.settled()


def carriers(guarded, before, least=300):
    """Gateways of cluster a that sent more than `least` packets of the pods since `before`."""
    after = carried(guarded)
    return {node for node in before if after[node] - before[node] > least}


def carried(guarded):
    """Of each gateway of cluster a the pods' packets that went into its tunnels so far: probes are not forwarded."""
    return {node: guarded.forwarded(node) for node in ("a-n1", "a-n2")}


def test_a_killed_wireguard_go_is_left_restarted_and_taken_back(flows_go):
    """Flows go on by the other gateway; the daemons come back by themselves; all groups are full again."""
    machine = flows_go.net.nodes["a-n1"].machine
    daemons = machine.run("pidof wireguard-go").split()
    machine.run(KILL)
    flows_go.all_go_on("flows after a killed process")
    flows_go.settled()

    assert daemons
    assert not set(daemons) & set(machine.run("pidof wireguard-go").split())
    flows_go.all_go_on("flows after its return")


def test_removed_tunnels_are_left_made_anew_and_taken_back(flows):
    """The same for devices that somebody deletes: with kernel WireGuard there is no process that could die."""
    machine = flows.net.nodes["a-n1"].machine
    before = numbers(machine)
    machine.run(UNMAKE, "t-00")
    flows.all_go_on("flows after the devices went")
    flows.settled()

    assert len(before) == 2
    assert len(numbers(machine)) == 2
    assert not before & numbers(machine)
    flows.all_go_on("flows after their return")


def numbers(machine):
    """Interface numbers of a gateway's WireGuard devices."""
    lines = machine.run("ip -o link", "t-00").splitlines()
    return {line.split(":")[0] for line in lines if line.split()[1].startswith("w")}


def test_the_other_cluster_is_told_of_a_dead_tunnel(patient):
    """Word of one dead tunnel gets to its far end over the gateways beside it; of the others nobody thinks worse."""
    start = time.monotonic()  # a handshake that was lost while the network came up is none of this test's
    patient.net.nodes["a-n1"].machine.run("ip link del w0.1", "t-00")
    until(lambda: patient.downs("b-n2", start), "its far end has heard of it")
    told = {node: downs for node in patient.net.nodes if (downs := patient.downs(node, start))}
    patient.settled()

    assert told == {"a-n1": {"w0.1 to b"}, "b-n2": {"w0.0 to a"}}


def test_what_is_told_to_leave_the_paths_alone_does(idle):
    """With failover off a dead gateway is noticed, and stays in every group."""
    idle.link("b-n1", "down")
    until(lambda: "w0.0 to b" in idle.downs("a-n1") and "b-n1" in idle.downs("b-n3"), "the dead gateway is noticed")

    assert idle.groups_full()
    assert not any(any(vars_of(node.machine("health"))) for node in idle.net.nodes.values())


@pytest.mark.parametrize("node", ["a-n1", "b-n2"])
def test_a_gateway_that_loses_its_link_is_left_by_both_clusters(flows, node):
    """Its own nodes and the other cluster's gateways leave it; flows go on; it returns with its link."""
    cluster = node[0]
    far = ("b-n1", "b-n2") if cluster == "a" else ("a-n1", "a-n2")
    flows.link(node, "down")
    try:
        until(lambda: flows.groups(f"{cluster}-n3", "s-000001") == [1, 1], "the nodes have left it")
        until(lambda: all(flows.groups(other, "t-00") == [1, 1] for other in far), "the other cluster has left it")
        flows.all_go_on("flows without it")
    finally:
        flows.link(node, "up")

    flows.settled()
    flows.all_go_on("flows after its return")


def test_busy_flows_do_not_move_when_a_gateway_comes_back(flows):
    """What had to move to the other gateway stays there, though the group is full again: moving is not free of risk."""
    flows.link("a-n1", "down")
    until(lambda: flows.groups("a-n3", "s-000001") == [1, 1], "the node has left it")
    flows.all_go_on("flows by the other one")
    flows.link("a-n1", "up")
    flows.settled()
    before = carried(flows)
    for _ in range(5):
        flows.all_go_on("flows after its return")

    assert carriers(flows, before) == {"a-n2"}


def test_flows_of_a_healthy_gateway_keep_their_path(guarded):
    """A flow that never used the dead gateway crosses the other one as before, and loses no packet on the way."""
    guarded.settled()
    guarded.start_flows(1)
    try:
        before = carried(guarded)
        for _ in range(5):
            guarded.all_go_on("one flow")
        used = carriers(guarded, before, 50)
        (other,) = {"a-n1", "a-n2"} - used
        guarded.link(other, "down")
        until(lambda: guarded.groups("a-n3", "s-000001") == [1, 1], "the node has left the other one")
        guarded.link(other, "up")
        guarded.settled()
        after = carried(guarded)
        for _ in range(5):
            guarded.all_go_on("one flow")
        carrying = carriers(guarded, after, 50)
    finally:
        guarded.link("a-n1", "up")
        guarded.link("a-n2", "up")
        guarded.end_flows()

    assert len(used) == 1
    assert carrying == used


def test_a_cluster_that_is_gone_is_unreachable_at_once_and_comes_back(guarded):
    """With no gateway left nobody waits for an answer: senders get an error, both families; then all is as before."""
    guarded.settled()
    for node in ("b-n1", "b-n2"):
        guarded.link(node, "down")
    try:
        for node in ("a-n1", "a-n3"):
            until(lambda node=node: ways_to_b(guarded, node) == ["unreachable"] * 2, f"{node} knows that b is gone")
        told = [
            guarded.pods[node].run(f"ping -n -c 1 -W 5 {address}", check=False) for node, address in unreached(guarded)
        ]
        inside = guarded.pods["a-n3"].ping(guarded.pods["a-n1"].address(4), tries=10)
    finally:
        for node in ("b-n1", "b-n2"):
            guarded.link(node, "up")
    guarded.settled()

    assert ["+1 errors" in words for words in told] == [True] * 4, told
    assert inside
    assert [ways_to_b(guarded, "a-n1"), ways_to_b(guarded, "a-n3")] == [["tk0"] * 2, ["nhid"] * 2]
    assert all(guarded.pods[node].ping(address, tries=10) for node, address in unreached(guarded))


def unreached(guarded):
    """(node with a pod, address of pod two): a pod of a gateway and one of another node, both families."""
    two = guarded.pods["b-n3"]
    return [(node, two.address(version)) for node in ("a-n1", "a-n3") for version in (4, 6)]


def ways_to_b(guarded, node):
    """How a node's slice namespace sends to cluster b: `unreachable`, `nhid` or a device, a word a route."""
    run = guarded.net.nodes[node].machine.run
    lines = run("ip route show 10.77.64.0/18; ip -6 route show fd77:0:0:4000::/50", "s-000001").splitlines()
    words = [line.split() for line in lines if not line.startswith("\t")]
    return [next((w for w in ("unreachable", "nhid", "tk0") if w in line), " ".join(line)) for line in words]


def tunnels(guarded, node):
    """The states of the tunnels of a gateway."""
    return [line for name, line in guarded.lines(node).items() if name.startswith("w")]


def test_own_pods_of_a_cut_off_gateway_go_by_the_other_one(guarded):
    """A gateway without tunnels sends what its own pods send to the other gateway, and nobody else's packets."""
    guarded.settled()
    machine, pod = guarded.net.nodes["a-n1"].machine, guarded.pods["a-n1"]
    target = guarded.pods["b-n3"].address(4)
    machine.run(MUTE, "t-00")
    try:
        until(lambda: machine("health").cut_off, "it knows that it is cut off")
        until(lambda: "nhid" in machine.run("ip route show 10.77.64.0/18", "s-000001"), "its pods' routes have turned")
        reached = pod.ping(target, tries=20, wait=1)
    finally:
        machine.run("nft delete table inet mute", "t-00")
    guarded.settled()

    assert reached
    assert "dev tk0" in machine.run("ip route show 10.77.64.0/18", "s-000001")


def test_pods_reach_no_probe(guarded):
    """A pod that sends to a probe's address or port, even from the probes' port, is not answered and not let in."""
    pod, far = guarded.pods["a-n1"], guarded.net.nodes["a-n2"]
    own = pod.node.machine.run("ip -6 -o address show dev lo scope global", "t-00").split()[3].partition("/")[0]
    pod.run(f"ip -6 route add {own} via fe80::1 dev net1 onlink")
    router = guarded.net.node_blocks(guarded.net.slices["red"], far)[0].network_address + 1
    before = refused(far)
    pod.node.machine("datagrams", pod.name, str(router), 8383, 5)
    until(lambda: refused(far) == before + 5, "the other node's filter has dropped them")

    assert not pod.ping(own, wait=1)
    assert guarded.all_up()


def refused(node):
    """Packets that the filter of the slice's namespace on a node dropped because they do not belong there."""
    words = node.machine.run("nft list counter inet slicer foreign", "s-000001")
    return int(words.split("packets ")[1].split()[0])


def test_every_group_of_every_gateway_is_full_at_rest(guarded):
    """Nothing is avoided while nothing is wrong."""
    guarded.settled()

    assert [guarded.groups(node, "t-00") for node in GATEWAYS] == [[2, 2]] * len(GATEWAYS)


def turned(guarded, node):
    """Packets that a gateway took out of its tunnels into the slice so far: probes are none of them."""
    links = guarded.net.nodes[node].machine.run("ip -j -s link show tk000001", "t-00")
    return json.loads(links)[0]["stats64"]["tx"]["packets"]


def test_pods_of_gateways_are_reached_straight_and_by_the_others_when_that_fails(guarded):
    """Between pods on two gateways' nodes no third node carries anything, until the tunnel between the two is dead."""
    guarded.settled()
    one, two = guarded.pods["a-n1"], guarded.pods["b-n1"]
    two.node.machine("echo", two.name, str(two.address(4)), 7)
    one.node.machine("stream", one.name, str(two.address(4)), 7, 12, 0.01)

    def progress():
        return one.node.machine("progress")

    def all_go_on(what):
        before = progress()
        until(lambda: all(now > then + 20 for now, then in zip(progress(), before, strict=True)), what)

    try:
        all_go_on("flows run")
        before = {node: turned(guarded, node) for node in GATEWAYS}
        all_go_on("flows go on")
        grown = {node: turned(guarded, node) - before[node] for node in GATEWAYS}
        assert min(grown["a-n1"], grown["b-n1"]) >= 12 * 20
        assert max(grown["a-n2"], grown["b-n2"]) < 12, grown

        (port,) = (tunnel.port for tunnel in one.node.local.tunnels if tunnel.device == "w0.0")
        one.node.machine.run(
            f"nft 'add table inet deaf; add chain inet deaf in {{ type filter hook input priority 0; }};"
            f" add rule inet deaf in udp dport {port} drop'"
        )
        all_go_on("flows go on over other gateways")
        detour = turned(guarded, "b-n2")
        all_go_on("flows go on over other gateways")
        assert turned(guarded, "b-n2") - detour >= 12
        one.node.machine.run("nft delete table inet deaf")
        guarded.settled()
    finally:
        one.node.machine("streamed")
