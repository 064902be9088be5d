"""Two clusters whose tunnels are the kernel's: what the data plane promises, on the back end that most nodes have.

    pod one -- s-000001 -- t-00: w0.0 == WireGuard, sockets in the host's namespace == w0.0 :t-00 -- s-000001 -- pod two
    (a-n1)                                   eth0 -- "internet" -- eth0                                          (b-n1)

One network for all tests, in order: starting it takes most of the time on an emulated machine.
"""

from __future__ import annotations

import pytest
from testnet import Network

from slicer.kernel.wireguard import PeerWish, Place
from slicer.model.slices import QosProfile

pytestmark = pytest.mark.root

TUNNEL = Place("t-00", "w0.0")
DRIFT = {
    "the device": ("t-00", "ip link del w0.0"),
    "the device set down": ("t-00", "ip link set w0.0 down"),
    "its MTU": ("t-00", "ip link set w0.0 mtu 1280"),
    "the whole namespace": ("", "ip netns del t-00"),
    "a class's queue": ("t-00", "tc qdisc replace dev ifb0 parent 1:11 pfifo limit 5"),
}


@pytest.fixture(scope="module")
def net():
    """A gateway and a pod in each cluster; the slice has a profile, so that its packets have a class and a queue."""
    network = Network(nodes_each=1)
    try:
        network.start()
        network.add_slice("red", 1, "10.77.0.0/16", "fd77::/48", qos=QosProfile(ceiling_bps=50_000_000))
        network.converge()
        for node in network.nodes:
            network.add_pod(f"red-{node}", node, "red")
        network.converge()
        yield network
    finally:
        network.stop()


def reached(net):
    """Whether pod one reaches pod two, by family."""
    one, two = (node.pods[0] for node in net.nodes.values())
    return {version: one.ping(two.address(version), tries=20) for version in (4, 6)}


def settle(net):
    """Reconcile, start fresh handshakes, and find nothing more to do."""
    net.converge()
    for node in net.nodes.values():
        node.machine("call", "retry_handshakes")
    net.converge()
    assert {name: node.outcome.changes for name, node in net.nodes.items()} == dict.fromkeys(net.nodes, ())


def device(net):
    return net.nodes["a-n1"].machine("wireguard", "kernel", "read", TUNNEL)


def test_pods_reach_each_other_through_the_kernels_tunnels(net):
    """Both families; the devices are WireGuard to the kernel, and no wireguard-go runs anywhere."""
    kinds = [node.machine.run("ip -d link show w0.0", "t-00") for node in net.nodes.values()]

    assert net.back_end == "kernel"
    assert reached(net) == {4: True, 6: True}
    assert [" wireguard " in kind for kind in kinds] == [True, True]
    assert [node.machine("processes").count("wireguard-go") for node in net.nodes.values()] == [0, 0]


def test_sockets_stay_in_the_hosts_namespace(net):
    """The tunnel's port is bound where the node's addresses are, in both families, and nowhere else."""
    machine = net.nodes["a-n1"].machine
    port = f":{net.nodes['a-n1'].local.tunnels[0].port} "

    assert machine.run("ss -Hlun").count(port) == 2
    assert port not in machine.run("ss -Hlun", "t-00")
    assert port not in machine.run("ss -Hlun", "s-000001")


def test_what_each_tunnel_says_of_itself(net):
    """Handshake, bytes both ways and the endpoint, for the peer that the view names."""
    reached(net)
    (told,) = net.nodes["a-n1"].machine("call", "tunnel_health", net.view(), "a", "a-n1")

    assert (told.remote_cluster, told.remote_node) == ("b", "b-n1")
    assert told.endpoint.startswith("198.18.2.11:")
    assert told.handshake_at_s
    assert told.rx_bytes > 0
    assert told.tx_bytes > 0


def test_a_restarted_agent_changes_nothing(net):
    """A new data plane finds keys, ports, devices, classes and queues as they were; sessions go on."""
    before = device(net)
    for node in net.nodes.values():
        node.machine("start")
    net.converge()
    after = device(net)

    assert {name: node.outcome.changes for name, node in net.nodes.items()} == dict.fromkeys(net.nodes, ())
    assert after.peers[0].handshake_at_s == before.peers[0].handshake_at_s
    assert reached(net) == {4: True, 6: True}


@pytest.mark.parametrize("what", [*DRIFT])
def test_what_was_broken_by_hand_comes_back(net, what):
    """One reconcile repairs it, and the next finds nothing to do."""
    ns, command = DRIFT[what]
    net.nodes["a-n1"].machine.run(command, ns)
    net.converge()
    changed = net.nodes["a-n1"].outcome.changes
    settle(net)

    assert changed
    assert reached(net) == {4: True, 6: True}


def test_peers_that_somebody_changed_are_put_right(net):
    """A foreign peer goes; addresses that were taken from ours, and its keepalive, come back; the session stays."""
    machine, before = net.nodes["a-n1"].machine, device(net)
    ours = before.peers[0]
    foreign = PeerWish(public_key="A" * 42 + "E=", allowed_ips=ours.allowed_ips)
    spoiled = PeerWish(public_key=ours.public_key, endpoint=ours.endpoint)
    machine("wireguard", "kernel", "set_peers", TUNNEL, (spoiled, foreign))
    broken = len(device(net).peers)
    net.converge()
    after = device(net)

    assert broken == 2
    assert [(peer.public_key, peer.allowed_ips, peer.keepalive_s) for peer in after.peers] == [
        (ours.public_key, ours.allowed_ips, ours.keepalive_s)
    ]
    assert after.peers[0].handshake_at_s == ours.handshake_at_s
    assert reached(net) == {4: True, 6: True}


def test_a_new_key_reaches_the_other_side(net):
    """The device takes it, the far end forgets the old one, packets pass."""
    before = device(net).public_key
    net.nodes["a-n1"].machine.run("rm /run/slicer-state/keys/0-*.key")
    settle(net)

    assert device(net).public_key != before
    assert before not in [
        peer.public_key for peer in net.nodes["b-n1"].machine("wireguard", "kernel", "read", TUNNEL).peers
    ]
    assert reached(net) == {4: True, 6: True}


def test_reading_a_hundred_times_leaves_nothing_open(net):
    """An agent reads its devices every second for years: no file and no thread stays behind."""
    machine = net.nodes["a-n1"].machine
    device(net)
    before = machine("held")
    for _ in range(100):
        device(net)

    assert machine("held") == before


def test_a_node_changes_its_back_end_and_back(net):
    """A kernel that learned WireGuard, or lost it: the tunnels are made anew, and the daemon goes with its device."""
    machine = net.nodes["a-n1"].machine
    machine("start", wireguard="wireguard-go")
    settle(net)
    there = machine("processes").count("wireguard-go"), reached(net)
    machine("start", wireguard="kernel")
    settle(net)

    assert there == (1, {4: True, 6: True})
    assert machine("processes").count("wireguard-go") == 0
    assert " wireguard " in machine.run("ip -d link show w0.0", "t-00")
    assert reached(net) == {4: True, 6: True}


def test_removing_everything_leaves_nothing(net):
    """No namespace, device or socket of ours, on either node."""
    outcomes = [node.machine("call", "remove_everything") for node in net.nodes.values()]

    assert [outcome.failures for outcome in outcomes] == [(), ()]
    for name, node in net.nodes.items():
        assert node.machine("files", "/run/netns") == [f"red-{name}"]
        assert "5182" not in node.machine.run("ss -Hlun")
        assert [line.split(": ")[1].split("@")[0] for line in node.machine.run("ip -o link").splitlines()] == [
            "lo",
            "eth0",
        ]
