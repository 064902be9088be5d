"""What a lab consists of, and the network it builds (slicer.lab.layout, slicer.lab.wiring)."""

from __future__ import annotations

import pytest

from slicer.lab import wiring
from slicer.lab.layout import Layout, port_of
from slicer.model.errors import InvalidError


def layout(name="lab", clusters=("a", "b"), nodes=2):
    return Layout(name=name, clusters=clusters, nodes=nodes)


def test_a_lab_has_the_internet_a_hub_and_per_cluster_a_control_plane_and_nodes():
    """machines() lists them in the order of their start, with the addresses of ARCHITECTURE.md."""
    assert [(m.name, *map(str, m.addresses)) for m in layout().machines()] == [
        ("internet", "198.18.0.1", "fd00:198:18::1"),
        ("hub", "198.18.0.10", "fd00:198:18::10"),
        ("a-cp", "198.18.1.10", "fd00:198:18:1::10"),
        ("a-n1", "198.18.1.11", "fd00:198:18:1::11"),
        ("a-n2", "198.18.1.12", "fd00:198:18:1::12"),
        ("b-cp", "198.18.2.10", "fd00:198:18:2::10"),
        ("b-n1", "198.18.2.11", "fd00:198:18:2::11"),
        ("b-n2", "198.18.2.12", "fd00:198:18:2::12"),
    ]


def test_every_machine_of_the_largest_lab_has_addresses_and_a_port_of_its_own():
    """No two machines share an underlay address or a port on the bridge, and no port's name is too long."""
    machines = layout(clusters=tuple(f"cluster-with-a-long-name-{i}" for i in range(9)), nodes=89).machines()

    assert len(machines) == len({a for m in machines for a in m.addresses}) // 2
    assert len(machines) == len({port_of(m) for m in machines})
    assert max(len(port_of(m)) for m in machines) <= 15


def test_the_pods_of_all_clusters_have_the_same_ranges():
    """Overlapping pod ranges are the case that a lab shows."""
    lab = layout()

    assert [m.pod_cidr for m in lab.nodes_of("a")] == [m.pod_cidr for m in lab.nodes_of("b")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "No"}, "lab name 'No'"),
        ({"name": "x" * 21}, "longer than 20"),
        ({"clusters": ()}, "number of clusters 0"),
        ({"clusters": tuple("abcdefghij")}, "number of clusters 10"),
        ({"clusters": ("a", "a")}, "stands twice"),
        ({"clusters": ("hub",)}, "'hub' is the name of a machine"),
        ({"clusters": ("A",)}, "cluster name 'A'"),
        ({"nodes": 0}, "number of nodes 0"),
    ],
)
def test_a_lab_that_cannot_be_is_refused(wrong, message):
    """Layout names what is wrong."""
    with pytest.raises(InvalidError) as refused:
        layout(**wrong)

    assert message in refused.value.message


def test_the_internet_is_a_bridge_with_one_cable_a_machine():
    """render_internet() is text that `ip -batch` runs."""
    internet, hub, *_ = layout(clusters=("a",), nodes=1).machines()

    assert (
        wiring.render_internet(internet, {hub: 77})
        == """link set lo up
link add br0 type bridge
address add 198.18.0.1/16 dev br0
address add fd00:198:18::1/48 dev br0 nodad
link set br0 up
link add p0.10 type veth peer name eth0 netns 77
link set p0.10 master br0 up
"""
    )


def test_a_node_reaches_the_pods_of_its_own_cluster_only():
    """render_machine() routes the pod ranges of the same cluster's other nodes, and there is no default route."""
    lab = layout()

    assert (
        wiring.render_machine(lab, lab.machine("a-n1"))
        == """link set lo up
address add 198.18.1.11/16 dev eth0
address add fd00:198:18:1::11/48 dev eth0 nodad
link set eth0 up
link add cni0 type bridge
address add 10.244.1.1/24 dev cni0
link set cni0 up
route add 10.244.2.0/24 via 198.18.1.12
"""
    )


def test_an_unknown_machine_is_refused_with_those_that_there_are():
    """machine() lists the names."""
    with pytest.raises(InvalidError, match="no machine 'a-n3'; it has internet, hub, a-cp, a-n1, a-n2"):
        layout().machine("a-n3")
