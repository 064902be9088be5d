"""Slices that are encrypted everywhere: inside a cluster nothing of them is on the wire but WireGuard.

The network is drawn in testnet.py; here red is encrypted everywhere and green, beside it, is not.

    a-n1  s-000001 (red)   vx0 - - m-nodes: w256.0 - - WireGuard in UDP - - \\
          s-000002 (green) vx0 - - - - - - - - - - - - VXLAN in UDP - - - -  eth0 --- "internet" --- a-n2, the same
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from captures import captures
from guarded import Guarded, running, until
from testnet import Network

from slicer.model.clusters import Node
from slicer.model.slices import Encryption
from slicer.plan.mesh import MESH_NS, mesh_address

pytestmark = pytest.mark.root
RED, GREEN = "s-000001", "s-000002"
VXLAN_OF = {RED: "0800000000000100", GREEN: "0800000000000200"}
"""The VXLAN header of each slice, in hex (RFC 7348, section 5): flags with the VNI bit, the VNI."""
MESH_FILES = (MESH_NS, "w256.0.sock", "256-0.key")


@pytest.fixture(scope="module")
def pair():
    """Two clusters of two nodes; a pod of each slice on each node."""
    with running(Network()) as network:
        add_slices(network)
        wait_for_sessions(network)
        yield network


@pytest.fixture(scope="module")
def six():
    """The same on an underlay of IPv6."""
    with running(Network()) as network:
        for node in network.nodes.values():
            node.local = replace(node.local, addresses=node.local.addresses[1:])
        add_slices(network)
        wait_for_sessions(network)
        yield network


def add_slices(net):
    """Red is encrypted everywhere, green is not; a pod of each on each node."""
    net.add_slice("red", 1, "10.77.0.0/16", "fd77::/48", encryption=Encryption.EVERYWHERE)
    net.add_slice("green", 2, "10.78.0.0/16", "fd78::/48", tunnel_set=1)
    net.converge()
    add_pods(net, "red", "green")


def wait_for_sessions(net):
    """Until small packets pass between all nodes: a handshake that is lost at first comes again after 5 s."""
    for slice_name in ("red", "green"):
        pods = [one for node in net.nodes.values() for one in node.pods if one.slice == slice_name]
        for one in pods:
            for two in pods:
                until(lambda one=one, two=two: one.ping(two.address(4), wait=1), f"{one.name} reaches {two.name}")


def pod(net, name):
    return next(p for node in net.nodes.values() for p in node.pods if p.name == name)


@pytest.fixture
def capture():
    """Makes captures that end with the test."""
    with captures() as begin:
        yield begin


@pytest.mark.parametrize("name", ["red", "green"])
def test_every_pod_of_a_slice_reaches_every_other(pair, name):
    """Encrypted or not: echo requests pass between all pods, in both families, in one cluster and between clusters."""
    pods = [pod(pair, f"{name}-{node}") for node in pair.nodes]
    silent = [
        (one.name, str(address))
        for one in pods
        for two in pods
        for address in two.addresses
        if one is not two and not one.ping(address, tries=3)
    ]

    assert silent == []


def test_between_two_nodes_only_the_other_slice_can_be_read(pair, capture):
    """Of two pings that carry a marker only the plain slice's is on the wire, and with its VXLAN header.

    That one passed all the same: it is seen inside the mesh.
    """
    one = pair.nodes["a-n1"]
    secret, public = b"secretsecret".hex(), b"publicpublic".hex()
    wire, mesh = capture(one, "eth0"), capture(one, "w256.0", MESH_NS)
    for name, marker in (("red", secret), ("green", public)):
        sender, target = pod(pair, f"{name}-a-n1"), pod(pair, f"{name}-a-n2")
        assert sender.ping(target.address(4), tries=5, options=f"-p {marker}")
    until(lambda: public in wire.packets(), "the plain slice's marker is on the wire")
    seen, inside = wire.packets(), mesh.packets()

    assert VXLAN_OF[GREEN] in seen
    assert secret not in seen
    assert VXLAN_OF[RED] not in seen
    assert secret in inside
    assert VXLAN_OF[RED] in inside
    assert public not in inside


def test_on_its_way_to_another_cluster_it_can_be_read_nowhere(pair, capture):
    """From a node by its cluster's gateway to the other cluster: neither before nor behind the gateway."""
    secret, public = b"hidden-hidden".hex(), b"openly-openly".hex()
    wires = [capture(pair.nodes[node], "eth0") for node in ("a-n2", "a-n1", "b-n1", "b-n2")]
    for name, marker in (("red", secret), ("green", public)):
        sender, target = pod(pair, f"{name}-a-n2"), pod(pair, f"{name}-b-n2")
        assert sender.ping(target.address(4), tries=5, options=f"-p {marker}")
    until(lambda: all(public in wire.packets() for wire in wires), "the plain slice's marker is inside both clusters")

    assert not [wire.machine.name for wire in wires if secret in wire.packets()]


@pytest.mark.parametrize("target", ["a-n1", "b-n2"])
@pytest.mark.parametrize(("name", "mtu"), [("red", 1350), ("green", 1420)])
@pytest.mark.parametrize("underlay", ["pair", "six"], ids=["IPv4", "IPv6"])
def test_packets_as_large_as_the_interface_pass_whole(request, underlay, name, mtu, target):
    """With "do not fragment" set, to the next node and to the other cluster; no host on the way makes fragments.

    On an underlay of IPv6 they fill its packets to the last byte.
    """
    net = request.getfixturevalue(underlay)
    one, two = pod(net, f"{name}-a-n2"), pod(net, f"{name}-{target}")
    before = fragments(net)

    assert f"mtu {mtu} " in one.run("ip link show net1")
    assert one.ping(two.address(4), tries=3, options=f"-M do -s {mtu - 28}")
    assert one.ping(two.address(6), tries=3, options=f"-M do -s {mtu - 48}")
    assert not one.ping(two.address(4), wait=0.3, options=f"-M do -s {mtu - 27}")
    assert fragments(net) == before


def fragments(net):
    """Packets that any node has ever cut, in its host's namespace and in the mesh's."""
    counters = "nstat -asz IpFragCreates Ip6FragCreates"
    return [node.machine.run(counters, ns) for node in net.nodes.values() for ns in ("", MESH_NS)]


def test_without_its_key_a_node_gets_nothing_at_all(pair, capture):
    """As long as a peer has told no key its packets are dropped, not sent in clear, and the node says why."""
    one = pair.nodes["a-n1"]
    marker, public = b"keyless-keyl".hex(), b"still-plain.".hex()
    wire = capture(one, "eth0")
    view = pair.view()
    view["node/a/a-n2"] = replace(view["node/a/a-n2"], tunnels=())
    try:
        outcome = one.machine("call", "reconcile", view, one.local)
        heard = pod(pair, "red-a-n1").ping(pod(pair, "red-a-n2").address(4), wait=0.5, options=f"-p {marker}")
        assert pod(pair, "green-a-n1").ping(pod(pair, "green-a-n2").address(4), tries=3, options=f"-p {public}")
        until(lambda: public in wire.packets(), "what was sent later is on the wire")
        seen = wire.packets()
    finally:
        pair.converge()

    assert outcome.failures == (
        "node a-n2 has told no key for the mesh between nodes: slices encrypted everywhere do not reach it",
    )
    assert not heard
    assert marker not in seen
    assert VXLAN_OF[RED] not in seen
    assert pod(pair, "red-a-n1").ping(pod(pair, "red-a-n2").address(4), tries=20, wait=0.5)


def test_plain_vxlan_is_not_taken_in_for_an_encrypted_slice(pair):
    """A stranger on the underlay speaks VXLAN to a node: the plain slice hears it, the encrypted one does not."""
    stranger, node = pair.internet, pair.nodes["a-n1"]
    stranger.run("ip addr add 198.18.0.1/16 dev br0")
    before = {ns: received(node, ns) for ns in (RED, GREEN)}
    for vni, ns in ((1, RED), (2, GREEN)):
        target = pod(pair, f"{'red' if ns == RED else 'green'}-a-n1").address(4)
        stranger.run(
            f"ip link add forged type vxlan id {vni} local 198.18.0.1 remote 198.18.1.11 dstport 4790 && "
            f"ip addr add {target + 100}/32 dev forged && ip link set forged up && ip route add {target} dev forged && "
            f"ip neigh add {target} lladdr {node.local.vtep_mac} dev forged nud permanent"
        )
        stranger.run(f"ping -n -c 3 -i 0.1 -W 0.2 {target}", check=False)
        if ns == GREEN:
            until(lambda: received(node, GREEN) > before[GREEN], "the plain slice hears the stranger")
        stranger.run("ip link del forged")
    stranger.run("ip addr del 198.18.0.1/16 dev br0")

    assert received(node, RED) == before[RED]


def received(node, ns):
    """Packets that came by a slice's VXLAN."""
    words = node.machine.run("ip -s -o link show vx0", ns).partition("RX:")[2].split("\\")[1].split()
    return int(words[1])


def test_the_mesh_takes_nothing_but_vxlan(pair):
    """From another node's mesh address a ping of the own one is not answered, but counted; its VXLAN is heard."""
    one, two = (pair.nodes[node] for node in ("a-n1", "a-n2"))
    own, other = (mesh_address("a", node) for node in ("a-n1", "a-n2"))
    counter = "nft list counter inet slicer foreign"
    before = one.machine.run(counter, MESH_NS)
    two.machine.run("nft flush chain inet slicer output; nft chain inet slicer output '{ policy accept; }'", MESH_NS)
    heard = two.machine.run(f"ping -n -c 1 -W 0.5 -I {other} {own}", MESH_NS, check=False)
    after = one.machine.run(counter, MESH_NS)
    pair.converge()

    assert ", 0 received" in heard
    assert before != after
    assert two.outcome.changes
    assert pod(pair, "red-a-n2").ping(pod(pair, "red-a-n1").address(4), tries=5)


OUTSIDE = (
    f"ip link add vx0 netns {RED} mtu 1350 address 02:00:00:00:01:01"
    f" type vxlan id 1 local {mesh_address('a', 'a-n1')} dstport 4790 nolearning"
)
UNMADE = f"ip -n {MESH_NS} link del w256.0; ip -n t-00 link del w0.0; ip -n t-01 link del w1.0"
"""Where no processes serve them."""
DRIFT = {
    "a mesh device that is gone": (MESH_NS, "ip link del w256.0"),
    "all devices at once": ("", f"kill -9 $(pidof wireguard-go) || {{ {UNMADE}; }}"),
    "the way to a node": (MESH_NS, "ip -6 route flush proto 83"),
    "the own address": (MESH_NS, "ip -6 addr flush dev lo scope global"),
    "the mesh's table": (MESH_NS, "nft delete table inet slicer"),
    "forwarding": (MESH_NS, "sysctl -w net.ipv6.conf.all.forwarding=1"),
    "the mesh's namespace": ("", f"ip netns del {MESH_NS}"),
    "a VXLAN outside the mesh": ("", f"ip -n {RED} link del vx0 && {OUTSIDE} && ip -n {RED} link set vx0 up"),
}


@pytest.mark.parametrize("what", [*DRIFT])
def test_what_was_broken_by_hand_comes_back(pair, what):
    """One reconcile repairs it, packets pass again, and the next reconcile finds nothing to do."""
    ns, command = DRIFT[what]
    one = pair.nodes["a-n1"]
    one.machine.run(command, ns)
    pair.converge()
    assert one.outcome.changes
    for node in pair.nodes.values():
        node.machine("call", "retry_handshakes")

    assert pod(pair, "red-a-n1").ping(pod(pair, "red-a-n2").address(4), tries=30, wait=0.5)
    assert pod(pair, "red-a-n2").ping(pod(pair, "red-b-n2").address(6), tries=30, wait=0.5)
    pair.converge()
    assert {name: node.outcome.changes for name, node in pair.nodes.items()} == dict.fromkeys(pair.nodes, ())


def test_a_restarted_agent_changes_nothing(pair):
    """A new DataPlane finds the mesh's key, port, daemon and namespace as they were."""
    before = {name: node.local.tunnels for name, node in pair.nodes.items()}
    for node in pair.nodes.values():
        node.machine("start")
    pair.converge()

    assert {name: node.local.tunnels for name, node in pair.nodes.items()} == before
    assert {name: node.outcome.changes for name, node in pair.nodes.items()} == dict.fromkeys(pair.nodes, ())


def test_a_node_that_comes_back_under_another_name_is_reached(pair):
    """The record of a node that is gone, with the same underlay address, takes nothing from the one that has it."""
    one = pair.nodes["a-n1"]
    view = pair.view()
    here = view["node/a/a-n2"]
    assert isinstance(here, Node)
    stale = replace(here, name="a-n0", tunnels=tuple(replace(t, public_key="A" * 43 + "=") for t in here.tunnels))
    view["node/a/a-n0"] = stale
    first = one.machine("call", "reconcile", view, one.local)
    again = one.machine("call", "reconcile", view, one.local)
    reached = pod(pair, "red-a-n1").ping(pod(pair, "red-a-n2").address(4), tries=5)
    pair.converge()

    assert first.changes
    assert (again.changes, again.failures) == ((), ())
    assert reached


def test_every_peer_has_been_heard(pair):
    """A node knows of each other node of its cluster when they last shook hands, and of no others."""
    for name, other in (("a-n1", "a-n2"), ("a-n2", "a-n1"), ("b-n1", "b-n2")):
        node, peer = pair.nodes[name], pair.nodes[other]
        key = next(tunnel.public_key for tunnel in peer.local.tunnels if tunnel.device == "w256.0")
        until(lambda node=node, key=key: node.machine("call", "mesh_handshakes").get(key), f"{name} hears {other}")

        assert list(node.machine("call", "mesh_handshakes")) == [key]


def test_the_last_encrypted_slice_takes_the_mesh_along(pair):
    """Deleted, it leaves no namespace, device, daemon or key of the mesh; declared again, it has them again."""
    red = pair.slices.pop("red")
    there = left_behind(pair)
    end_pods(pair, "red")
    try:
        pair.converge()
        for node in pair.nodes.values():
            node.machine("call", "forget_keys", [tunnel.key for tunnel in node.local.tunnels])
        gone = left_behind(pair)
        assert pod(pair, "green-a-n1").ping(pod(pair, "green-a-n2").address(4), tries=3)
    finally:
        pair.slices = {"red": red, **pair.slices}
        pair.converge()
        add_pods(pair, "red")

    kept = tuple(file for file in MESH_FILES if pair.back_end == "wireguard-go" or not file.endswith(".sock"))
    assert there == dict.fromkeys(pair.nodes, kept)
    assert gone == dict.fromkeys(pair.nodes, ())
    assert pod(pair, "red-a-n1").ping(pod(pair, "red-a-n2").address(4), tries=20, wait=0.5)


def test_a_node_that_is_cleaned_up_keeps_nothing_of_the_mesh(pair):
    """All that is ours goes, the mesh's namespace and daemon included; keys stay for whoever comes back."""
    end_pods(pair, "red", "green")
    try:
        outcomes = [node.machine("call", "remove_everything") for node in pair.nodes.values()]
        after = left_behind(pair)
        daemons = [node.machine.run(COMMAND_LINES) for node in pair.nodes.values()]
    finally:
        pair.converge()
        add_pods(pair, "red", "green")

    assert [outcome.failures for outcome in outcomes] == [()] * len(pair.nodes)
    assert after == dict.fromkeys(pair.nodes, ("256-0.key",))
    assert not [words for words in daemons if "wireguard-go" in words]


COMMAND_LINES = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
"""Of what runs: a daemon that ended and that nobody has asked for has a name still, but no command line."""


def end_pods(net, *slices):
    """Take the pods of these slices away."""
    for node in net.nodes.values():
        for name in slices:
            node.machine.run(f"ip netns del {name}-{node.name}")
        node.pods = [p for p in node.pods if p.slice not in slices]


def add_pods(net, *slices):
    """Give each node a pod of each of these slices."""
    for name in slices:
        for node in net.nodes:
            net.add_pod(f"{name}-{node}", node, name)
    net.converge()


def left_behind(net):
    """By node, what there is of the mesh: its namespace, its daemon's socket, its key."""
    directories = ("/run/netns", "/var/run/wireguard", "/run/slicer-state/keys")
    return {
        name: tuple(file for where in directories for file in node.machine("files", where) if file in MESH_FILES)
        for name, node in net.nodes.items()
    }


def test_it_looks_after_itself_and_never_in_clear():
    """Nodes probe their gateways through the mesh; a killed device comes back, and meanwhile nothing goes round it."""
    with running(Guarded(spec={"encryption": Encryption.EVERYWHERE})) as guarded, captures() as capture:
        node = guarded.net.nodes["a-n3"]
        wire, mesh = capture(node, "eth0"), capture(node, "w256.0", MESH_NS)
        until(lambda: VXLAN_OF[RED] in mesh.packets(), "probes are in the mesh")
        guarded.start_flows()
        before = node.machine.run("cat /sys/class/net/w256.0/ifindex", MESH_NS)
        node.machine.run(f"kill -9 $(pidof wireguard-go) || ip -n {MESH_NS} link del w256.0")
        until(lambda: _index(node) not in {"", before}, "the device is there again")
        guarded.all_go_on("flows go on")
        guarded.settled()
        guarded.end_flows()
        seen = wire.packets()

    assert len(seen) > 10_000
    assert VXLAN_OF[RED] not in seen


def _index(node):
    """Interface index of the mesh's device; empty while there is none."""
    found = node.machine.run("cat /sys/class/net/w256.0/ifindex", MESH_NS, check=False)
    return found if found.strip().isdigit() else ""
