"""Who sees what: the table of views in ARCHITECTURE.md, row by row."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from slicer.model.attachments import Attachment, AttachmentState, EndpointSet, LostCluster, Ping
from slicer.model.clusters import Cluster, ClusterBlocks, Gateway, Node, NodeBlocks, Resolvers
from slicer.model.documents import Document, key_of
from slicer.model.slices import Export, Membership, Slice, SliceState
from slicer.model.topology import SliceTopology
from slicer.plan.views import cluster_view, clusters_of, node_view, plan_endpoints, zone_view

net = ipaddress.ip_network
RED, BLUE, ALL = (("a", "b"), ("b", "c"), ())


def attachment(cluster: str, pod: str, **fields: Any) -> Attachment:
    """An attached pod of slice red."""
    values = {"slice": "red", "namespace": "shop", "labels": (("app", "web"), ("v", "1")), "node": "n1"} | fields
    return Attachment(
        **({"state": AttachmentState.ATTACHED} | values),
        container_id=f"c-{pod}",
        interface="net1",
        cluster=cluster,
        pod=pod,
        netns="",
        addresses=(ipaddress.ip_address("10.7.0.9"),),
        mac="02:00:00:00:00:02",
        host_interface="p",
        mtu=1420,
    )


def state(name: str, clusters: tuple[str, ...], number: int) -> SliceState:
    """A slice in a tunnel set of its own."""
    spec = Slice(name=name, prefixes=(net(f"10.{number}.0.0/16"),), clusters=clusters)
    return SliceState(spec=spec, vni=number, tunnel_set=number)


def everything() -> dict[str, Document]:
    """Clusters a, b, c; slices red (a, b), blue (b, c); one gateway node n1 and one other node n2 in each cluster."""
    documents: list[Document] = [state("red", RED, 0), state("blue", BLUE, 1)]
    for cluster in "abc":
        documents += [
            Cluster(name=cluster),
            Ping(id=f"p{cluster}", cluster=cluster, namespace="x", pod="x", slice="red", target="x"),
        ]
        documents += [Membership(name=f"m{cluster}", slice="red", cluster=cluster, namespace="shop")]
        for node in ("n1", "n2"):
            documents += [Node(cluster=cluster, name=node, addresses=(), vtep_mac="02:00:00:00:00:01")]
    for number, (name, members) in enumerate((("red", RED), ("blue", BLUE))):
        documents += [Export(slice=name, namespace="shop", name="web", selector=(("app", "web"),))]
        for cluster in members:
            documents += [ClusterBlocks(slice=name, cluster=cluster, blocks=())]
            documents += [Gateway(cluster=cluster, tunnel_set=number, slot=0, node="n1")]
            documents += [EndpointSet(slice=name, namespace="shop", name="web", cluster=cluster)]
            documents += [NodeBlocks(slice=name, cluster=cluster, node=node, blocks=()) for node in ("n1", "n2")]
            documents += [attachment(cluster, f"web-{name}", slice=name)]
    return {key_of(value): value for value in documents}


def keys(view: dict[str, Document]) -> dict[str, list[str]]:
    """The keys of a view, by kind."""
    found: dict[str, list[str]] = {}
    for key in sorted(view):
        kind, _, rest = key.partition("/")
        found.setdefault(kind, []).append(rest)
    return found


def test_a_cluster_sees_its_slices_and_nothing_of_others() -> None:
    """Cluster a is in red only: blocks, gateways, endpoints, exports of red, probe targets, and what is its own."""
    assert keys(cluster_view(everything(), "a")) == {
        "block": ["red/a", "red/b"],
        "cluster": ["a"],
        "endpoints": ["red/shop/web/a", "red/shop/web/b"],
        "export": ["red/shop/web"],
        "gateway": ["a/0/0", "b/0/0"],
        "membership": ["ma"],
        "nodeblock": ["red/a/n1", "red/a/n2", "red/b/n1"],
        "ping": ["pa"],
        "slice": ["red"],
    }


def test_a_node_sees_its_own_clusters_nodes_and_remote_gateways() -> None:
    """An agent of a: all node blocks and nodes of a, of b only the gateway's block, no endpoints, no attachments."""
    assert keys(node_view(everything(), "a")) == {
        "block": ["red/a", "red/b"],
        "gateway": ["a/0/0", "b/0/0"],
        "membership": ["ma"],
        "node": ["a/n1", "a/n2"],
        "nodeblock": ["red/a/n1", "red/a/n2", "red/b/n1"],
        "ping": ["pa"],
        "slice": ["red"],
    }


def test_a_name_server_sees_names_and_its_own_clusters_pods() -> None:
    """A DNS server of a: slices, exports, endpoints of all clusters; pods, gateways, lost ones, resolvers of a."""
    more: list[Document] = [Resolvers(cluster=c, addresses=()) for c in ("a", "b")]
    more += [LostCluster(cluster=c, node="n1", tunnel_set=0, remote_cluster="x") for c in ("a", "b")]
    assert keys(zone_view(everything() | {key_of(one): one for one in more}, "a")) == {
        "attachment": ["a/n1/c-web-red/net1"],
        "endpoints": ["red/shop/web/a", "red/shop/web/b"],
        "export": ["red/shop/web"],
        "gateway": ["a/0/0"],
        "lost": ["a/n1/0/x"],
        "resolvers": ["a"],
        "slice": ["red"],
    }


def test_a_spoke_sees_nothing_of_another_spoke_but_its_blocks() -> None:
    """No gateway, no probe target, no endpoint of a cluster that no slice links with it; the hub sees both."""
    documents = everything()
    star = documents["slice/blue"]
    assert isinstance(star, SliceState)
    spec = replace(star.spec, clusters=("a", "b", "c"), topology=SliceTopology(hubs=("c",)))
    documents["slice/blue"] = replace(star, spec=spec)
    documents["gateway/a/1/0"] = Gateway(cluster="a", tunnel_set=1, slot=0, node="n1")
    spoke, hub = keys(cluster_view(documents, "a")), keys(cluster_view(documents, "c"))

    assert spoke["gateway"] == ["a/0/0", "a/1/0", "b/0/0", "c/1/0"]
    assert spoke["block"] == ["blue/b", "blue/c", "red/a", "red/b"]
    assert [key for key in spoke["endpoints"] + spoke["nodeblock"] if key.startswith("blue")] == [
        "blue/shop/web/c",
        "blue/c/n1",
    ]
    assert keys(zone_view(documents, "a"))["endpoints"] == ["blue/shop/web/c", "red/shop/web/a", "red/shop/web/b"]
    assert hub["gateway"] == ["a/1/0", "b/1/0", "c/1/0"]


@pytest.mark.parametrize("cluster", ["a", "b", "c", "nowhere"])
def test_a_view_of_a_view_is_itself(cluster: str) -> None:
    """A member that has only the hub's view serves the same node view as a hub that is a member too."""
    documents = everything()
    hub = cluster_view(documents, cluster)
    own = {key: value for key, value in documents.items() if isinstance(value, Node | Attachment)}

    assert cluster_view(hub, cluster) == hub
    assert node_view(hub | own, cluster) == node_view(documents, cluster)
    assert zone_view(hub | own, cluster) == zone_view(documents, cluster)


def test_a_slice_over_all_clusters_is_everybodys() -> None:
    """Its clusters are those that are known, and where they are not (a member's view) those that hold a block."""
    documents = everything() | {"slice/all": (all_ := state("all", ALL, 2))}

    assert clusters_of(all_, documents) == ("a", "b", "c")
    assert "slice/all" in node_view(documents, "c")
    seen = cluster_view(documents | {"block/all/b": ClusterBlocks(slice="all", cluster="b", blocks=())}, "a")
    assert clusters_of(all_, seen) == ("a", "b")


def test_endpoints_are_the_attached_pods_with_the_labels() -> None:
    """Namespace, slice, every label and the state must fit; sets are sorted and there even when empty."""
    pods = [
        attachment("a", "web-2"),
        attachment("a", "web-1"),
        attachment("a", "db-0", labels=(("app", "db"),)),
        attachment("a", "late", state=AttachmentState.PENDING),
        attachment("a", "other", namespace="bank"),
        attachment("a", "blue", slice="blue"),
        attachment("b", "far"),
    ]
    exports = [
        Export(slice="red", namespace="shop", name="web", selector=(("app", "web"), ("v", "1"))),
        Export(slice="red", namespace="shop", name="none", selector=(("app", "web"), ("v", "2"))),
        Export(slice="red", namespace="shop", name="far", selector=(("app", "web"),), clusters=("b",)),
        Export(slice="blue", namespace="shop", name="web", selector=(("app", "web"),)),
    ]
    documents = {key_of(value): value for value in (*pods, *exports, state("red", RED, 0), state("blue", BLUE, 1))}

    sets = plan_endpoints(documents, "a")

    assert [(s.slice, s.name, [e.pod for e in s.endpoints]) for s in sets] == [
        ("red", "none", []),
        ("red", "web", ["web-1", "web-2"]),
    ]
