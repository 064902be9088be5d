"""What users declare: slices, memberships, exports; and what the hub promises for a slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from slicer.model.clusters import LANES_MAX
from slicer.model.errors import InvalidError
from slicer.model.names import (
    Address,
    Prefix,
    check_interface_name,
    check_label,
    check_mac,
    check_range,
    check_subdomain,
)
from slicer.model.topology import SliceTopology, are_linked, check_topology

BITS_MAX = 400_000_000_000
"""bit/s: the fastest port that is sold; a larger number is a slip of the unit."""
RATE_MIN_BPS = 8_000
"""bit/s: below one byte a millisecond HTB's arithmetic has no meaning."""


CONTACT_MAX = 253
"""Characters: of a mail address, and of any host's name."""
UNIX_TIME_MAX = 253_402_300_799
"""The last second of the year 9999: what date formats can still write."""
RESERVED_SLICE_NAMES = frozenset({"svc", "dns", "dns-version"})
"""Labels directly under slice.local that already mean something (docs/reference/dns.md)."""
RESERVED_RULE = "means something else in DNS; choose another"
FAMILIES_RULE = "give one IPv4 prefix, one IPv6 prefix, or one of each"
SCOPE_RULE = "is multicast, loopback, link-local or unspecified"
BOTH_RULE = "has both a pod and labels; give one"
ADDRESSES_RULE = "wishes addresses; that needs one pod"
LATENCY_MAX_MS = 5000
"""Later answers count as lost (slicer.agent.health)."""
MAC_RULE = "wishes a MAC address; that needs one pod"
PREFIXES_IMMUTABLE_RULE = "cannot change (they are %s): make another slice"
ENCRYPTION_IMMUTABLE_RULE = "cannot change (it is %s): make another slice"
"""How refusals end, here and where the Kubernetes API server refuses by itself (the CRDs are made with these)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QosProfile:
    """Bandwidth of one slice on its clusters' tunnels. Rates in bit/s of IP packets; None means unlimited."""

    guarantee_bps: int | None = None
    ceiling_bps: int | None = None
    priority: int = 4
    """0 is served first, 7 last, when classes borrow (HTB prio)."""
    dscp: int | None = None
    """Written into the packets' DSCP field where they enter the slice; None leaves the field alone."""

    def __post_init__(self) -> None:
        for what, rate in (("guarantee_bps", self.guarantee_bps), ("ceiling_bps", self.ceiling_bps)):
            if rate is not None:
                check_range(what, rate, RATE_MIN_BPS, BITS_MAX)
        check_range("priority", self.priority, 0, 7)
        if self.dscp is not None:
            check_range("dscp", self.dscp, 0, 63)
        if self.guarantee_bps is not None and self.ceiling_bps is not None and self.guarantee_bps > self.ceiling_bps:
            raise InvalidError(f"guarantee_bps {self.guarantee_bps} is above ceiling_bps {self.ceiling_bps}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What the ways between a slice's clusters are to be like; watched, not enforced. Empty: that there are any."""

    latency_ms: int | None = None
    """Most that a round trip between two gateways may take, as the median of the last hundred probes."""
    loss_percent: int | None = None
    """Most of the last hundred probes that may be lost."""

    def __post_init__(self) -> None:
        if self.latency_ms is not None:
            check_range("latency_ms", self.latency_ms, 1, LATENCY_MAX_MS)
        if self.loss_percent is not None:
            check_range("loss_percent", self.loss_percent, 0, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsOptions:
    """How a slice's names are answered."""

    ttl_s: int = 5

    def __post_init__(self) -> None:
        check_range("ttl_s", self.ttl_s, 0, 3600)


class TunnelMode(StrEnum):
    """Whether a slice shares WireGuard devices with slices of disjoint prefixes or has its own."""

    SHARED = "shared"
    DEDICATED = "dedicated"


class Encryption(StrEnum):
    """Where a slice's packets are encrypted. Between clusters they always are."""

    BETWEEN_CLUSTERS = "between-clusters"
    EVERYWHERE = "everywhere"
    """Between the nodes of a cluster as well; costs some bytes of every packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A private layer-3 overlay over one or more clusters."""

    name: str
    prefixes: tuple[Prefix, ...]
    """One IPv4 prefix, one IPv6 prefix, or one of each."""
    clusters: tuple[str, ...] = ()
    """Names of the member clusters, sorted; empty means all clusters, also those that join later."""
    topology: SliceTopology | None = None
    """Which of them are linked; None means every two."""
    gateways: int = 2
    """Active gateways wanted in each cluster; fewer nodes means fewer gateways. 0 means every node (`all`)."""
    qos: QosProfile | None = None
    objectives: Objectives | None = None
    tunnels: TunnelMode = TunnelMode.SHARED
    tunnels_per_pair: int = 1
    """Parallel tunnels between each two gateways; of slices that share tunnels the one that asks for most is heard."""
    encryption: Encryption = Encryption.BETWEEN_CLUSTERS
    """Never changes: the MTU of its pods depends on it."""
    dns: DnsOptions = field(default_factory=DnsOptions)
    namespaces: tuple[str, ...] = ()
    """Namespaces whose pods may join, sorted; empty means every namespace."""
    contact: str = ""
    """Whom to ask to be let in: a name, an address; refusals show it."""

    def __post_init__(self) -> None:
        check_label("slice name", self.name)
        if self.name in RESERVED_SLICE_NAMES:
            raise InvalidError(f"slice name {self.name!r} {RESERVED_RULE}")
        object.__setattr__(self, "clusters", tuple(sorted(set(self.clusters))))
        object.__setattr__(self, "namespaces", tuple(sorted(set(self.namespaces))))
        for cluster in self.clusters:
            check_label("cluster name", cluster)
        for namespace in self.namespaces:
            check_label("namespace", namespace)
        check_range("gateways", self.gateways, 0, 64)
        check_range("tunnels_per_pair", self.tunnels_per_pair, 1, LANES_MAX)
        check_range("length of contact", len(self.contact), 0, CONTACT_MAX)
        check_prefixes(self.prefixes)
        if self.topology is not None and self.clusters:
            check_topology(self.topology, self.clusters)

    def has_cluster(self, cluster: str) -> bool:
        """Whether the cluster is a member."""
        return not self.clusters or cluster in self.clusters

    def named_clusters(self) -> tuple[str, ...]:
        """All clusters that it names, as members or in its topology, sorted."""
        return tuple(sorted({*self.clusters, *(self.topology.clusters() if self.topology else ())}))

    def is_linked(self, one: str, other: str) -> bool:
        """Whether packets of the slice pass between two different clusters."""
        return self.has_cluster(one) and self.has_cluster(other) and are_linked(self.topology, one, other)


def check_prefixes(prefixes: tuple[Prefix, ...]) -> None:
    """InvalidError unless there is one prefix, or one of each family, and each could hold a slice."""
    versions = [prefix.version for prefix in prefixes]
    if not versions or len(set(versions)) != len(versions):
        given = ", ".join(str(prefix) for prefix in prefixes)
        raise InvalidError(f"prefixes [{given}]: {FAMILIES_RULE}")
    for prefix in prefixes:
        if prefix.is_multicast or prefix.is_loopback or prefix.is_link_local or prefix.is_unspecified:
            raise InvalidError(f"prefix {prefix} {SCOPE_RULE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceState:
    """A slice as the hub carries it: what was declared and what the hub promised for it."""

    spec: Slice
    vni: int
    """24-bit number of the slice: VXLAN VNI, and the slice's short id in kernel names (as 6 hex digits)."""
    tunnel_set: int
    """Number of the tunnel set that carries the slice."""
    service_blocks: tuple[Prefix, ...] = ()
    """The part of each prefix kept for addresses of exported services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Rates of one attachment, from the pod's side as CNI names them: ingress = into the pod. bit/s and bit."""

    ingress_bps: int | None = None
    ingress_burst_bits: int | None = None
    egress_bps: int | None = None
    egress_burst_bits: int | None = None

    def __post_init__(self) -> None:
        ways = (
            ("ingress", self.ingress_bps, self.ingress_burst_bits),
            ("egress", self.egress_bps, self.egress_burst_bits),
        )
        for way, rate, burst in ways:
            if rate is not None:
                check_range(f"{way} rate", rate, RATE_MIN_BPS, BITS_MAX)
            if burst is not None:
                check_range(f"{way} burst", burst, 1, BITS_MAX)
            if burst is not None and rate is None:
                raise InvalidError(f"{way} burst {burst} is given without a rate")


class MemberKind(StrEnum):
    """Who a membership speaks of."""

    POD = "pod"
    NAMESPACE = "namespace"
    LABELS = "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A rule: the matching pods of one cluster belong to a slice. An annotation on a pod is the same, said there.

    Exactly one way to match: `pod` (one pod), or `labels` (all given labels equal), or neither (whole namespace).
    """

    name: str
    slice: str
    cluster: str
    namespace: str
    pod: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    interface: str | None = None
    """Interface name in the pod; None lets the agent choose the first free of net1, net2, …"""
    addresses: tuple[Address, ...] = ()
    """Wished addresses, only with `pod`: taken or refused, never silently changed."""
    mac: str | None = None
    """Wished hardware address, only with `pod`: taken or refused."""
    bandwidth: Bandwidth | None = None
    """Rates of each pod's interface."""
    reason: str = ""
    until_s: int | None = None
    """Unix time at which the membership ends by itself; None means never."""
    declared_in: str = ""
    """The cluster whose own objects declare it (a SliceMembership); empty: a user of the hub did, by REST."""

    def __post_init__(self) -> None:
        check_subdomain("membership name", self.name)
        check_label("slice name", self.slice)
        check_label("cluster name", self.cluster)
        check_label("namespace", self.namespace)
        object.__setattr__(self, "labels", tuple(sorted(self.labels)))
        if self.pod is not None:
            check_subdomain("pod name", self.pod)
        if self.pod is not None and self.labels:
            raise InvalidError(f"membership {self.name!r} {BOTH_RULE}")
        if self.interface is not None:
            check_interface_name(self.interface)
        if self.until_s is not None:
            check_range("until_s", self.until_s, 0, UNIX_TIME_MAX)
        if self.addresses and self.pod is None:
            raise InvalidError(f"membership {self.name!r} {ADDRESSES_RULE}")
        if self.mac is not None:
            object.__setattr__(self, "mac", check_mac(self.mac))
        if self.mac is not None and self.pod is None:
            raise InvalidError(f"membership {self.name!r} {MAC_RULE}")

    @property
    def kind(self) -> MemberKind:
        """How this membership matches."""
        if self.pod is not None:
            return MemberKind.POD
        return MemberKind.LABELS if self.labels else MemberKind.NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """A port of an exported service; `name` may be empty if the service has one port (no SRV then)."""

    name: str = ""
    port: int
    protocol: str = "TCP"

    def __post_init__(self) -> None:
        if self.name:
            check_label("port name", self.name)
        check_range("port", self.port, 1, 65535)
        if self.protocol not in {"TCP", "UDP", "SCTP"}:
            raise InvalidError(f"protocol {self.protocol!r} is not TCP, UDP or SCTP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A service that a slice offers by name: the attached pods of `namespace` that match `selector`."""

    slice: str
    namespace: str
    name: str
    selector: tuple[tuple[str, str], ...]
    """Label = value pairs, all must match; never empty."""
    ports: tuple[ServicePort, ...] = ()
    clusters: tuple[str, ...] = ()
    """Clusters whose pods count, sorted; empty means all clusters of the slice."""

    def __post_init__(self) -> None:
        check_label("slice name", self.slice)
        check_label("namespace", self.namespace)
        check_label("service name", self.name)
        for cluster in self.clusters:
            check_label("cluster name", cluster)
        object.__setattr__(self, "selector", tuple(sorted(self.selector)))
        object.__setattr__(self, "clusters", tuple(sorted(set(self.clusters))))
        if not self.selector:
            raise InvalidError(f"export {self.namespace}/{self.name} has an empty selector; it would select no pod")
        names = [port.name for port in self.ports]
        if len(names) != len(set(names)):
            raise InvalidError(f"export {self.namespace}/{self.name}: port names {names} are not unique")
