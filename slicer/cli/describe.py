"""One resource with everything around it, as sections of rows; and how sections are drawn. Pure up to the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.cli import columns as col
from slicer.cli.columns import reach, text_of
from slicer.cli.kinds import ATTACHMENTS, CLUSTERS, NODES, SERVICES, SLICES, Kind, Resource
from slicer.cli.quantities import format_rate, format_rtt
from slicer.cli.words import format_labels, format_objectives, format_topology, topology_of

if TYPE_CHECKING:
    from rich.console import RenderableType

Related = Mapping[str, Sequence[Resource]]
"""Collection → its resources, for what belongs to the described one."""
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a description: facts (no titles), or a table under a heading."""

    heading: str = ""
    titles: Row = ()
    rows: tuple[Row, ...] = ()
    empty: str = "none"
    """What stands there when there are no rows."""


def describe(kind: Kind, resource: Resource, related: Related, now: float) -> list[Section]:
    """The sections of one resource of a described kind."""
    makers = {
        SLICES.singular: _slice,
        CLUSTERS.singular: _cluster,
        NODES.singular: _node,
        ATTACHMENTS.singular: _attachment,
        SERVICES.singular: _service,
    }
    return makers[kind.singular](resource, related, now)


def format_qos(qos: Mapping[str, Any] | None) -> str:
    """`guarantee 20 Mbit/s, ceiling 50 Mbit/s, priority 1, DSCP 46`."""
    if not qos:
        return "no limits"
    guarantee, ceiling = format_rate(qos.get("guarantee_bps")), format_rate(qos.get("ceiling_bps"))
    parts = [
        f"guarantee {'none' if guarantee == '-' else guarantee}",
        f"ceiling {'none' if ceiling == '-' else ceiling}",
        f"priority {qos.get('priority', 4)}",
    ]
    return ", ".join(parts + ([f"DSCP {qos['dscp']}"] if qos.get("dscp") is not None else []))


def render(sections: Sequence[Section]) -> RenderableType:
    """The sections below each other, for a terminal."""
    from rich.console import Group

    parts: list[RenderableType] = []
    for number, section in enumerate(sections):
        parts += ["", *_drawn(section)] if number else _drawn(section)
    return Group(*parts)


def _drawn(section: Section) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    from slicer.cli.output import cell, new_table

    if not section.heading:
        table = new_table("", "", header=False)
        for name, value in section.rows:
            table.add_row(Text(f"{name}:", style="bold"), cell(value))
        return [table]
    heading = Text(section.heading, style="bold")
    if not section.rows:
        return [Text.assemble(heading, f": {section.empty}")]
    table = new_table(*section.titles)
    for row in section.rows:
        table.add_row(*map(cell, row))
    return [heading, Padding(table, (0, 0, 0, 2))]


def _slice(resource: Resource, related: Related, now: float) -> list[Section]:
    spec, name = resource["spec"], resource["spec"]["name"]
    mine = [one for one in related["attachments"] if one["spec"]["slice"] == name]
    facts = (
        ("Slice", name),
        ("Prefixes", text_of(spec["prefixes"])),
        ("Clusters", col.slice_clusters(resource, now)),
        ("Topology", format_topology(topology_of(spec))),
        ("Namespaces", ",".join(spec.get("namespaces") or ()) or "all"),
        ("Gateways wanted", f"{col.slice_gateways(resource, now)} a cluster"),
        ("Bandwidth", format_qos(spec.get("qos"))),
        ("Objectives", format_objectives(spec.get("objectives"))),
        ("Tunnels", _tunnels_wanted(resource)),
        ("Encryption", text_of(spec.get("encryption"))),
        ("VNI", text_of(reach(resource, "status", "vni"))),
        ("DNS", f"<service>.<namespace>.svc.{name}.slice.local, TTL {reach(spec, 'dns', 'ttl_s') or 0} s"),
        ("Age", col.age(resource, now)),
        ("Status", col.condition(resource, now)),
    )
    exports = [one for one in related["exports"] if one["spec"]["slice"] == name]
    members = [one for one in related["memberships"] if one["spec"]["slice"] == name]
    return [
        Section(rows=facts),
        _conditions(resource),
        _slice_clusters(resource),
        _paths(reach(resource, "status", "paths") or []),
        *_objectives(reach(resource, "status", "objectives") or []),
        _attachments(mine),
        Section(heading="Services", titles=("SERVICE", "PORTS", "ENDPOINTS", "DNS NAME"), rows=_services(exports, now)),
        Section(heading="Members", titles=("NAME", "CLUSTER", "WHO"), rows=_members(members, now)),
    ]


def _conditions(resource: Resource) -> Section:
    found = reach(resource, "status", "conditions") or []
    rows = tuple(
        (str(one["type"]), text_of(one["status"]), text_of(one.get("reason")), text_of(one.get("message")))
        for one in found
    )
    return Section(heading="Conditions", titles=("TYPE", "STATUS", "REASON", "MESSAGE"), rows=rows)


def _slice_clusters(resource: Resource) -> Section:
    rows = tuple(
        (one["name"], text_of(one.get("blocks")), text_of(one.get("gateways")), str(one.get("attachments") or 0))
        for one in reach(resource, "status", "clusters") or ()
    )
    return Section(heading="In its clusters", titles=("CLUSTER", "BLOCKS", "GATEWAYS", "PODS"), rows=rows)


def _paths(paths: Sequence[Resource]) -> Section:
    rows = tuple(
        (
            f"{one['cluster']}/{one['node']}",
            one["remote_cluster"],
            "up" if one["up"] else "down",
            format_rtt(one.get("rtt_us")),
            text_of(one.get("gateway")),
        )
        for one in sorted(paths, key=lambda one: (one["cluster"], one["node"], one["remote_cluster"]))
    )
    titles = ("FROM NODE", "TO CLUSTER", "STATE", "ROUND TRIP", "ANSWERED BY")
    return Section(heading="Paths", titles=titles, rows=rows, empty="none measured")


def _objectives(pairs: Sequence[Resource]) -> list[Section]:
    """Nothing for a slice that asks for nothing."""
    rows = tuple(
        (
            " / ".join(one["clusters"]),
            one["state"],
            format_rtt(one.get("latency_us")),
            "-" if one.get("loss_percent") is None else f"{one['loss_percent']} %",
            text_of(one.get("message")),
        )
        for one in pairs
    )
    titles = ("CLUSTERS", "STATE", "ROUND TRIP", "LOSS", "MESSAGE")
    return [Section(heading="Objectives", titles=titles, rows=rows)] if rows else []


def _attachments(found: Sequence[Resource]) -> Section:
    rows = tuple(
        sorted(
            (
                col.pod(one, 0),
                one["spec"]["node"],
                one["spec"]["interface"],
                text_of(one["spec"]["addresses"]),
                one["spec"]["state"],
            )
            for one in found
        )
    )
    return Section(heading="Pods", titles=("POD", "NODE", "INTERFACE", "ADDRESSES", "STATE"), rows=rows)


def _services(found: Sequence[Resource], now: float) -> tuple[Row, ...]:
    cells = (col.service, col.ports, col.endpoint_counts, col.dns_name)
    return tuple(sorted(tuple(cell(one, now) for cell in cells) for one in found))


def _members(found: Sequence[Resource], now: float) -> tuple[Row, ...]:
    return tuple(sorted((one["spec"]["name"], one["spec"]["cluster"], col.member_who(one, now)) for one in found))


def _cluster(resource: Resource, related: Related, now: float) -> list[Section]:
    name = resource["spec"]["name"]

    def own(collection: str) -> list[Resource]:
        return [one for one in related[collection] if one["spec"].get("cluster") == name]

    facts = (
        ("Cluster", name),
        ("Connected", col.connected(resource, now)),
        ("Last report", _ago(col.last_report(resource, now))),
        ("CIDRs", text_of(resource["spec"].get("cidrs"))),
        ("Age", col.age(resource, now)),
    )
    nodes = tuple((n["spec"]["name"], text_of(n["spec"]["addresses"]), col.capable(n, now)) for n in own("nodes"))
    gateways = tuple((str(g["spec"]["tunnel_set"]), str(g["spec"]["slot"]), g["spec"]["node"]) for g in own("gateways"))
    return [
        Section(rows=facts),
        Section(heading="Nodes", titles=("NODE", "ADDRESSES", "GATEWAY"), rows=nodes, empty="none has reported"),
        Section(heading="Gateways", titles=("SET", "SLOT", "NODE"), rows=gateways),
        _tunnels(own("tunnels"), now),
        _attachments(own("attachments")),
    ]


def _node(resource: Resource, related: Related, now: float) -> list[Section]:
    spec = resource["spec"]

    def own(collection: str) -> list[Resource]:
        here = (spec["cluster"], spec["name"])
        return [one for one in related[collection] if (one["spec"].get("cluster"), one["spec"].get("node")) == here]

    facts = (
        ("Node", spec["name"]),
        ("Cluster", spec["cluster"]),
        ("Addresses", text_of(spec["addresses"])),
        ("From outside", text_of(spec.get("outside_addresses") or spec["addresses"])),
        ("Gateway", col.capable(resource, now)),
        ("WireGuard", text_of(spec.get("wireguard"))),
        ("UDP ports", col.tunnel_ports(resource, now)),
        ("VTEP MAC", spec["vtep_mac"]),
        ("Version", text_of(spec.get("version"))),
    )
    return [Section(rows=facts), _tunnels(own("tunnels"), now), _attachments(own("attachments"))]


def _tunnels_wanted(resource: Resource) -> str:
    spec, lanes = resource["spec"], resource["spec"].get("tunnels_per_pair") or 1
    parallel = f", {lanes} between each two gateways" if lanes > 1 else ""
    return f"{text_of(spec.get('tunnels'))} (set {text_of(reach(resource, 'status', 'tunnel_set'))}){parallel}"


def _tunnels(found: Sequence[Resource], now: float) -> Section:
    cells = (
        col.tunnel_from,
        col.tunnel_to,
        col.tunnel_state,
        col.handshake,
        col.size("rx_bytes"),
        col.size("tx_bytes"),
    )
    rows = tuple(sorted(tuple(cell(one, now) for cell in cells) for one in found))
    return Section(heading="Tunnels", titles=("FROM", "TO", "STATE", "HANDSHAKE", "RECEIVED", "SENT"), rows=rows)


def _attachment(resource: Resource, _: Related, now: float) -> list[Section]:
    spec = resource["spec"]
    rates = spec.get("bandwidth") or {}
    facts = (
        ("Pod", col.pod(resource, now)),
        ("Slice", spec["slice"]),
        ("Node", spec["node"]),
        ("State", spec["state"]),
        *([("Reason", spec["message"])] if spec.get("message") else []),
        ("Interface", spec["interface"]),
        ("Addresses", text_of(spec["addresses"])),
        ("MAC", spec["mac"]),
        ("MTU", str(spec["mtu"])),
        ("Into the pod", _limit(rates.get("ingress_bps"))),
        ("Out of the pod", _limit(rates.get("egress_bps"))),
        ("Asked for by", col.attached_by(resource, now)),
        ("Labels", format_labels(spec.get("labels"))),
        ("Other addresses", text_of(spec.get("primary_addresses"))),
        ("Host interface", spec["host_interface"]),
        ("Network namespace", spec["netns"]),
        ("Container", spec["container_id"]),
    )
    return [Section(rows=facts)]


def _service(resource: Resource, _: Related, now: float) -> list[Section]:
    spec = resource["spec"]
    facts = (
        ("Service", col.service(resource, now)),
        ("Slice", spec["slice"]),
        ("DNS name", col.dns_name(resource, now)),
        ("Ports", col.ports(resource, now)),
        ("Selector", format_labels(spec["selector"])),
        ("Clusters", ",".join(spec.get("clusters") or ()) or "all"),
        ("Age", col.age(resource, now)),
    )
    rows = tuple(
        (cluster, one["pod"], one["node"], text_of(one["addresses"]), "ready" if one.get("ready", True) else "down")
        for cluster, endpoints in col.endpoint_sets(resource)
        for one in endpoints
    )
    empty = f"none: no attached pod of namespace {spec['namespace']} has the labels {format_labels(spec['selector'])}"
    titles = ("CLUSTER", "POD", "NODE", "ADDRESSES", "STATE")
    return [Section(rows=facts), Section(heading="Endpoints", titles=titles, rows=rows, empty=empty)]


def _ago(age: str) -> str:
    return "never" if age == "-" else f"{age} ago"


def _limit(bps: int | None) -> str:
    return "no limit" if bps is None else format_rate(bps)
