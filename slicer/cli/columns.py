"""The cells of tables: small pure functions from a resource (and the time now) to text. `-` means nothing is there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from slicer.cli.quantities import format_age, format_bytes, format_rate, format_rtt
from slicer.cli.words import format_gateways, format_labels, format_ports, format_topology, topology_of

Resource = dict[str, Any]
Cell = Callable[[Resource, float], str]
HANDSHAKE_FRESH_S = 200
"""WireGuard makes a new handshake every 120 s while there is traffic and gives a session up after 180 s."""


def reach(resource: Any, *path: str) -> Any:
    """The value at `path`, None as soon as a part is missing."""
    for part in path:
        if not isinstance(resource, dict):
            return None
        resource = resource.get(part)
    return resource


def text_of(value: Any) -> str:
    """A value for people: lists by comma, `-` for nothing."""
    if value is None or (isinstance(value, str | list) and not value):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def seconds(value: Any) -> float | None:
    """Unix seconds of a time in JSON (a number, or RFC 3339 text); None where there is none."""
    if isinstance(value, str) and value:
        return datetime.fromisoformat(value).timestamp()
    return float(value) if isinstance(value, int | float) else None


def since(value: Any, now: float) -> str:
    """`5m` for a time in JSON; `-` where there is none."""
    then = seconds(value)
    return "-" if then is None else format_age(now - then)


def spec(*path: str) -> Cell:
    """The field of the spec, as text."""
    return lambda resource, _: text_of(reach(resource, "spec", *path))


def status(*path: str) -> Cell:
    """The field of the status, as text."""
    return lambda resource, _: text_of(reach(resource, "status", *path))


def count(*path: str) -> Cell:
    """A number, or the length of a list."""

    def cell(resource: Resource, _: float) -> str:
        value = reach(resource, *path)
        return str(len(value)) if isinstance(value, list) else text_of(value)

    return cell


def rate(*path: str) -> Cell:
    """A rate of the spec with its unit."""
    return lambda resource, _: format_rate(reach(resource, "spec", *path))


def size(field: str) -> Cell:
    """A number of bytes with its unit."""
    return lambda resource, _: format_bytes(reach(resource, "spec", field) or 0)


def labels(field: str) -> Cell:
    """Label pairs."""
    return lambda resource, _: format_labels(reach(resource, "spec", field))


def every(field: str) -> Cell:
    """A list where empty means all."""
    return lambda resource, _: ",".join(reach(resource, "spec", field) or ()) or "all"


def age(resource: Resource, now: float) -> str:
    """Time since the resource was made."""
    return since(reach(resource, "metadata", "created_at"), now)


def ago(field: str) -> Cell:
    """`5m ago` for a time of the status."""

    def cell(resource: Resource, now: float) -> str:
        last = since(reach(resource, "status", field), now)
        return last if last == "-" else f"{last} ago"

    return cell


def slice_clusters(resource: Resource, _: float) -> str:
    """The clusters that the slice spans; `all` (with those there are now) if none are named."""
    named = reach(resource, "spec", "clusters")
    now_there = [cluster["name"] for cluster in reach(resource, "status", "clusters") or ()]
    if named:
        return ",".join(named)
    return f"all ({','.join(now_there)})" if now_there else "all"


def slice_pods(resource: Resource, _: float) -> str:
    """Attachments of the slice in all clusters."""
    return str(sum(cluster.get("attachments") or 0 for cluster in reach(resource, "status", "clusters") or ()))


def slice_topology(resource: Resource, _: float) -> str:
    """Which clusters are linked."""
    return format_topology(topology_of(resource["spec"]))


def slice_gateways(resource: Resource, _: float) -> str:
    """Gateways wanted in each cluster."""
    return format_gateways(reach(resource, "spec", "gateways") or 0)


def condition(resource: Resource, _: float) -> str:
    """`ready`, or the reason of the first condition that does not hold."""
    conditions = reach(resource, "status", "conditions") or []
    for one in conditions:
        if not one["status"]:
            return str(one["reason"])
    return "ready" if conditions else "-"


def connected(resource: Resource, _: float) -> str:
    """Whether the cluster's controller is connected to the hub now."""
    return text_of(bool(reach(resource, "status", "connected")))


def last_report(resource: Resource, now: float) -> str:
    """Time since the cluster last reported."""
    return since(reach(resource, "status", "last_report"), now)


def capable(resource: Resource, _: float) -> str:
    """Whether the node can be a gateway, and is to be one before others."""
    able = "preferred" if reach(resource, "spec", "gateway_preferred") else "capable"
    return able if reach(resource, "spec", "gateway_capable") else "no"


def tunnel_ports(resource: Resource, _: float) -> str:
    """UDP ports of the WireGuard devices."""
    return text_of(sorted({tunnel["port"] for tunnel in reach(resource, "spec", "tunnels") or ()}))


def gateway_state(resource: Resource, now: float) -> str:
    """`active`, or how far it is on its way out of use and since when."""
    state, since_ms = reach(resource, "spec", "state"), reach(resource, "spec", "since_ms")
    return text_of(state) if state in {None, "active"} else f"{state} for {since((since_ms or 0) / 1000, now)}"


def generations(resource: Resource, _: float) -> str:
    """Generations of the devices that it has; two while keys rotate."""
    return text_of(sorted({tunnel.get("generation", 0) for tunnel in reach(resource, "spec", "tunnels") or ()}))


def public_keys(resource: Resource, _: float) -> str:
    """The devices' public keys."""
    return text_of([tunnel["public_key"] for tunnel in reach(resource, "spec", "tunnels") or ()])


def tunnel_from(resource: Resource, _: float) -> str:
    """`cluster/node` of this end."""
    return f"{resource['spec']['cluster']}/{resource['spec']['node']}"


def tunnel_to(resource: Resource, _: float) -> str:
    """`cluster/node` of the other end."""
    return f"{resource['spec']['remote_cluster']}/{resource['spec']['remote_node']}"


def tunnel_state(resource: Resource, now: float) -> str:
    """`up` or `down` as probes say; without them by the last handshake: then also `stale` (longer than a session)."""
    last = reach(resource, "spec", "handshake_at_s")
    probed = reach(resource, "spec", "up")
    if probed is not None:
        return "up" if probed else "down"
    if last is None:
        return "down"
    return "up" if now - last <= HANDSHAKE_FRESH_S else "stale"


def rtt(field: str) -> Cell:
    """A round trip of the spec in milliseconds."""
    return lambda resource, _: format_rtt(reach(resource, "spec", field))


def loss(resource: Resource, _: float) -> str:
    """Of the last hundred probes."""
    percent = reach(resource, "spec", "loss_percent")
    return "-" if percent is None else f"{percent} %"


def handshake(resource: Resource, now: float) -> str:
    """`12s ago`."""
    last = since(reach(resource, "spec", "handshake_at_s"), now)
    return "never" if last == "-" else f"{last} ago"


def member_who(resource: Resource, _: float) -> str:
    """Whom the membership means: a pod, pods with labels, or a namespace."""
    one = resource["spec"]
    if one.get("pod"):
        return f"pod {one['namespace']}/{one['pod']}"
    if one.get("labels"):
        return f"pods {one['namespace']}/{format_labels(one['labels'])}"
    return f"namespace {one['namespace']}"


def pod(resource: Resource, _: float) -> str:
    """`cluster/namespace/pod`, the form that `--from` takes."""
    return "/".join(str(resource["spec"][field]) for field in ("cluster", "namespace", "pod"))


def attached_by(resource: Resource, _: float) -> str:
    """`cni`, or the membership that asked."""
    name = reach(resource, "spec", "membership")
    return f"member {name}" if name else text_of(reach(resource, "spec", "by"))


def service(resource: Resource, _: float) -> str:
    """`namespace/name`."""
    return f"{resource['spec']['namespace']}/{resource['spec']['name']}"


def ports(resource: Resource, _: float) -> str:
    """Ports with their names and protocols."""
    return format_ports(reach(resource, "spec", "ports") or [])


def endpoint_sets(resource: Resource) -> list[tuple[str, list[dict[str, Any]]]]:
    """(cluster, endpoints) of a service, sorted by cluster."""
    found = reach(resource, "status", "endpoints") or []
    return sorted((one["cluster"], list(one.get("endpoints") or ())) for one in found)


def endpoint_counts(resource: Resource, _: float) -> str:
    """Ready endpoints of each cluster."""
    sets = endpoint_sets(resource)
    return ", ".join(f"{cluster} {sum(e.get('ready', True) for e in all_)}" for cluster, all_ in sets) or "none"


def dns_name(resource: Resource, _: float) -> str:
    """The name that members of the slice resolve."""
    one = resource["spec"]
    return f"{one['name']}.{one['namespace']}.svc.{one['slice']}.slice.local"
