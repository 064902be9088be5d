"""Two gateways a cluster: four tunnels, flows spread over them, gateways and keys that come and go."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


def carried(wide, node):
    """Bytes that each device of a gateway has sent."""
    view = wide.view()
    place = wide.nodes[node]
    health = place.machine("call", "tunnel_health", view, place.cluster, place.name)
    return {(one.index, one.remote_node): one for one in health}


def test_flows_spread_over_all_four_tunnels(wide):
    """UDP flows of one pair of pods, by different ports, use both gateways and both tunnels of each."""
    one = next(pod for pod in wide.nodes["a-n3"].pods)
    two = next(pod for pod in wide.nodes["b-n3"].pods)
    before = {node: carried(wide, node) for node in ("a-n1", "a-n2")}
    one.node.machine("flows", one.name, str(two.address(4)), 200)
    after = {node: carried(wide, node) for node in ("a-n1", "a-n2")}

    sent = {
        (node, *key): after[node][key].tx_bytes - before[node][key].tx_bytes for node in before for key in before[node]
    }
    assert sorted(sent) == [
        ("a-n1", 0, "b-n1"),
        ("a-n1", 1, "b-n2"),
        ("a-n2", 0, "b-n1"),
        ("a-n2", 1, "b-n2"),
    ]
    assert all(count > 10 * 1000 for count in sent.values()), sent


def test_health_names_both_ends(wide):
    """Each device of a gateway tells its peer, where it is, and when they last shook hands."""
    health = carried(wide, "b-n2")

    assert {key: one.endpoint.rpartition(":")[0] for key, one in health.items()} == {
        (0, "a-n1"): "198.18.1.11",
        (1, "a-n2"): "198.18.1.12",
    }
    assert all(one.handshake_at_s for one in health.values())


def test_a_gateway_that_leaves_keeps_every_pair_connected(wide):
    """With one gateway of a cluster withdrawn all pods reach each other; nodes keep a group of two nexthop objects."""
    pods = [pod for node in wide.nodes.values() for pod in node.pods]
    wide.withdrawn.add("a-n2")
    try:
        wide.converge()
        groups = wide.nodes["a-n3"].machine.run("ip nexthop show", "s-000001")
        silent = [(a.name, b.name) for a in pods for b in pods if a is not b and not a.ping(b.address(4), tries=3)]
    finally:
        wide.withdrawn.clear()
        wide.converge()

    assert silent == []
    assert [line.count("/") for line in groups.splitlines() if "group" in line] == [1, 1]


def test_a_fixed_address_outside_its_nodes_block_is_reached_from_everywhere(wide):
    """A pod keeps its address on another node: the cluster's nodes get a host route, other clusters need nothing."""
    pod = next(pod for pod in wide.nodes["a-n3"].pods)
    stray = next(pod for pod in wide.nodes["b-n3"].pods)
    wanted = wide.add_pod("stray", "b-n1", "red", addresses=tuple(a + 7 for a in stray.addresses))
    wide.host_routes = [(address, "b-n1") for address in wanted.addresses]
    try:
        wide.converge()
        reached = [pod.ping(address) for address in wanted.addresses]
        near = [stray.ping(address) for address in wanted.addresses]
    finally:
        wide.host_routes = []
        wanted.node.pods.remove(wanted)
        wide.converge()

    assert reached == [True, True]
    assert near == [True, True]


def test_a_rotated_key_reaches_the_other_side(wide):
    """A gateway with a new key is known by it after one reconcile of its peers; the old peer is gone."""
    gateway = wide.nodes["b-n1"]
    before = {tunnel.public_key for tunnel in gateway.local.tunnels}
    gateway.machine.run("rm /run/slicer-state/keys/0-*.key")
    wide.converge()
    after = {tunnel.public_key for tunnel in gateway.local.tunnels}
    peers = {c.split(" peer ")[1].split()[0] for c in wide.nodes["a-n1"].outcome.changes if " peer " in c}

    assert not before & after
    assert peers <= before | after
    assert len(peers & after) == len(peers & before) == 1
    one, two = wide.nodes["a-n1"].pods[0], gateway.pods[0]
    for node in wide.nodes.values():
        node.machine("call", "retry_handshakes")
    assert one.ping(two.address(4), tries=30, wait=0.5)
