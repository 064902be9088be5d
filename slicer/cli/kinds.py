"""The kinds of resources that `slicectl get` shows: their words, REST paths, identities and columns. Pure.

A resource is the JSON object of the REST API: `{"metadata": …, "spec": …, "status": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.cli import columns as col
from slicer.model.errors import InvalidError

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: what stands above it and how a cell is made of (resource, now in Unix seconds)."""

    title: str
    cell: Callable[[Resource, float], str]
    wide: bool = False
    """Only shown with `-o wide`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of resource."""

    plural: str
    singular: str
    aliases: tuple[str, ...] = ()
    collection: str
    """Below `/v1/`."""
    identity: tuple[str, ...]
    """Fields of `spec` that name one resource, joined by `/`."""
    columns: tuple[Column, ...]
    single: bool = False
    """Whether `GET path/identity` exists; the other kinds are only listed."""

    def name_of(self, resource: Resource) -> str:
        """What NAME says on the command line, and `-o name` prints after the kind."""
        parts = (resource["spec"].get(field) for field in self.identity)
        return "/".join("-" if part in {None, ""} else str(part) for part in parts)

    def matches(self, resource: Resource, name: str) -> bool:
        """Whether NAME means this resource: its whole name or the last parts of it."""
        full = self.name_of(resource)
        return full == name or full.endswith(f"/{name}")


def _columns(*entries: tuple[str, Callable[[Resource, float], str]], wide: int) -> tuple[Column, ...]:
    """The columns; the last `wide` of them only with `-o wide`."""
    first_wide = len(entries) - wide
    return tuple(Column(title=title, cell=cell, wide=n >= first_wide) for n, (title, cell) in enumerate(entries))


SLICES = Kind(
    plural="slices",
    singular="slice",
    aliases=("sl",),
    collection="slices",
    identity=("name",),
    single=True,
    columns=_columns(
        ("NAME", col.spec("name")),
        ("PREFIXES", col.spec("prefixes")),
        ("CLUSTERS", col.slice_clusters),
        ("PODS", col.slice_pods),
        ("STATUS", col.condition),
        ("AGE", col.age),
        ("TOPOLOGY", col.slice_topology),
        ("GATEWAYS", col.slice_gateways),
        ("GUARANTEE", col.rate("qos", "guarantee_bps")),
        ("CEILING", col.rate("qos", "ceiling_bps")),
        ("PRIORITY", col.spec("qos", "priority")),
        ("DSCP", col.spec("qos", "dscp")),
        ("TUNNELS", col.spec("tunnels")),
        ("PER PAIR", col.spec("tunnels_per_pair")),
        ("ENCRYPTION", col.spec("encryption")),
        ("VNI", col.status("vni")),
        ("SET", col.status("tunnel_set")),
        wide=11,
    ),
)
CLUSTERS = Kind(
    plural="clusters",
    singular="cluster",
    collection="clusters",
    identity=("name",),
    single=True,
    columns=_columns(
        ("NAME", col.spec("name")),
        ("CONNECTED", col.connected),
        ("NODES", col.count("status", "nodes")),
        ("LAST REPORT", col.last_report),
        ("AGE", col.age),
        ("CIDRS", col.spec("cidrs")),
        wide=1,
    ),
)
NODES = Kind(
    plural="nodes",
    singular="node",
    aliases=("no",),
    collection="nodes",
    identity=("cluster", "name"),
    columns=_columns(
        ("CLUSTER", col.spec("cluster")),
        ("NODE", col.spec("name")),
        ("ADDRESSES", col.spec("addresses")),
        ("GATEWAY", col.capable),
        ("WIREGUARD", col.spec("wireguard")),
        ("VERSION", col.spec("version")),
        ("ZONE", col.spec("zone")),
        ("OUTSIDE ADDRESSES", col.spec("outside_addresses")),
        ("UDP PORTS", col.tunnel_ports),
        wide=3,
    ),
)
GATEWAYS = Kind(
    plural="gateways",
    singular="gateway",
    aliases=("gw",),
    collection="gateways",
    identity=("cluster", "tunnel_set", "slot"),
    columns=_columns(
        ("CLUSTER", col.spec("cluster")),
        ("SET", col.spec("tunnel_set")),
        ("SLOT", col.spec("slot")),
        ("NODE", col.spec("node")),
        ("STATE", col.gateway_state),
        ("ADDRESSES", col.spec("addresses")),
        ("UDP PORTS", col.tunnel_ports),
        ("ZONE", col.spec("zone")),
        ("GENERATIONS", col.generations),
        ("PUBLIC KEYS", col.public_keys),
        wide=3,
    ),
)
TUNNELS = Kind(
    plural="tunnels",
    singular="tunnel",
    aliases=("tun",),
    collection="tunnels",
    identity=("cluster", "node", "tunnel_set", "index", "generation", "lane", "remote_cluster"),
    columns=_columns(
        ("FROM", col.tunnel_from),
        ("TO", col.tunnel_to),
        ("STATE", col.tunnel_state),
        ("RTT", col.rtt("rtt_us")),
        ("P99", col.rtt("rtt_p99_us")),
        ("JITTER", col.rtt("jitter_us")),
        ("LOSS", col.loss),
        ("HANDSHAKE", col.handshake),
        ("RECEIVED", col.size("rx_bytes")),
        ("SENT", col.size("tx_bytes")),
        ("SET", col.spec("tunnel_set")),
        ("INDEX", col.spec("index")),
        ("LANE", col.spec("lane")),
        ("GENERATION", col.spec("generation")),
        ("MTU", col.spec("path_mtu")),
        ("ENDPOINT", col.spec("endpoint")),
        wide=8,
    ),
)
MEMBERS = Kind(
    plural="members",
    singular="member",
    aliases=("memberships", "membership"),
    collection="memberships",
    identity=("name",),
    single=True,
    columns=_columns(
        ("NAME", col.spec("name")),
        ("SLICE", col.spec("slice")),
        ("CLUSTER", col.spec("cluster")),
        ("WHO", col.member_who),
        ("AGE", col.age),
        ("INTERFACE", col.spec("interface")),
        ("ADDRESSES", col.spec("addresses")),
        ("REASON", col.spec("reason")),
        wide=3,
    ),
)
ATTACHMENTS = Kind(
    plural="attachments",
    singular="attachment",
    aliases=("at", "pods", "pod"),
    collection="attachments",
    identity=("slice", "cluster", "namespace", "pod"),
    columns=_columns(
        ("SLICE", col.spec("slice")),
        ("POD", col.pod),
        ("NODE", col.spec("node")),
        ("INTERFACE", col.spec("interface")),
        ("ADDRESSES", col.spec("addresses")),
        ("STATE", col.spec("state")),
        ("BY", col.attached_by),
        ("MAC", col.spec("mac")),
        ("INTO POD", col.rate("bandwidth", "ingress_bps")),
        ("OUT OF POD", col.rate("bandwidth", "egress_bps")),
        ("HOST SIDE", col.spec("host_interface")),
        wide=5,
    ),
)
SERVICES = Kind(
    plural="services",
    singular="service",
    aliases=("svc", "exports", "export"),
    collection="exports",
    identity=("slice", "namespace", "name"),
    single=True,
    columns=_columns(
        ("SLICE", col.spec("slice")),
        ("SERVICE", col.service),
        ("PORTS", col.ports),
        ("ENDPOINTS", col.endpoint_counts),
        ("AGE", col.age),
        ("CLUSTERS", col.every("clusters")),
        ("SELECTOR", col.labels("selector")),
        ("DNS NAME", col.dns_name),
        wide=3,
    ),
)
DRAINS = Kind(
    plural="drains",
    singular="drain",
    collection="drains",
    identity=("cluster", "node"),
    single=True,
    columns=_columns(
        ("CLUSTER", col.spec("cluster")),
        ("NODE", col.spec("node")),
        ("STATE", col.status("state")),
        ("WAITING FOR", col.status("waiting_for")),
        ("AGE", col.age),
        ("REASON", col.spec("reason")),
        ("FORCE", col.spec("force")),
        wide=1,
    ),
)
ROTATIONS = Kind(
    plural="rotations",
    singular="rotation",
    collection="rotations",
    identity=("tunnel_set", "generation"),
    single=True,
    columns=_columns(
        ("SET", col.spec("tunnel_set")),
        ("GENERATION", col.spec("generation")),
        ("STATE", col.status("state")),
        ("WAITING FOR", col.status("waiting_for")),
        ("STARTED", col.ago("started_at_s")),
        ("FINISHED", col.ago("finished_at_s")),
        ("REASON", col.spec("reason")),
        wide=0,
    ),
)
KINDS: Sequence[Kind] = (SLICES, CLUSTERS, NODES, GATEWAYS, TUNNELS, MEMBERS, ATTACHMENTS, SERVICES, DRAINS, ROTATIONS)
DESCRIBED: Sequence[Kind] = (SLICES, CLUSTERS, NODES, ATTACHMENTS, SERVICES)


def kind_named(text: str) -> Kind:
    """The kind that a word on the command line means; InvalidError lists the words."""
    for kind in KINDS:
        if text in (kind.plural, kind.singular, *kind.aliases):
            return kind
    raise InvalidError(f"unknown kind {text!r}; known are {', '.join(kind.plural for kind in KINDS)}")
