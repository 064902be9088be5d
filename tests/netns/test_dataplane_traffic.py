"""What passes between pods, and what must not. The network is drawn in testnet.py."""

from __future__ import annotations

import subprocess
from itertools import count, permutations

import pytest

pytestmark = pytest.mark.root

_ports = count(7000)


def pods(net, slice_name):
    return [pod for node in net.nodes.values() for pod in node.pods if pod.slice == slice_name]


def pod(net, name):
    return next(p for node in net.nodes.values() for p in node.pods if p.name == name)


def counter(net, node, ns, name):
    """Packets that a named nft counter of the node has counted."""
    words = net.nodes[node].machine.run(f"nft list counter inet slicer {name}", ns).split()
    return int(words[words.index("packets") + 1])


@pytest.mark.parametrize("name", ["red", "green", "blue"])
def test_every_pod_of_a_slice_reaches_every_other(net, name):
    """Echo requests pass between all pods of a slice, in each family that the slice has, across nodes and clusters."""
    silent = [
        (one.name, two.name, address)
        for one, two in permutations(pods(net, name), 2)
        for address in two.addresses
        if not one.ping(address)
    ]

    assert silent == []


def test_the_real_source_address_arrives(net):
    """A TCP server in another cluster sees the pod's own address, in IPv4 and IPv6, in both directions."""
    seen, real = [], []
    for one, two in (("red-a-n2", "red-b-n2"), ("red-b-n2", "red-a-n1"), ("red-b-n1", "red-a-n2")):
        client, server = pod(net, one), pod(net, two)
        for here, there in zip(client.addresses, server.addresses, strict=True):
            port = next(_ports)
            server.node.machine("listen", server.name, str(there), port)
            seen.append(client.node.machine("connect", client.name, str(there), port))
            real.append(f"{two} {here}")

    assert real == seen


def test_slices_with_the_same_prefix_do_not_hear_each_other(net):
    """The same address means another pod in another slice: each connection ends in its own."""
    answers, port = [], next(_ports)
    for name in ("red", "blue"):
        server = pod(net, f"{name}-b-n2")
        server.node.machine("listen", server.name, str(server.addresses[0]), port)
    for name in ("red", "blue"):
        client = pod(net, f"{name}-a-n2")
        answers.append(client.node.machine("connect", client.name, "10.77.72.5", port))

    assert answers == ["red-b-n2 10.77.8.5", "blue-b-n2 10.77.8.5"]


def test_a_pod_outside_the_slice_reaches_nobody(net):
    """A pod of another slice has no route to red; given one by hand, its packets end at its own host."""
    green, red = pod(net, "green-a-n2"), pod(net, "red-b-n2")
    assert not green.ping(red.address(6), wait=0.3)
    green.run("ip route add fd77::/48 via fe80::1 dev net1 onlink")

    assert not green.ping(red.address(6), wait=0.3)


def test_a_pod_without_an_interface_reaches_nobody(net):
    """A namespace on the same node that did not join has no way to any slice address."""
    node = net.nodes["a-n2"]
    node.machine("netns", "stranger")
    answer = node.machine.run("ip link set lo up; ping -n -c 1 -W 0.3 10.77.72.5", "stranger", check=False)

    assert "unreachable" in answer


@pytest.mark.parametrize("address", ["10.77.8.99", "10.77.72.5", "10.77.4.5", "192.0.2.7", "fd77:0:0:800::99"])
def test_a_pod_cannot_send_with_another_address(net, address):
    """A source address that is not the pod's own is dropped on its node and counted: free, another pod's or foreign."""
    liar, target = pod(net, "red-a-n2"), pod(net, "red-b-n1")
    length = 128 if ":" in address else 32
    liar.run(f"ip addr add {address}/{length} dev net1{' nodad' if length == 128 else ''}")
    before = counter(net, "a-n2", "s-000001", "spoofed")
    try:
        answered = liar.ping(target.address(6 if length == 128 else 4), wait=0.3, options=f"-I {address}")
    finally:
        liar.run(f"ip addr del {address}/{length} dev net1")

    assert not answered
    assert counter(net, "a-n2", "s-000001", "spoofed") > before


def test_what_is_outside_the_slice_goes_nowhere(net):
    """A pod that sends to addresses outside the slice's prefix is told so by its node, be they the host's or not."""
    sender = pod(net, "red-a-n1")
    sender.run("ip route add 192.0.2.0/24 via 169.254.1.1 dev net1 onlink")
    sender.run("ip route add 198.18.0.0/16 via 169.254.1.1 dev net1 onlink")

    assert "Net Unreachable" in sender.run("ping -n -c 1 -W 1 192.0.2.1", check=False)
    assert "Net Unreachable" in sender.run("ping -n -c 1 -W 1 198.18.1.11", check=False)


def test_the_tunnel_takes_only_addresses_of_the_slice_whose_trunk_is_used(net):
    """A foreign source that got as far as the trunk is dropped in the tunnel namespace and counted."""
    gateway = net.nodes["a-n1"].machine
    before = counter(net, "a-n1", "t-00", "foreign")
    gateway.run("ip addr add 192.0.2.9/32 dev lo", "s-000001")
    try:
        answer = gateway.run("ping -n -c 1 -W 0.3 -I 192.0.2.9 10.77.72.5", "s-000001", check=False)
    finally:
        gateway.run("ip addr del 192.0.2.9/32 dev lo", "s-000001")

    assert ", 0 received" in answer
    assert counter(net, "a-n1", "t-00", "foreign") == before + 1


def test_nothing_turns_round_at_the_vxlan(net):
    """A packet that comes by VXLAN never leaves by VXLAN: nodes that disagree cannot send it back and forth."""
    node = net.nodes["a-n2"].machine
    before = counter(net, "a-n2", "s-000001", "returning")
    net.nodes["a-n1"].machine.run("ip route add 10.77.12.0/22 via 10.77.8.1 dev vx0 onlink", "s-000001")
    node.run("ip route add 10.77.12.0/22 via 10.77.4.1 dev vx0 onlink", "s-000001")
    answered = pod(net, "red-a-n1").ping("10.77.12.9", wait=0.3)
    for machine in (node, net.nodes["a-n1"].machine):
        machine.run("ip route del 10.77.12.0/22", "s-000001")

    assert not answered
    assert counter(net, "a-n2", "s-000001", "returning") == before + 1


def test_between_the_clusters_nothing_is_readable(net):
    """A marker in a pod's packets is found on the pod's own interface and nowhere on the wire between the clusters."""
    one, two = pod(net, "red-a-n2"), pod(net, "red-b-n2")
    marker = b"secretsecret".hex()
    wire = net.nodes["a-n1"].machine
    dump = "timeout 20 tcpdump --immediate-mode -n -c 8 -w - -i {} 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'"
    wire.send("run", dump.format("eth0 host 198.18.2.11"))
    one.node.machine.send("run", dump.format("net1"), one.name)
    two.run(f"ping -n -c 30 -i 0.1 -p {marker} {one.address(4)}")
    on_the_wire, in_the_pod = wire.receive(), one.node.machine.receive()

    assert marker in in_the_pod
    assert len(on_the_wire) > 1000
    assert marker not in on_the_wire


@pytest.mark.parametrize(
    ("hops", "router4", "router6"),
    [
        (1, "10.77.8.1", "fd77:0:0:800::1"),
        (2, "10.77.4.1", "fd77:0:0:400::1"),
        (3, "10.77.4.1", "fd77:0:0:400::1"),
        (4, "10.77.68.1", "fd77:0:0:4400::1"),
        (5, "10.77.68.1", "fd77:0:0:4400::1"),
        (6, "10.77.72.1", "fd77:0:0:4800::1"),
    ],
)
def test_each_hop_tells_its_router_address(net, hops, router4, router6):
    """ICMP errors come back from every namespace on the way, with the router address of their node as source."""
    one, two = pod(net, "red-a-n2"), pod(net, "red-b-n2")

    assert f"From {router4} icmp_seq=1 Time to live exceeded" in one.run(
        f"ping -n -c 1 -W 2 -t {hops} {two.address(4)}", check=False
    )
    assert f"From {router6} icmp_seq=1 Time exceeded: Hop limit" in one.run(
        f"ping -n -c 1 -W 2 -t {hops} {two.address(6)}", check=False
    )


def test_a_narrow_tunnel_tells_the_pod_its_mtu(net):
    """A packet too big for a route brings back its MTU, in both families; the next reconcile widens all again."""
    one, two = pod(net, "red-a-n2"), pod(net, "red-b-n2")
    gateway = net.nodes["a-n1"].machine
    gateway.run("ip link set w0.0 mtu 1300", "t-00")
    for version, mtu in ((4, "mtu 1300"), (6, "mtu lock 1300")):
        for line in gateway.run(f"ip -{version} route show", "t-00").splitlines():
            if "nhid" in line:
                dst, _, group = line.split()[:3]
                gateway.run(f"ip -{version} route replace {dst} nhid {group} {mtu} proto 83", "t-00")

    assert "mtu = 1300" in one.run(f"ping -n -c 1 -W 2 -M do -s 1350 {two.address(4)}", check=False)
    assert "mtu=1300" in one.run(f"ping -n -c 1 -W 2 -M do -s 1350 {two.address(6)}", check=False)
    net.converge()
    first, *routes = net.nodes["a-n1"].outcome.changes
    assert first == "ip -n t-00 link set dev w0.0 mtu 1420"
    assert routes
    assert all(change.endswith("1420 proto 83") for change in routes)
    one.run("ip route flush cache; ip -6 route flush cache")


def test_router_addresses_answer_from_every_node(net):
    """Every node's slice namespace reaches every router address, gateways too: that is what health probes do."""
    silent = [
        (node.name, str(router))
        for node in net.nodes.values()
        for other in net.nodes.values()
        for block in net.node_blocks(net.slices["red"], other)
        for router in (block.network_address + 1,)
        if ", 0 received" in node.machine.run(f"ping -n -c 1 -W 2 {router}", "s-000001", check=False)
    ]

    assert silent == []


def test_the_kernel_of_this_machine_is_left_alone():
    """None of the nodes' namespaces, devices or tables are visible outside."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout

    assert not [line for line in links.splitlines() if line.split(": ")[1].startswith(("w0.", "vx0", "tk"))]
