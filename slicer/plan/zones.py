"""What the name server knows, planned from a zone view: which names each slice has, and who may ask for them.

Called by slicer-dns whenever its view changes. Spelling names and answering questions is left to `slicer_dns`.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slicer.model.attachments import Attachment, AttachmentState, Endpoint, EndpointSet, LostCluster
from slicer.model.clusters import Gateway, Resolvers
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import InvalidError
from slicer.model.names import Address, Prefix, check_label
from slicer.model.slices import Export, ServicePort, SliceState

NOBODY: frozenset[str] = frozenset()
"""The slices of an asker that holds no attachment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHost:
    """One ready pod behind a service, under the name `<host>.<cluster>.<service>…`."""

    host: str
    """The pod's name where that is a DNS label, else its first address with dashes."""
    cluster: str
    addresses: tuple[Address, ...]
    """In the slice's prefixes, sorted by family and address; never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One exported service of one slice with its ready pods."""

    ports: tuple[ServicePort, ...] = ()
    hosts: tuple[ServiceHost, ...] = ()
    """Sorted by cluster and host, those of the own cluster first."""
    local: int = 0
    """How many of `hosts`, counted from the first, are in the own cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A name that an address leads back to: `<host>.<cluster>.<service>.<namespace>.svc…`."""

    host: str
    cluster: str
    service: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceZone:
    """Everything that one slice has names for."""

    name: str
    prefixes: tuple[Prefix, ...]
    ttl_s: int
    namespaces: Mapping[str, Mapping[str, Service]] = field(default_factory=dict)
    """Namespace → service name → service; a namespace is here while it exports something."""
    pointers: Mapping[Address, tuple[Pointer, ...]] = field(default_factory=dict)
    numbers: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """IP version → the addresses in `pointers` as sorted numbers."""

    def service(self, namespace: str, name: str) -> Service | None:
        """The service, also when it has no ready pod; None if it is not exported here."""
        return self.namespaces.get(namespace, {}).get(name)

    def any_pointer_in(self, prefix: Prefix) -> bool:
        """Whether some address inside `prefix` has a name."""
        numbers = self.numbers.get(prefix.version, ())
        at = bisect_left(numbers, int(prefix.network_address))
        return at < len(numbers) and numbers[at] <= int(prefix.broadcast_address)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSnapshot:
    """One consistent state of all names; answers to one question come from one snapshot."""

    zones: Mapping[str, SliceZone] = field(default_factory=dict)
    askers: Mapping[Address, frozenset[str]] = field(default_factory=dict)
    """Address of a pod of the own cluster → the slices it is attached to."""
    resolvers: frozenset[Address] = frozenset()
    """Addresses of the own cluster's DNS, which says for whom it asks."""

    def slices_of(self, asker: Address) -> frozenset[str]:
        """The slices whose names `asker` may see; NOBODY for an address that no attached pod holds."""
        return self.askers.get(asker, NOBODY)


class ZonePlanner:
    """Plans snapshots from views, one after the other; a slice none of whose documents changed keeps its zone object.

    A change in one slice costs the planning of that slice. The result never depends on what was planned before.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Sources, SliceZone]] = {}

    def plan(self, documents: Documents) -> ZoneSnapshot:
        """The snapshot that a zone view describes. The own cluster is the one whose attachments are in the view."""
        attached = [a for a in of_kind(documents, Attachment) if a.state is AttachmentState.ATTACHED]
        own_clusters = frozenset(attachment.cluster for attachment in attached)
        found = _sources(documents, own_clusters)
        self._known = {name: (sources, self._zone(name, sources)) for name, sources in found.items()}
        zones = {name: zone for name, (_, zone) in self._known.items()}
        resolvers = frozenset(address for one in of_kind(documents, Resolvers) for address in one.addresses)
        return ZoneSnapshot(zones=zones, askers=_plan_askers(attached, zones), resolvers=resolvers)

    def _zone(self, name: str, sources: _Sources) -> SliceZone:
        if name in self._known:
            old, zone = self._known[name]
            if old.same(sources):
                return zone
        return _plan_zone(sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """What one slice's zone is planned from."""

    state: SliceState
    own_clusters: frozenset[str]
    gone: frozenset[str] = NOBODY
    """Clusters that no gateway of the own one reaches."""
    exports: dict[str, Export] = field(default_factory=dict)
    endpoints: dict[str, EndpointSet] = field(default_factory=dict)

    def same(self, other: _Sources) -> bool:
        """Whether both hold the same objects: views share the values that did not change."""
        if self.state is not other.state:
            return False
        if (self.own_clusters, self.gone) != (other.own_clusters, other.gone):
            return False
        pairs = ((self.exports, other.exports), (self.endpoints, other.endpoints))
        return all(a.keys() == b.keys() and all(a[key] is b[key] for key in a) for a, b in pairs)


def _sources(documents: Documents, own_clusters: frozenset[str]) -> dict[str, _Sources]:
    gone = _gone(documents)
    found = {
        value.spec.name: _Sources(state=value, own_clusters=own_clusters, gone=gone.get(value.tunnel_set, NOBODY))
        for value in documents.values()
        if isinstance(value, SliceState)
    }
    for key, value in documents.items():
        if isinstance(value, Export) and value.slice in found:
            found[value.slice].exports[key] = value
        elif isinstance(value, EndpointSet) and value.slice in found:
            found[value.slice].endpoints[key] = value
    return found


def _gone(documents: Documents) -> dict[int, frozenset[str]]:
    """Clusters by tunnel set of which every gateway says that they are lost: one that is silent has not said it."""
    carrying: dict[int, set[str]] = defaultdict(set)
    saying: dict[tuple[int, str], set[str]] = defaultdict(set)
    for value in documents.values():
        if isinstance(value, Gateway):
            carrying[value.tunnel_set].add(value.node)
        elif isinstance(value, LostCluster):
            saying[value.tunnel_set, value.remote_cluster].add(value.node)
    return {
        number: frozenset(cluster for (s, cluster), said in saying.items() if s == number and said >= nodes)
        for number, nodes in carrying.items()
    }


def plan_zones(documents: Documents) -> ZoneSnapshot:
    """The snapshot that a zone view describes, planned from nothing."""
    return ZonePlanner().plan(documents)


def _plan_askers(attached: Iterable[Attachment], zones: Mapping[str, SliceZone]) -> dict[Address, frozenset[str]]:
    """Address → slices. An address that two pods hold (slices may share a prefix) tells nobody: it is left out."""
    slices: dict[str, set[str]] = defaultdict(set)
    holders: dict[Address, set[str]] = defaultdict(set)
    for attachment in attached:
        slices[attachment.container_id].add(attachment.slice)
        for address in attachment.primary_addresses + attachment.addresses:
            holders[address].add(attachment.container_id)
    return {
        address: frozenset(slices[next(iter(pods))] & zones.keys())
        for address, pods in holders.items()
        if len(pods) == 1
    }


def _plan_zone(sources: _Sources) -> SliceZone:
    spec = sources.state.spec
    sets: dict[tuple[str, str], list[EndpointSet]] = defaultdict(list)
    for found in sources.endpoints.values():
        sets[found.namespace, found.name].append(found)
    namespaces: dict[str, dict[str, Service]] = defaultdict(dict)
    pointers: dict[Address, list[Pointer]] = defaultdict(list)
    for _, export in sorted(sources.exports.items()):
        there = [s for s in sets[export.namespace, export.name] if _is_reached(sources, s.cluster)]
        counting = [s for s in there if _counts(sources.state, export, s.cluster)]
        service = _plan_service(sources, export, counting)
        namespaces[export.namespace][export.name] = service
        for host in service.hosts:
            pointer = Pointer(host=host.host, cluster=host.cluster, service=export.name, namespace=export.namespace)
            for address in host.addresses:
                pointers[address].append(pointer)
    return SliceZone(
        name=spec.name,
        prefixes=spec.prefixes,
        ttl_s=spec.dns.ttl_s,
        namespaces=dict(namespaces),
        pointers={address: tuple(leads) for address, leads in pointers.items()},
        numbers=_numbers(pointers),
    )


def _plan_service(sources: _Sources, export: Export, sets: Iterable[EndpointSet]) -> Service:
    hosts = _plan_hosts(sources.state, sets)
    hosts.sort(key=lambda host: (host.cluster not in sources.own_clusters, host.cluster, host.host))
    local = sum(host.cluster in sources.own_clusters for host in hosts)
    return Service(ports=export.ports, hosts=tuple(hosts), local=local)


def _is_reached(sources: _Sources, cluster: str) -> bool:
    """Whether who asks here can get there: it is this cluster, or one that is linked with it and not lost."""
    if cluster in sources.own_clusters or not sources.own_clusters:
        return cluster not in sources.gone
    linked = any(sources.state.spec.is_linked(own, cluster) for own in sources.own_clusters)
    return linked and cluster not in sources.gone


def _counts(state: SliceState, export: Export, cluster: str) -> bool:
    """Whether pods of `cluster` stand behind the export."""
    return state.spec.has_cluster(cluster) and (not export.clusters or cluster in export.clusters)


def _plan_hosts(state: SliceState, sets: Iterable[EndpointSet]) -> list[ServiceHost]:
    """One host for each name that ready endpoints have; addresses outside the slice's prefixes are no answer."""
    found: dict[tuple[str, str], set[Address]] = defaultdict(set)
    for endpoint_set in sets:
        for endpoint in endpoint_set.endpoints:
            inside = {a for a in endpoint.addresses if any(a in p for p in state.spec.prefixes)}
            if endpoint.ready and inside:
                found[endpoint_set.cluster, host_label(endpoint)] |= inside
    return [
        ServiceHost(host=host, cluster=cluster, addresses=tuple(sorted(addresses, key=lambda a: (a.version, a))))
        for (cluster, host), addresses in found.items()
    ]


def host_label(endpoint: Endpoint) -> str:
    """The label of an endpoint's own name: the pod's name, or (dots, too long) the first address with dashes.

    Kubernetes DNS specification 1.1.0, 2.4.1: "a unique, system-assigned identifier for the endpoint"; dashes are
    CoreDNS's.
    """
    try:
        return check_label("pod name", endpoint.pod)
    except InvalidError:
        return dashed(endpoint.addresses[0])


def dashed(address: Address) -> str:
    """`address` as one DNS label: `10-22-0-5`, `5678-abcd--1`."""
    text = str(address).replace(".", "-").replace(":", "-")
    return f"{'0' if text.startswith('-') else ''}{text}{'0' if text.endswith('-') else ''}"


def _numbers(addresses: Iterable[Address]) -> dict[int, tuple[int, ...]]:
    by_version: dict[int, list[int]] = defaultdict(list)
    for address in addresses:
        by_version[address.version].append(int(address))
    return {version: tuple(sorted(numbers)) for version, numbers in by_version.items()}


def reverse_prefix(version: int, digits: tuple[int, ...]) -> Prefix:
    """The prefix that the leading `digits` of a reverse name stand for: octets of IPv4, hex digits of IPv6."""
    if version == 4:
        padded = bytes(digits).ljust(4, b"\0")
        return ipaddress.IPv4Network((padded, 8 * len(digits)))
    number = int("".join(f"{digit:x}" for digit in digits).ljust(32, "0"), 16)
    return ipaddress.IPv6Network((number, 4 * len(digits)))
