"""Keyed documents: the one form in which declared, allocated and reported state is stored, streamed and kept on disk.

A *key* is `kind/part/…`; the kind tells the type of the value (KINDS), the parts identify it. A *view* is the set of
documents that a client is entitled to; a *report* is the set of documents of which a source is the only author.
Nothing here is merged: one key has one author.

| kind | key parts | value | author |
|---|---|---|---|
| slice | slice | SliceState | hub |
| cluster | cluster | Cluster | hub (CIDRs reported by the member) |
| block | slice, cluster | ClusterBlocks | hub |
| membership | name | Membership | hub (user) |
| export | slice, namespace, name | Export | hub (user) |
| ping | id | Ping | hub (user) |
| drain | cluster, node | Drain | hub (user) |
| rotation | set, generation | RotationState | hub |
| nodeblock | slice, cluster, node | NodeBlocks | member |
| gateway | cluster, set, slot | Gateway | member |
| endpoints | slice, namespace, name, cluster | EndpointSet | member |
| node | cluster, node | Node | agent |
| attachment | cluster, node, container, interface | Attachment | agent |
| path | slice, cluster, node, remote cluster | PathHealth | agent |
| tunnel | cluster, node, set, index, remote cluster | TunnelHealth | agent |
| lost | cluster, node, set, remote cluster | LostCluster | agent |
| silence | cluster, node | MeshSilence | agent |
| demand | slice, cluster, node or `-`, version | AddressDemand | agent, member |
| wish | slice, cluster, node or `-`, namespace, pod | AddressWish | agent, member |
| grant | slice, cluster, namespace, pod | AddressGrant | member |
| resolvers | cluster | Resolvers | member |
| yield | slice, cluster, node | AddressYield | agent |
| pingresult | cluster, id | PingResult | agent |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

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
    RotationState,
)
from slicer.model.errors import InvalidError
from slicer.model.slices import Export, Membership, SliceState

T = TypeVar("T")
Document = (
    SliceState
    | Cluster
    | ClusterBlocks
    | Membership
    | Export
    | Ping
    | Drain
    | RotationState
    | NodeBlocks
    | Gateway
    | EndpointSet
    | Node
    | Attachment
    | PathHealth
    | TunnelHealth
    | LostCluster
    | MeshSilence
    | AddressDemand
    | AddressWish
    | AddressGrant
    | Resolvers
    | AddressYield
    | PingResult
)
Documents = Mapping[str, Document]
"""A view or a report: key → value."""

KINDS: Mapping[str, type[Document]] = {
    "slice": SliceState,
    "cluster": Cluster,
    "block": ClusterBlocks,
    "membership": Membership,
    "export": Export,
    "ping": Ping,
    "drain": Drain,
    "rotation": RotationState,
    "nodeblock": NodeBlocks,
    "gateway": Gateway,
    "endpoints": EndpointSet,
    "node": Node,
    "attachment": Attachment,
    "path": PathHealth,
    "tunnel": TunnelHealth,
    "lost": LostCluster,
    "silence": MeshSilence,
    "demand": AddressDemand,
    "wish": AddressWish,
    "grant": AddressGrant,
    "resolvers": Resolvers,
    "yield": AddressYield,
    "pingresult": PingResult,
}


def key_of(value: Document) -> str:
    """The key under which `value` is stored and streamed; see the table above."""
    return "/".join((_KIND_OF[type(value)], *map(str, _parts(value))))


def kind_of(key: str) -> type[Document]:
    """The type of the values under `key`; InvalidError for a kind that nobody knows."""
    kind = key.partition("/")[0]
    if kind not in KINDS:
        raise InvalidError(f"document key {key!r} has the unknown kind {kind!r}")
    return KINDS[kind]


def of_kind(documents: Documents, kind: type[T]) -> list[T]:
    """All values of one type, in the order of their keys."""
    found = {key: value for key, value in documents.items() if isinstance(value, kind)}
    return [found[key] for key in sorted(found)]


def _parts(value: Document) -> tuple[object, ...]:
    match value:
        case SliceState(spec=spec):
            return (spec.name,)
        case Cluster(name=name) | Membership(name=name) | Resolvers(cluster=name):
            return (name,)
        case ClusterBlocks():
            return (value.slice, value.cluster)
        case Export():
            return (value.slice, value.namespace, value.name)
        case Ping():
            return (value.id,)
        case Drain() | MeshSilence():
            return (value.cluster, value.node)
        case RotationState(spec=rotation):
            return (rotation.tunnel_set, rotation.generation)
        case NodeBlocks() | AddressYield():
            return (value.slice, value.cluster, value.node)
        case Gateway():
            return (value.cluster, value.tunnel_set, value.slot)
        case EndpointSet():
            return (value.slice, value.namespace, value.name, value.cluster)
        case Node():
            return (value.cluster, value.name)
        case Attachment():
            return (value.cluster, value.node, value.container_id, value.interface)
        case PathHealth():
            return (value.slice, value.cluster, value.node, value.remote_cluster)
        case TunnelHealth():
            return (value.cluster, value.node, value.tunnel_set, _device(value), value.remote_cluster)
        case LostCluster():
            return (value.cluster, value.node, value.tunnel_set, value.remote_cluster)
        case AddressDemand():
            return (value.slice, value.cluster, value.node or "-", value.version)
        case AddressWish():
            return (value.slice, value.cluster, value.node or "-", value.namespace, value.pod)
        case AddressGrant():
            return (value.slice, value.cluster, value.namespace, value.pod)
        case PingResult():
            return (value.cluster, value.id)


def _device(tunnel: TunnelHealth) -> str:
    """While keys rotate, and with parallel tunnels, a peer is seen through several devices."""
    device = f"{tunnel.index}.{tunnel.generation}" if tunnel.generation else str(tunnel.index)
    return f"{device}+{tunnel.lane}" if tunnel.lane else device


_KIND_OF: Mapping[type, str] = {type_: kind for kind, type_ in KINDS.items()}
