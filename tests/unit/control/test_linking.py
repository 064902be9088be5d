"""What a slice has to do with, of what belongs to no slice."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from slicer.model.attachments import TunnelHealth
from slicer.model.clusters import Gateway, Node
from slicer.model.slices import Slice, SliceState
from slicer.model.topology import ClusterLink, SliceTopology
from slicer.plan.history import way_of
from slicer.plan.linking import is_of_slice

STAR = Slice(
    name="star",
    prefixes=(ipaddress.ip_network("10.7.0.0/16"),),
    clusters=("a", "b", "c"),
    topology=SliceTopology(links=(ClusterLink(clusters=("a", "b")), ClusterLink(clusters=("a", "c")))),
)
STATE = SliceState(spec=STAR, vni=1, tunnel_set=3)


def tunnel(cluster: str, remote: str, tunnel_set: int = 3) -> TunnelHealth:
    """A tunnel between gateways n1."""
    return TunnelHealth(
        cluster=cluster, node="n1", tunnel_set=tunnel_set, index=0, remote_cluster=remote, remote_node="n1"
    )


def test_nodes_are_those_of_its_clusters() -> None:
    """Whether or not a pod of the slice runs there yet."""
    node = Node(cluster="a", name="n1", addresses=(), vtep_mac="02:00:00:00:00:01")

    assert is_of_slice(node, STATE)
    assert not is_of_slice(replace(node, cluster="d"), STATE)


@pytest.mark.parametrize(("cluster", "tunnel_set", "expected"), [("a", 3, True), ("a", 0, False), ("d", 3, False)])
def test_gateways_are_those_of_its_tunnel_set_and_clusters(cluster: str, tunnel_set: int, expected: bool) -> None:
    """Another cluster's gateways serve other slices in the same set."""
    assert is_of_slice(Gateway(cluster=cluster, tunnel_set=tunnel_set, slot=0, node="n1"), STATE) == expected


def test_tunnels_are_those_by_which_its_packets_may_go() -> None:
    """One between two clusters that it does not link is another slice's, in the same set or not."""
    assert is_of_slice(tunnel("a", "b"), STATE)
    assert is_of_slice(tunnel("c", "a"), STATE)
    assert not is_of_slice(tunnel("b", "c"), STATE)
    assert not is_of_slice(tunnel("a", "d"), STATE)
    assert not is_of_slice(tunnel("a", "b", tunnel_set=0), STATE)


def test_a_tunnels_past_is_of_the_slices_of_the_tunnel() -> None:
    """A way between two clusters is judged as a tunnel between them."""
    for one in (tunnel("a", "b"), tunnel("b", "c"), tunnel("a", "b", tunnel_set=0)):
        assert is_of_slice(way_of(one), STATE) == is_of_slice(one, STATE)
