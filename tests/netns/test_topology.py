"""Clusters that are linked in one slice and not in another: what passes, and what must not.

      b (spoke) ──── a (hub) ──── c (spoke)        slice red: hub a
        └────────────────────────────┘             slice blue: mesh, on the same tunnels (set 0)

Each cluster has a gateway n1 and another node n2, drawn in testnet.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import count, permutations
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from testnet import Network

from slicer.model.topology import ClusterLink, SliceTopology

pytestmark = pytest.mark.root

_ports = count(7900)
HUB = SliceTopology(hubs=("a",))
FLOWS, INTERVAL_S, ENOUGH = 4, 0.005, 100


def links(*pairs):
    return SliceTopology(links=tuple(ClusterLink(clusters=tuple(pair)) for pair in pairs))


@pytest.fixture(scope="module")
def star():
    """Three clusters of two nodes; a pod of each slice on every node."""
    network = Network(clusters=3)
    try:
        network.start()
        network.add_slice("red", 1, "10.77.0.0/16", "fd77::/48", topology=HUB)
        network.add_slice("blue", 2, "10.78.0.0/16")
        network.converge()
        for name in network.slices:
            for node in network.nodes:
                network.add_pod(f"{name}-{node}", node, name)
        network.converge()
        count_in(network, "red-c-n2", "b")
        yield network
    finally:
        network.stop()


def declare(net, name, topology):
    """Another topology, live."""
    state = net.slices[name]
    net.slices[name] = replace(state, spec=replace(state.spec, topology=topology))
    net.converge()


@pytest.fixture
def back(star):
    """The network, with its slices' first topologies again afterwards."""
    before = dict(star.slices)
    yield star
    star.slices.update(before)
    star.converge()


def pods(net, name):
    return [pod for node in net.nodes.values() for pod in node.pods if pod.slice == name]


def pod(net, name):
    return next(p for node in net.nodes.values() for p in node.pods if p.name == name)


def reached(net, name):
    """(cluster, other cluster) where all pods reach each other in all families; in some only is an error."""
    found = {}
    for one, two in permutations(pods(net, name), 2):
        pair = (one.node.cluster, two.node.cluster)
        for address in two.addresses:
            found.setdefault(pair, set()).add(one.ping(address, wait=1))
    assert all(len(answers) == 1 for answers in found.values()), found
    return {pair for pair, answers in found.items() if answers == {True} and pair[0] != pair[1]}


def count_in(net, name, cluster):
    """The pod counts what comes from a cluster: its interface's own counter has the kernel's packets, too."""
    place = pod(net, name)
    blocks = net.view()[f"block/{place.slice}/{cluster}"].blocks
    sources = [f"{'ip' if block.version == 4 else 'ip6'} saddr {block}" for block in blocks]
    lines = [
        "add table inet seen",
        "add counter inet seen heard",
        "add chain inet seen in { type filter hook input priority 0; }",
        *(f"add rule inet seen in {source} counter name heard" for source in sources),
    ]
    place.run("; ".join(f"nft '{line}'" for line in lines))


def received(net, name):
    """Packets that the pod has counted."""
    words = pod(net, name).run("nft list counter inet seen heard").split()
    return int(words[words.index("packets") + 1])


def peers(net, node):
    """The far ends of a gateway's tunnels, with the bytes that came from each."""
    place = net.nodes[node]
    health = place.machine("call", "tunnel_health", net.view(), place.cluster, place.name)
    return {one.remote_node: one.rx_bytes for one in health}


def deceive(net, node, **changes):
    """One node hears something else than the others: documents by key, with `/` written `__`."""
    place = net.nodes[node]
    view = net.view() | {key.replace("__", "/"): value for key, value in changes.items()}
    outcome = place.machine("call", "reconcile", view, place.local)
    assert not outcome.failures


def foreign(net, node):
    words = net.nodes[node].machine.run("nft list counter inet slicer foreign", "t-00").split()
    return int(words[words.index("packets") + 1])


def test_a_spoke_reaches_the_hub_and_no_other_spoke(star):
    """In both families, from gateways and other nodes, both ways; the slice that shares the tunnels is a mesh."""
    assert reached(star, "red") == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}
    assert reached(star, "blue") == set(permutations("abc", 2))


@pytest.mark.parametrize("source", ["red-b-n1", "red-b-n2"])
def test_what_is_not_linked_is_unreachable_at_once(star, source):
    """The pod's own node says so to each packet, however many there are, and to a connection: nothing waits."""
    one, two = pod(star, source), pod(star, "red-c-n2")
    router4, router6 = (
        block.network_address + 1 for block in star.node_blocks(star.slices["red"], star.nodes[one.node.name])
    )
    heard = received(star, "red-c-n2")

    for address, answer in (
        (two.address(4), f"From {router4} icmp_seq={{}} Destination Net Unreachable"),
        (two.address(6), f"From {router6} icmp_seq={{}} Destination unreachable: No route"),
    ):
        told = one.run(f"ping -n -c 20 -i 0.01 -W 5 {address}", check=False)
        assert all(answer.format(number) in told for number in range(1, 21)), told
    for address in two.addresses:
        with pytest.raises(AssertionError, match="Network is unreachable"):
            one.node.machine("connect", one.name, str(address), next(_ports))
    assert received(star, "red-c-n2") == heard


def test_a_spoke_that_believes_in_a_link_is_refused_at_the_other_end(back):
    """Its packets come through the tunnel that blue has between the two, and WireGuard there drops their source."""
    mesh = replace(back.slices["red"], spec=replace(back.slices["red"].spec, topology=None))
    one, two = pod(back, "red-b-n2"), pod(back, "red-c-n2")
    for node in ("b-n1", "b-n2"):
        deceive(back, node, slice__red=mesh)
    heard, came = received(back, "red-c-n2"), peers(back, "c-n1")["b-n1"]
    answered = one.ping(two.address(4), wait=0.5, options="-s 1300")

    assert not answered
    assert peers(back, "c-n1")["b-n1"] - came > 1300
    assert received(back, "red-c-n2") == heard


def test_a_hub_does_not_pass_on_what_one_spoke_sends_to_another(back):
    """A spoke that takes the hub for a way to the other spoke: its packets turn round nowhere, and are counted."""
    blocks = {key: value for key, value in back.view().items() if key.startswith("block/red/")}
    far, near = blocks["block/red/c"], blocks["block/red/a"]
    wider = replace(near, blocks=(*near.blocks, *far.blocks))
    one, two = pod(back, "red-b-n2"), pod(back, "red-c-n2")
    for node in ("b-n1", "b-n2"):
        deceive(back, node, block__red__a=wider)
    heard, dropped = received(back, "red-c-n2"), foreign(back, "a-n1")
    answered = [one.ping(address, wait=0.5) for address in two.addresses]

    assert answered == [False, False]
    assert foreign(back, "a-n1") == dropped + 2
    assert received(back, "red-c-n2") == heard


def stream(net, source, target):
    """Numbered datagrams between two pods and back."""
    one, two = pod(net, source), pod(net, target)
    port, address = next(_ports), str(two.address(4))
    two.node.machine("echo", two.name, address, port)
    one.node.machine("counted", one.name, address, port, FLOWS, INTERVAL_S)
    return one.node.machine


def sending(machines):
    """So many more datagrams of each stream."""
    before = [machine("sent") for machine in machines]
    for machine, number in zip(machines, before, strict=True):
        while machine("sent") < number + ENOUGH:
            machine.run("sleep 0.05")


@pytest.mark.counts_losses
def test_links_come_and_go_without_touching_the_others(back):
    """Red becomes a chain a, b, c, blue a star and a mesh again: flows on links that stay lose nothing, both ways."""
    streams = [stream(back, "red-a-n2", "red-b-n2"), stream(back, "blue-c-n2", "blue-a-n1")]
    sending(streams)
    declare(back, "red", links("ab", "bc"))
    sending(streams)
    chain = reached(back, "red")
    declare(back, "red", HUB)
    declare(back, "blue", HUB)
    sending(streams)
    ends, starred = {node: set(peers(back, node)) for node in ("a-n1", "b-n1", "c-n1")}, reached(back, "blue")
    declare(back, "blue", None)
    sending(streams)
    losses = [machine("losses") for machine in streams]

    assert losses == [[0] * FLOWS] * 2
    assert chain == {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")}
    assert starred == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}
    assert ends == {"a-n1": {"b-n1", "c-n1"}, "b-n1": {"a-n1"}, "c-n1": {"a-n1"}}
    assert reached(back, "blue") == set(permutations("abc", 2))
