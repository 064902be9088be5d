"""What each client of a controller is entitled to see, of all documents that the controller has.

Pure. Caller: the controller's view streams. The table of views is in ARCHITECTURE.md. A view of a view is itself, so a
controller that is hub and member at once, and a member that has only the hub's view of it, use the same functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from slicer.model.attachments import (
    AddressGrant,
    Attachment,
    AttachmentState,
    Endpoint,
    EndpointSet,
    LostCluster,
    Ping,
)
from slicer.model.clusters import Cluster, ClusterBlocks, Drain, Gateway, Node, NodeBlocks, Resolvers, RotationState
from slicer.model.documents import Document, Documents, of_kind
from slicer.model.slices import Export, Membership, SliceState
from slicer.plan.linking import both_ways, linked_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the entitlement of one cluster follows from."""

    cluster: str
    slices: frozenset[str]
    """Slices that the cluster is in."""
    links: frozenset[tuple[str, int]]
    """(cluster, tunnel set) that carry those slices to linked clusters, the own cluster's included."""
    reach: frozenset[tuple[str, str]]
    """(slice, cluster): the own cluster in those slices, and what is linked with it."""
    targets: frozenset[tuple[str, str, str]]
    """(slice, cluster, node) of the gateways that carry those slices: targets of probes."""


def clusters_of(state: SliceState, documents: Documents) -> tuple[str, ...]:
    """The member clusters of a slice, sorted; for a slice over all clusters, those that are known or hold a block."""
    return _with_clusters([state], documents)[0][1]


def peers_of(tunnel_set: int, documents: Documents) -> list[tuple[Gateway, list[Gateway]]]:
    """Each gateway of the tunnel set, with the gateways of other clusters that have a tunnel to it."""
    states = [state for state in of_kind(documents, SliceState) if state.tunnel_set == tunnel_set]
    shared: dict[str, set[str]] = defaultdict(set)
    for state, clusters in _with_clusters(states, documents):
        for one, other in both_ways(linked_pairs(state.spec, clusters)):
            shared[one].add(other)
    gateways = [gateway for gateway in of_kind(documents, Gateway) if gateway.tunnel_set == tunnel_set]
    return [(one, [other for other in gateways if other.cluster in shared[one.cluster]]) for one in gateways]


def _with_clusters(states: Collection[SliceState], documents: Documents) -> list[tuple[SliceState, tuple[str, ...]]]:
    """See `clusters_of`."""
    known = {cluster.name for cluster in of_kind(documents, Cluster)}
    holding: dict[str, set[str]] = defaultdict(set)
    for blocks in of_kind(documents, ClusterBlocks):
        holding[blocks.slice].add(blocks.cluster)
    return [(s, s.spec.clusters or tuple(sorted(known | holding[s.spec.name]))) for s in states]


def scope_of(documents: Documents, cluster: str) -> Scope:
    """The scope of `cluster`."""
    states = [state for state in of_kind(documents, SliceState) if state.spec.has_cluster(cluster)]
    reached = [
        (state, name)
        for state, names in _with_clusters(states, documents)
        for name in names
        if name == cluster or state.spec.is_linked(cluster, name)
    ]
    carried: dict[tuple[str, int], list[str]] = defaultdict(list)
    for state, name in reached:
        carried[name, state.tunnel_set].append(state.spec.name)
    return Scope(
        cluster=cluster,
        slices=frozenset(state.spec.name for state in states),
        links=frozenset(carried),
        reach=frozenset((state.spec.name, name) for state, name in reached),
        targets=frozenset(
            (slice_name, gateway.cluster, gateway.node)
            for gateway in of_kind(documents, Gateway)
            for slice_name in carried.get((gateway.cluster, gateway.tunnel_set), ())
        ),
    )


def cluster_view(documents: Documents, cluster: str) -> dict[str, Document]:
    """What the member of `cluster` hears from the hub."""
    return _select(documents, cluster, _for_cluster)


def node_view(documents: Documents, cluster: str) -> dict[str, Document]:
    """What every agent of `cluster` hears from its member."""
    return _select(documents, cluster, _for_node)


def zone_view(documents: Documents, cluster: str) -> dict[str, Document]:
    """What every DNS server of `cluster` hears from its member."""
    return _select(documents, cluster, _for_zone)


def plan_endpoints(documents: Documents, cluster: str) -> list[EndpointSet]:
    """The endpoints that `cluster` has for each export that counts it: its attached pods with the right labels."""
    slices = {state.spec.name for state in of_kind(documents, SliceState) if state.spec.has_cluster(cluster)}
    attached = [a for a in of_kind(documents, Attachment) if a.cluster == cluster]
    attached = [a for a in attached if a.state is AttachmentState.ATTACHED]
    exports = [e for e in of_kind(documents, Export) if e.slice in slices and (not e.clusters or cluster in e.clusters)]
    return [_endpoint_set(export, cluster, attached) for export in exports]


def _endpoint_set(export: Export, cluster: str, attached: Collection[Attachment]) -> EndpointSet:
    mine = [a for a in attached if (a.slice, a.namespace) == (export.slice, export.namespace)]
    mine = [a for a in mine if set(export.selector) <= set(a.labels)]
    endpoints = [Endpoint(pod=a.pod, node=a.node, addresses=a.addresses) for a in mine]
    return EndpointSet(
        slice=export.slice,
        namespace=export.namespace,
        name=export.name,
        cluster=cluster,
        endpoints=tuple(sorted(endpoints, key=lambda e: (e.pod, e.node, [str(a) for a in e.addresses]))),
    )


def _select(documents: Documents, cluster: str, entitled: Callable[[Document, Scope], bool]) -> dict[str, Document]:
    scope = scope_of(documents, cluster)
    return {key: value for key, value in documents.items() if entitled(value, scope)}


def _for_cluster(value: Document, scope: Scope) -> bool:
    match value:
        case Cluster():
            return value.name == scope.cluster
        case Drain():
            return value.cluster == scope.cluster
        case Export():
            return value.slice in scope.slices
        case EndpointSet():
            return (value.slice, value.cluster) in scope.reach
        case AddressGrant():
            return value.cluster == scope.cluster and value.slice in scope.slices
        case NodeBlocks():
            # The own ones come back too: a member that lost its store finds there what it promised.
            own = value.cluster == scope.cluster and value.slice in scope.slices
            return own or (value.slice, value.cluster, value.node) in scope.targets
        case _:
            return _for_both(value, scope)


def _for_node(value: Document, scope: Scope) -> bool:
    match value:
        case Node():
            return value.cluster == scope.cluster
        case AddressGrant():
            return value.cluster == scope.cluster and value.slice in scope.slices
        case NodeBlocks():
            target = (value.slice, value.cluster, value.node) in scope.targets
            return target or (value.cluster == scope.cluster and value.slice in scope.slices)
        case _:
            return _for_both(value, scope)


def _for_both(value: Document, scope: Scope) -> bool:
    match value:
        case SliceState():
            return value.spec.name in scope.slices
        case ClusterBlocks():
            return value.slice in scope.slices
        case Gateway():
            return (value.cluster, value.tunnel_set) in scope.links
        case RotationState():
            return (scope.cluster, value.spec.tunnel_set) in scope.links
        case Membership() | Ping():
            return value.cluster == scope.cluster
        case _:
            return False


def _for_zone(value: Document, scope: Scope) -> bool:
    match value:
        case SliceState():
            return value.spec.name in scope.slices
        case Export():
            return value.slice in scope.slices
        case EndpointSet():
            return (value.slice, value.cluster) in scope.reach
        case Attachment() | Gateway() | LostCluster() | Resolvers():
            return value.cluster == scope.cluster
        case _:
            return False
