"""Values are checked when they are made; a value that exists is right."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from slicer.model.clusters import Cluster, NodeBlocks
from slicer.model.errors import InvalidError
from slicer.model.slices import Bandwidth, Export, MemberKind, Membership, QosProfile, ServicePort, Slice

V4, V6 = ip_network("10.10.0.0/16"), ip_network("fd00:10::/64")


def test_a_slice_sorts_its_clusters_and_namespaces():
    """The order in which clusters were named does not make another slice."""
    one = Slice(name="red", prefixes=(V4,), clusters=("b", "a", "b"), namespaces=("y", "x"))

    assert one == Slice(name="red", prefixes=(V4,), clusters=("a", "b"), namespaces=("x", "y"))


@pytest.mark.parametrize(
    "prefixes",
    [(), (V4, ip_network("10.20.0.0/16")), (V6, V6), (V4, V6, V4)],
    ids=["none", "two v4", "two v6", "three"],
)
def test_a_slice_has_at_most_one_prefix_a_family(prefixes):
    """No prefix, or two of one family, is refused."""
    with pytest.raises(InvalidError, match="give one IPv4 prefix, one IPv6 prefix, or one of each"):
        Slice(name="red", prefixes=prefixes)


@pytest.mark.parametrize("text", ["224.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "ff00::/8", "fe80::/64"])
def test_a_slice_prefix_is_unicast_and_routable(text):
    """Multicast, loopback and link-local prefixes are refused by name."""
    with pytest.raises(InvalidError, match=text):
        Slice(name="red", prefixes=(ip_network(text),))


def test_a_guarantee_above_its_ceiling_is_refused():
    """The message shows both numbers."""
    with pytest.raises(InvalidError, match="guarantee_bps 20000000 is above ceiling_bps 10000000"):
        QosProfile(guarantee_bps=20_000_000, ceiling_bps=10_000_000)


@pytest.mark.parametrize(
    "wrong",
    [{"guarantee_bps": 0}, {"ceiling_bps": -1}, {"priority": 8}, {"dscp": 64}, {"ceiling_bps": 10**12}],
    ids=str,
)
def test_qos_numbers_have_ranges(wrong):
    """A number outside its range is refused with the name of its field."""
    with pytest.raises(InvalidError, match=next(iter(wrong))):
        QosProfile(**wrong)


def test_bandwidth_below_a_byte_a_millisecond_is_refused():
    """Rates that HTB cannot hold are refused."""
    with pytest.raises(InvalidError, match="egress rate 7"):
        Bandwidth(egress_bps=7)
    with pytest.raises(InvalidError, match="egress burst 9000 is given without a rate"):
        Bandwidth(egress_burst_bits=9000)
    with pytest.raises(InvalidError, match="ingress burst"):
        Bandwidth(ingress_bps=9000, ingress_burst_bits=0)


def test_a_hardware_address_is_one_pods():
    """Written in any case, kept in lower case; refused for a namespace or for labels."""
    where = {"name": "m", "slice": "red", "cluster": "a", "namespace": "ns", "mac": "02:00:0A:16:00:05"}

    assert Membership(**where, pod="web-0").mac == "02:00:0a:16:00:05"
    for whom in ({}, {"labels": (("app", "web"),)}):
        with pytest.raises(InvalidError, match="wishes a MAC address; that needs one pod"):
            Membership(**where, **whom)


def test_a_membership_matches_in_exactly_one_way():
    """Pod, labels or namespace: each membership has one kind, and pod with labels is refused."""
    where = {"name": "m", "slice": "red", "cluster": "a", "namespace": "ns"}
    kinds = [
        Membership(**where, pod="web-0").kind,
        Membership(**where, labels=(("app", "web"),)).kind,
        Membership(**where).kind,
    ]

    assert kinds == [MemberKind.POD, MemberKind.LABELS, MemberKind.NAMESPACE]
    with pytest.raises(InvalidError, match="both a pod and labels"):
        Membership(**where, pod="web-0", labels=(("app", "web"),))


def test_wished_addresses_need_one_pod():
    """One address cannot be given to a namespace full of pods."""
    with pytest.raises(InvalidError, match="needs one pod"):
        Membership(name="m", slice="red", cluster="a", namespace="ns", addresses=(ip_address("10.10.0.9"),))


def test_an_export_without_selector_is_refused():
    """An empty selector would select nothing, or everything; neither is meant."""
    with pytest.raises(InvalidError, match="ns/web has an empty selector"):
        Export(slice="red", namespace="ns", name="web", selector=())


def test_port_names_of_an_export_are_unique():
    """SRV records are found by port name, so two ports may not share one."""
    port = ServicePort(name="http", port=80)
    with pytest.raises(InvalidError, match="not unique"):
        Export(slice="red", namespace="ns", name="web", selector=(("app", "web"),), ports=(port, port))


def test_cluster_cidrs_are_sorted_by_family_and_address():
    """Mixed families sort without comparing IPv4 with IPv6."""
    cluster = Cluster(name="a", cidrs=(V6, ip_network("10.96.0.0/12"), V4))

    assert cluster.cidrs == (V4, ip_network("10.96.0.0/12"), V6)


def test_the_router_address_is_the_first_host_of_the_first_block_of_each_family():
    """One router address a family, IPv4 first; later blocks do not change it."""
    blocks = (ip_network("10.10.1.0/26"), V6, ip_network("10.10.0.0/26"))
    held = NodeBlocks(slice="red", cluster="a", node="n1", blocks=blocks)

    assert held.router_addresses() == (ip_address("10.10.1.1"), ip_address("fd00:10::1"))
