"""What members of two clusters report, and the state in which most tests begin."""

from __future__ import annotations

import ipaddress

from slicer.model.attachments import Attachment, AttachmentState, Endpoint, EndpointSet, PathHealth
from slicer.model.clusters import Gateway, Node
from slicer.model.documents import Document
from tests.unit.cli.hub import Hub, Member

RED = ("create-slice", "red", "--prefix", "10.100.0.0/16")


def node(cluster: str) -> Node:
    """The only node of a cluster."""
    return Node(
        cluster=cluster,
        name=f"{cluster}-n1",
        addresses=(ipaddress.ip_address("198.18.1.11"),),
        vtep_mac="02:00:00:00:00:01",
        wireguard="wireguard-go",
    )


def path(cluster: str, remote: str) -> PathHealth:
    """Packets passed."""
    return PathHealth(slice="red", cluster=cluster, node=f"{cluster}-n1", remote_cluster=remote, up=True, rtt_us=430)


def pod(cluster: str, name: str, address: str, **changes: object) -> Attachment:
    """An attached pod of namespace shop."""
    values: dict[str, object] = {
        "container_id": f"id-{name}",
        "interface": "net1",
        "slice": "red",
        "cluster": cluster,
        "node": f"{cluster}-n1",
        "namespace": "shop",
        "pod": name,
        "netns": "/run/netns/x",
        "addresses": (ipaddress.ip_address(address),),
        "mac": "02:00:0a:64:00:05",
        "host_interface": "p00000001",
        "mtu": 1420,
        "state": AttachmentState.ATTACHED,
    }
    return Attachment(**{**values, **changes})


def gateway(cluster: str) -> Gateway:
    """The cluster's gateway of the first tunnel set."""
    return Gateway(cluster=cluster, tunnel_set=0, slot=0, node=f"{cluster}-n1")


def healthy(cluster: str, remote: str, *more: Document) -> tuple[Document, ...]:
    """What a member reports when all is well."""
    return (node(cluster), gateway(cluster), path(cluster, remote), *more)


def two_clusters(hub: Hub) -> tuple[Member, Member]:
    """Clusters a and b have joined and reported, slice red spans both, shop/client and shop/web are on it."""
    a, b = hub.join("a"), hub.join("b")
    hub.good(*RED)
    a.report(*healthy("a", "b", pod("a", "client", "10.100.0.5")))
    web = EndpointSet(
        slice="red",
        namespace="shop",
        name="web",
        cluster="b",
        endpoints=(Endpoint(pod="web", node="b-n1", addresses=(ipaddress.ip_address("10.100.16.5"),)),),
    )
    b.report(*healthy("b", "a", pod("b", "web", "10.100.16.5"), web))
    return a, b
