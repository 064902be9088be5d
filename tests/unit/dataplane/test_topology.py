"""Topologies: for any of them a node has ways to exactly the clusters that its slices link with its own, and no others.

Four clusters, each with two gateways and a node that is none; slices red and blue share tunnel set 0, so that a pair
of clusters may be linked by one, by both, or by none of them. Every node is planned from everything there is, and from
its own view of it.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from slicer.model.clusters import Cluster, ClusterBlocks, Gateway, Node, NodeBlocks, TunnelEndpoint
from slicer.model.documents import key_of
from slicer.model.slices import Slice, SliceState
from slicer.model.topology import ClusterLink, SliceTopology
from slicer.plan.dataplane import LocalState, LocalTunnel, plan_node, wanted_tunnels
from slicer.plan.probe_targets import plan_probes
from slicer.plan.probes import plan_targets
from slicer.plan.views import cluster_view, node_view, peers_of

CLUSTERS = ("a", "b", "c", "d")
GATEWAYS, NODES = (1, 2), (1, 2, 3)
PAIRS = tuple(combinations(CLUSTERS, 2))
PREFIXES = {"red": 1, "blue": 2}
TOPOLOGIES = st.none() | st.builds(
    lambda hubs, pairs: SliceTopology(hubs=tuple(hubs), links=tuple(ClusterLink(clusters=pair) for pair in pairs)),
    st.sets(st.sampled_from(CLUSTERS), max_size=2),
    st.sets(st.sampled_from(PAIRS), min_size=1),
)


def obviously_linked(topology, one, other):
    """The same rule once more, by listing all pairs."""
    pairs = {frozenset(pair) for pair in PAIRS}
    if topology is not None:
        stars = {pair for pair in pairs if pair & set(topology.hubs)}
        pairs = stars | {frozenset(link.clusters) for link in topology.links}
    return frozenset((one, other)) in pairs


def block(name, cluster):
    return ipaddress.ip_network(f"10.{PREFIXES[name]}.{64 * CLUSTERS.index(cluster)}.0/18")


def address(cluster, number):
    return ipaddress.ip_address(f"198.18.{CLUSTERS.index(cluster)}.{number}")


def key(*parts):
    return base64.b64encode(hashlib.sha256(repr(parts).encode()).digest()).decode()


def tunnels(cluster, number, type_, **fields):
    """A device for each slot of the others, whether one is needed or not."""
    return tuple(
        type_(tunnel_set=0, index=slot, public_key=key(cluster, number, slot), port=51820 + slot, **fields)
        for slot in range(len(GATEWAYS))
    )


def everything(topologies):
    """All documents of the four clusters, with these topologies of the slices."""
    values = [Cluster(name=cluster) for cluster in CLUSTERS]
    for name, topology in topologies.items():
        prefix = ipaddress.ip_network(f"10.{PREFIXES[name]}.0.0/16")
        spec = Slice(name=name, prefixes=(prefix,), topology=topology)
        values.append(SliceState(spec=spec, vni=PREFIXES[name], tunnel_set=0))
        for cluster in CLUSTERS:
            values.append(ClusterBlocks(slice=name, cluster=cluster, blocks=(block(name, cluster),)))
            parts = list(block(name, cluster).subnets(new_prefix=26))
            values += [
                NodeBlocks(slice=name, cluster=cluster, node=f"{cluster}-n{n}", blocks=(parts[n],)) for n in NODES
            ]
    for cluster, n in product(CLUSTERS, NODES):
        mac = f"02:00:00:00:0{CLUSTERS.index(cluster)}:0{n}"
        values.append(Node(cluster=cluster, name=f"{cluster}-n{n}", addresses=(address(cluster, n),), vtep_mac=mac))
    for cluster, n in product(CLUSTERS, GATEWAYS):
        values.append(
            Gateway(
                cluster=cluster,
                tunnel_set=0,
                slot=n - 1,
                node=f"{cluster}-n{n}",
                addresses=(address(cluster, n),),
                tunnels=tunnels(cluster, n, TunnelEndpoint),
            )
        )
    return {key_of(value): value for value in values}


def local(cluster, n):
    return LocalState(
        cluster=cluster,
        node=f"{cluster}-n{n}",
        addresses=(address(cluster, n),),
        vtep_mac=f"02:00:00:00:0{CLUSTERS.index(cluster)}:0{n}",
        tunnels=tunnels(cluster, n, LocalTunnel) if n in GATEWAYS else (),
    )


def far_blocks(plan, ns, cluster):
    """The clusters' blocks that routes of the namespace lead to, without the own one's."""
    all_blocks = {block(name, other) for name in PREFIXES for other in CLUSTERS if other != cluster}
    return {route.dst for route in plan.routes if route.ns == ns} & all_blocks


def linked_blocks(topologies, names, cluster):
    return {
        block(name, other) for name in names for other in CLUSTERS if obviously_linked(topologies[name], cluster, other)
    }


SLICES = st.fixed_dictionaries({"red": TOPOLOGIES, "blue": TOPOLOGIES})


@settings(max_examples=25)
@given(SLICES)
def test_routes_lead_to_linked_clusters_and_to_no_others(topologies):
    """In each slice's namespace on every node, and in the tunnels' on gateways; no nexthop group without a route."""
    view = everything(topologies)
    for cluster, n in product(CLUSTERS, NODES):
        plan = plan_node(view, local(cluster, n))
        for name, number in PREFIXES.items():
            wanted = linked_blocks(topologies, [name], cluster)
            assert far_blocks(plan, f"s-{number:06x}", cluster) == wanted, (cluster, n, name)
        if n in GATEWAYS:
            assert far_blocks(plan, "t-00", cluster) == linked_blocks(topologies, PREFIXES, cluster)
        used = {(route.ns, route.nexthop) for route in plan.routes if route.nexthop}
        # A gateway's own groups stand by in its slices' namespaces.
        assert {(group.ns, group.id) for group in plan.groups if n == 3 or group.ns == "t-00"} <= used


@settings(max_examples=25)
@given(SLICES)
def test_peers_allow_what_some_slice_links_and_nothing_else(topologies):
    """A source in the block of a slice that does not link the two is refused by WireGuard itself, at both ends."""
    view = everything(topologies)
    talks = set()
    for cluster, n in product(CLUSTERS, GATEWAYS):
        plan = plan_node(view, local(cluster, n))
        by_key = {key(c, m, n - 1): (c, m) for c, m in product(CLUSTERS, GATEWAYS)}
        for peer in plan.wg_peers:
            other, m = by_key[peer.public_key]
            talks.add(((cluster, n), (other, m)))
            allowed = {prefix for prefix in peer.allowed_ips if prefix.version == 4}
            linking = [name for name in PREFIXES if obviously_linked(topologies[name], cluster, other)]
            assert allowed == {block(name, other) for name in linking}
            assert allowed, "a tunnel that no slice needs"
    assert talks == {(other, one) for one, other in talks}
    assert {(one[0], other[0]) for one, other in talks} == {
        ways
        for pair in PAIRS
        if any(obviously_linked(topologies[name], *pair) for name in PREFIXES)
        for ways in (pair, pair[::-1])
    }


@settings(max_examples=25)
@given(SLICES)
def test_a_nodes_view_has_what_its_plan_needs_and_no_gateway_more(topologies):
    """Planned from its view the node is the same; gateways, probes and devices are those of linked clusters only."""
    whole = everything(topologies)
    for cluster in CLUSTERS:
        view = node_view(cluster_view(whole, cluster) | {k: v for k, v in whole.items() if of(v, cluster)}, cluster)
        linked = {c for c in CLUSTERS if any(obviously_linked(t, cluster, c) for t in topologies.values())}
        assert {v.cluster for v in view.values() if isinstance(v, Gateway)} == linked | {cluster}
        for n in NODES:
            node = local(cluster, n)
            assert plan_node(view, node) == plan_node(whole, node)
            assert {number for _, number in plan_probes(view, node).remotes} == linked
            asked = {(target.slice, target.remote_cluster) for target in plan_targets(whole, cluster, node.node)}
            assert asked == {
                (name, c) for name in PREFIXES for c in CLUSTERS if obviously_linked(topologies[name], cluster, c)
            }
            slots = {0, 1} if linked and n in GATEWAYS else set()
            assert wanted_tunnels(whole, cluster, node.node) == {(0, slot, 0, 0) for slot in slots}


def of(value, cluster):
    """Whether it is the cluster's own report."""
    return isinstance(value, Node | NodeBlocks | Gateway) and value.cluster == cluster


@settings(max_examples=25)
@given(SLICES)
def test_gateways_wait_for_those_that_they_talk_to(topologies):
    """A drain or a rotation asks nobody who has no tunnel to the gateway."""
    for gateway, peers in peers_of(0, everything(topologies)):
        linked = {c for c in CLUSTERS if any(obviously_linked(t, gateway.cluster, c) for t in topologies.values())}
        assert {peer.cluster for peer in peers} == linked
        assert len(peers) == len(linked) * len(GATEWAYS)
