"""A cluster of three nodes with a slice, for the tests of addresses that belong to pods."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from slicer.model.attachments import AddressGrant, AddressWish, AddressYield, Attachment, AttachmentState
from slicer.model.clusters import ClusterBlocks, NodeBlocks
from slicer.model.documents import Document, key_of
from slicer.model.slices import Slice, SliceState
from slicer.plan.attach import Situation, Wish, plan_attachment
from slicer.plan.granted import read_grants
from slicer.plan.grants import STATEFUL_LABEL

ip, net = ipaddress.ip_address, ipaddress.ip_network
CLUSTER_BLOCK = net("10.22.4.0/24")
BLOCKS = {"n1": net("10.22.4.0/29"), "n2": net("10.22.4.8/29"), "n3": net("10.22.4.16/29")}
NODES = tuple(NodeBlocks(slice="red", cluster="a", node=node, blocks=(block,)) for node, block in BLOCKS.items())
FREE = "10.22.4.200"
"""In the cluster's block, and in no node's."""


def attachment(pod: str, node: str, *addresses: str, stateful: bool = False, **changes: Any) -> Attachment:
    """A pod of namespace shop that runs."""
    values: dict[str, Any] = {
        "container_id": f"c-{pod}-{node}",
        "interface": "net1",
        "slice": "red",
        "cluster": "a",
        "node": node,
        "namespace": "shop",
        "pod": pod,
        "labels": ((STATEFUL_LABEL, pod),) if stateful else (),
        "netns": f"/n/{pod}",
        "addresses": tuple(map(ip, addresses)),
        "mac": "02:00:00:00:00:01",
        "host_interface": "p00000001",
        "mtu": 1420,
        "state": AttachmentState.ATTACHED,
    }
    return Attachment(**{**values, **changes})


def wish(pod: str, *addresses: str, node: str = "n2") -> AddressWish:
    """Node n2 asks for a pod."""
    return AddressWish(
        slice="red", cluster="a", node=node, namespace="shop", pod=pod, addresses=tuple(map(ip, addresses))
    )


def grant(pod: str, *addresses: str, **changes: Any) -> AddressGrant:
    """A grant that is ready."""
    values: dict[str, Any] = {"slice": "red", "cluster": "a", "namespace": "shop", "pod": pod, "ready": True}
    return AddressGrant(**{**values, "addresses": tuple(map(ip, addresses)), **changes})


def yielded(node: str, *addresses: str) -> AddressYield:
    """What a node has promised."""
    return AddressYield(slice="red", cluster="a", node=node, addresses=tuple(map(ip, addresses)))


def situation(
    node: str, *documents: Document, attachments: tuple[Attachment, ...] = (), resting: Any = ()
) -> Situation:
    """A node that knows the slice, all blocks and `documents`."""
    red = SliceState(spec=Slice(name="red", prefixes=(net("10.22.0.0/16"),)), vni=1, tunnel_set=0)
    blocks = [
        ClusterBlocks(slice="red", cluster="a", blocks=(CLUSTER_BLOCK,)),
        ClusterBlocks(slice="red", cluster="b", blocks=(net("10.22.8.0/24"),)),
    ]
    view = {key_of(document): document for document in (red, *blocks, *NODES, *documents)}
    return Situation(
        cluster="a",
        node=node,
        view=view,
        attachments=attachments,
        resting={"red": resting},
        grants=read_grants(view, "a"),
    )


def start(where: Situation, pod: str, *addresses: str, container: str = "") -> Attachment:
    """The attachment of a pod that starts, attached."""
    asked = Wish(
        container_id=container or f"c-{pod}-{where.node}",
        interface="net1",
        slice="red",
        netns="/n",
        namespace="shop",
        pod=pod,
        addresses=tuple(map(ip, addresses)),
    )
    made = plan_attachment(asked, where, mac="02:00:00:00:00:01", host_interface="p00000001")
    return replace(made, state=AttachmentState.ATTACHED)
