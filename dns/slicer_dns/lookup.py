"""The answer to a question, from a snapshot and the slices of whoever asks. Pure: no packets, no clock.

The rules are those of the Kubernetes DNS specification 1.1.0 for headless services and of KEP-1645, with CoreDNS's
choices where those leave one; docs/reference/dns.md lists them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from slicer.model.names import Address
from slicer.model.slices import DnsOptions
from slicer.plan.zones import Pointer, Service, ServiceHost, SliceZone, ZoneSnapshot
from slicer_dns.answers import Answer, Rcode, Record, Soa, Srv, Type
from slicer_dns.names import (
    Kind,
    Labels,
    ReverseName,
    SliceLocalName,
    apex,
    fits,
    host_labels,
    parse_name,
    reverse_apex,
)

SCHEMA_VERSION = "1.0.0"
"""Version of the names in docs/reference/dns.md, shown as TXT `dns-version`."""
VERSION_TTL_S = 28800
"""TTL of the `dns-version` record (KEP-1645's example)."""
DOMAIN_TTL_S = DnsOptions().ttl_s

REFUSED = Answer(rcode=Rcode.REFUSED)
SERVFAIL = Answer(rcode=Rcode.SERVFAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """What questions are answered from; `snapshot` is None until there has been a view."""

    snapshot: ZoneSnapshot | None
    serial: int = 0
    nameservers: tuple[Address, ...] = field(default=())
    """Addresses of `ns.dns.<zone>`; empty if the server does not know how it is reached."""


def answer(zones: Zones, slices: frozenset[str], labels: Labels, type_: int) -> Answer:
    """What an asker that is in `slices` is told about `labels` (lower case)."""
    name = parse_name(labels)
    if name is None or type_ in (Type.AXFR, Type.IXFR):
        return REFUSED
    if zones.snapshot is None:
        return SERVFAIL
    members = tuple(zones.snapshot.zones[s] for s in sorted(slices) if s in zones.snapshot.zones)
    if isinstance(name, ReverseName):
        return _reverse(zones, members, labels, name, type_)
    return _forward(zones, members, labels, name, type_)


def _forward(zones: Zones, members: tuple[SliceZone, ...], labels: Labels, name: SliceLocalName, type_: int) -> Answer:
    if name.slice is not None:
        members = tuple(zone for zone in members if zone.name == name.slice)
        if not members:
            # The same words, whether the slice does not exist or the asker is not in it.
            return Answer(rcode=Rcode.NXDOMAIN, authority=(_soa(zones, apex(None), DOMAIN_TTL_S),))
    zone = _zone_for(members, name)
    ttl_s = zone.ttl_s if zone else DOMAIN_TTL_S
    found = _node(zones, zone, labels, name, ttl_s)
    return _shape(found, labels, type_, _soa(zones, name.apex(), ttl_s))


def _zone_for(members: tuple[SliceZone, ...], name: SliceLocalName) -> SliceZone | None:
    """The slice that answers: the named one; without a name the first, by name, of the asker's that exports the
    service.

    Readiness plays no part: a service that loses its pods in one slice must not send its callers into another.
    """
    if name.slice is not None:
        return members[0]
    if name.service:
        return next((zone for zone in members if zone.service(name.namespace, name.service) is not None), None)
    if name.namespace:
        return next((zone for zone in members if name.namespace in zone.namespaces), None)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A name that exists: its records of all types, and which of them are of the own cluster."""

    records: tuple[Record, ...] = ()
    local: frozenset[Record] = frozenset()
    extra: tuple[Record, ...] = ()


_EMPTY = _Node()


def _node(zones: Zones, zone: SliceZone | None, labels: Labels, name: SliceLocalName, ttl_s: int) -> _Node | None:
    """What is at the name; None if the name does not exist."""
    match name.kind:
        case Kind.APEX:
            nameserver = ("ns", "dns", *labels)
            ns = Record(labels, Type.NS, ttl_s, nameserver)
            glue = tuple(_addresses(nameserver, zones.nameservers, ttl_s))
            return _Node(records=(_soa(zones, labels, ttl_s), ns), extra=glue)
        case Kind.VERSION:
            return _Node(records=(Record(labels, Type.TXT, VERSION_TTL_S, SCHEMA_VERSION),))
        case Kind.NAMESERVER:
            return _Node(records=tuple(_addresses(labels, zones.nameservers, ttl_s)))
        case Kind.DNS | Kind.SVC:
            return _EMPTY
        case Kind.NAMESPACE:
            return _EMPTY if zone and name.namespace in zone.namespaces else None
        case Kind.NOTHING:
            return None
    service = zone.service(name.namespace, name.service) if zone else None
    # "If there are no ready endpoints … NXDOMAIN" for headless services (Kubernetes DNS specification 1.1.0, 2.4).
    return _service_node(service, labels, name, ttl_s) if service and service.hosts else None


def _service_node(service: Service, labels: Labels, name: SliceLocalName, ttl_s: int) -> _Node | None:
    match name.kind:
        case Kind.SERVICE:
            ports = tuple(dict.fromkeys(port.port for port in service.ports))
            srv = _srv(service, labels, name, ports, ttl_s)
            near = [a for host in service.hosts[: service.local] for a in _addresses(labels, host.addresses, ttl_s)]
            far = [a for host in service.hosts[service.local :] for a in _addresses(labels, host.addresses, ttl_s)]
            return _Node(records=(*near, *far, *srv.records), local=srv.local | frozenset(near), extra=srv.extra)
        case Kind.PORT:
            wanted = (name.port, name.protocol)
            ports = tuple(p.port for p in service.ports if p.name and (p.name, p.protocol.lower()) == wanted)
            return _srv(service, labels, name, ports, ttl_s) if ports else None
        case Kind.PROTOCOL:
            named = any(port.name and port.protocol.lower() == name.protocol for port in service.ports)
            return _EMPTY if named else None
        case _:
            host = next((h for h in service.hosts if (h.host, h.cluster) == (name.host, name.cluster)), None)
            return _Node(records=tuple(_addresses(labels, host.addresses, ttl_s))) if host else None


def _srv(service: Service, labels: Labels, name: SliceLocalName, ports: tuple[int, ...], ttl_s: int) -> _Node:
    """Hosts x ports, weights split evenly (at least 1), the hosts' addresses beside them."""
    weight = max(1, 100 // max(1, len(service.hosts) * len(ports)))
    records: list[Record] = []
    extra: list[Record] = []
    for host in service.hosts if ports else ():
        target = host_labels(name.slice, _pointer(name, host))
        if not fits(target):
            continue
        records += (Record(labels, Type.SRV, ttl_s, Srv(weight, port, target)) for port in ports)
        extra += _addresses(target, host.addresses, ttl_s)
    return _Node(records=tuple(records), local=frozenset(records[: service.local * len(ports)]), extra=tuple(extra))


def _pointer(name: SliceLocalName, host: ServiceHost) -> Pointer:
    return Pointer(host=host.host, cluster=host.cluster, service=name.service, namespace=name.namespace)


def _addresses(owner: Labels, addresses: tuple[Address, ...], ttl_s: int) -> Iterator[Record]:
    for address in addresses:
        yield Record(owner, Type.A if address.version == 4 else Type.AAAA, ttl_s, address)


def _reverse(zones: Zones, members: tuple[SliceZone, ...], labels: Labels, name: ReverseName, type_: int) -> Answer:
    """PTR inside the prefixes of the asker's slices; everywhere else somebody else's zone."""
    inside = [(z, p) for z in members for p in z.prefixes if p.version == name.prefix.version]
    inside = [(z, p) for z, p in inside if name.prefix.prefixlen >= p.prefixlen and name.prefix.network_address in p]
    if not inside:
        return REFUSED
    zone, prefix = max(inside, key=lambda found: found[1].prefixlen)
    top = reverse_apex(prefix, name.prefix.network_address)
    node = _reverse_node(zones, [z for z, _ in inside], labels, name, top)
    return _shape(node, labels, type_, _soa(zones, top, zone.ttl_s))


def _reverse_node(
    zones: Zones, members: list[SliceZone], labels: Labels, name: ReverseName, top: Labels
) -> _Node | None:
    records: list[Record] = []
    address = name.whole()
    if address is not None:
        for zone in members:
            targets = (host_labels(zone.name, pointer) for pointer in zone.pointers.get(address, ()))
            records += (Record(labels, Type.PTR, zone.ttl_s, target) for target in targets if fits(target))
    if labels == top:
        nameserver = ("ns", "dns", *apex(members[0].name))
        records += (_soa(zones, top, members[0].ttl_s), Record(labels, Type.NS, members[0].ttl_s, nameserver))
    occupied = not name.beyond and any(zone.any_pointer_in(name.prefix) for zone in members)
    return _Node(records=tuple(records)) if records or occupied else None


def _shape(node: _Node | None, labels: Labels, type_: int, soa: Record) -> Answer:
    """Code and sections for what was found at a name.

    RFC 2308, 2.1 and 2.2: "a name error … NXDOMAIN", "no data … NOERROR and no relevant answers", both with the SOA.
    """
    if node is None:
        return Answer(rcode=Rcode.NXDOMAIN, authority=(soa,))
    if type_ == Type.ANY and node.records:
        return Answer(records=(minimal_any(labels, soa.ttl_s),))
    records = tuple(record for record in node.records if record.type == type_)
    if not records:
        return Answer(authority=(soa,))
    return Answer(
        records=records,
        local=sum(record in node.local for record in records),
        additional=node.extra if type_ in (Type.SRV, Type.NS) else (),
    )


def minimal_any(labels: Labels, ttl_s: int) -> Record:
    """RFC 8482, 4.2: "HINFO … The CPU field of the HINFO RDATA SHOULD be set to RFC8482"."""
    return Record(labels, Type.HINFO, ttl_s, "RFC8482")


def _soa(zones: Zones, top: Labels, ttl_s: int) -> Record:
    """RFC 2308, 3: a negative answer lives for the smaller of "the MINIMUM field … and the TTL of the SOA": both
    ttl.
    """
    home = apex(None) if top[-1] == "arpa" else top
    soa = Soa(("ns", "dns", *home), ("hostmaster", *home), zones.serial & 0xFFFFFFFF, ttl_s)
    return Record(top, Type.SOA, ttl_s, soa)
