"""Every kind of document has a key, and its key leads back to its kind."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address, ip_network

import pytest

from slicer.model import documents as docs
from slicer.model.attachments import (
    AddressDemand,
    AddressGrant,
    AddressWish,
    AddressYield,
    Attachment,
    EndpointSet,
    LostCluster,
    PathHealth,
    Ping,
    PingResult,
    TunnelHealth,
)
from slicer.model.clusters import (
    Cluster,
    ClusterBlocks,
    Drain,
    Gateway,
    MeshSilence,
    Node,
    NodeBlocks,
    Resolvers,
    Rotation,
    RotationState,
)
from slicer.model.errors import InvalidError
from slicer.model.slices import Export, Membership, Slice, SliceState

NET = (ip_network("10.10.0.0/16"),)
EXAMPLES = {
    "slice/red": SliceState(spec=Slice(name="red", prefixes=NET), vni=1, tunnel_set=0),
    "cluster/a": Cluster(name="a"),
    "block/red/a": ClusterBlocks(slice="red", cluster="a", blocks=NET),
    "membership/m.1": Membership(name="m.1", slice="red", cluster="a", namespace="ns"),
    "export/red/ns/web": Export(slice="red", namespace="ns", name="web", selector=(("app", "web"),)),
    "ping/p1": Ping(id="p1", cluster="a", namespace="ns", pod="x", slice="red", target="10.10.0.1"),
    "drain/a/n1": Drain(cluster="a", node="n1"),
    "rotation/0/3": RotationState(spec=Rotation(tunnel_set=0, generation=3), started_at_s=1),
    "nodeblock/red/a/n1": NodeBlocks(slice="red", cluster="a", node="n1", blocks=NET),
    "gateway/a/0/1": Gateway(cluster="a", tunnel_set=0, slot=1, node="n1"),
    "endpoints/red/ns/web/a": EndpointSet(slice="red", namespace="ns", name="web", cluster="a"),
    "node/a/n1": Node(cluster="a", name="n1", addresses=(ip_address("192.0.2.1"),), vtep_mac="02:00:00:00:00:01"),
    "attachment/a/n1/c1/net1": Attachment(
        container_id="c1",
        interface="net1",
        slice="red",
        cluster="a",
        node="n1",
        namespace="ns",
        pod="x",
        netns="/run/netns/x",
        addresses=(),
        mac="02:00:00:00:00:02",
        host_interface="p1",
        mtu=1420,
    ),
    "path/red/a/n1/b": PathHealth(slice="red", cluster="a", node="n1", remote_cluster="b", up=True),
    "tunnel/a/n1/0/1/b": TunnelHealth(
        cluster="a", node="n1", tunnel_set=0, index=1, remote_cluster="b", remote_node="n9"
    ),
    "lost/a/n1/0/b": LostCluster(cluster="a", node="n1", tunnel_set=0, remote_cluster="b"),
    "silence/a/n1": MeshSilence(cluster="a", node="n1", silent=("n2",)),
    "demand/red/a/-/4": AddressDemand(slice="red", cluster="a", version=4, blocks_held=1),
    "wish/red/a/-/ns/x": AddressWish(slice="red", cluster="a", namespace="ns", pod="x", addresses=()),
    "grant/red/a/ns/x": AddressGrant(slice="red", cluster="a", namespace="ns", pod="x", addresses=()),
    "resolvers/a": Resolvers(cluster="a", addresses=(ip_address("192.0.2.53"),)),
    "yield/red/a/n1": AddressYield(slice="red", cluster="a", node="n1", addresses=()),
    "pingresult/a/p1": PingResult(id="p1", cluster="a", node="n1", sent=3, received=3),
}


def test_every_kind_has_an_example_here():
    """A new kind of document needs a key, and a line in this table."""
    assert {key.partition("/")[0] for key in EXAMPLES} == set(docs.KINDS)


@pytest.mark.parametrize("key", EXAMPLES)
def test_a_value_leads_to_its_key_and_the_key_to_its_type(key):
    """key_of and kind_of are each other's inverse, as far as types go."""
    value = EXAMPLES[key]

    assert docs.key_of(value) == key
    assert docs.kind_of(key) is type(value)


def test_an_unknown_kind_is_refused_by_name():
    """A key of a kind that nobody knows names the kind."""
    with pytest.raises(InvalidError, match="'colour'"):
        docs.kind_of("colour/red")


def test_values_of_a_kind_come_in_the_order_of_their_keys():
    """of_kind sorts by key, whatever the order of the mapping."""
    nodes = {f"cluster/{name}": Cluster(name=name) for name in ("b", "c", "a")}

    assert [cluster.name for cluster in docs.of_kind(nodes, Cluster)] == ["a", "b", "c"]


@pytest.mark.parametrize("value", EXAMPLES.values(), ids=EXAMPLES)
def test_documents_are_frozen_and_hashable(value):
    """Values can be put in sets and compared; nobody changes one in place."""
    name = fields(value)[0].name

    assert hash(value) == hash(value)
    with pytest.raises(AttributeError):
        setattr(value, name, None)
