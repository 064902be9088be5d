"""What users type, read into the model's values: names with namespaces, labels, ports, gateways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.cli.quantities import parse_duration, parse_rate
from slicer.model.errors import InvalidError
from slicer.model.slices import Objectives, QosProfile, ServicePort
from slicer.model.topology import ClusterLink, SliceTopology

PROTOCOLS = ("TCP", "UDP", "SCTP")


def parse_list(values: list[str]) -> tuple[str, ...]:
    """The words of options that may be repeated and may hold commas: `-c a,b -c c` → a, b, c."""
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def parse_namespaced(what: str, text: str, namespace_option: str | None = None) -> tuple[str, str]:
    """(namespace, name) of `ns/name`; a bare name lies in the option's namespace or `default`, as kubectl has it."""
    namespace, slash, name = text.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace:
        raise InvalidError(f"{what} {text!r} is not NAMESPACE/NAME")
    if namespace and namespace_option not in {None, namespace}:
        raise InvalidError(f"{what} {text!r} lies in namespace {namespace}, but --namespace says {namespace_option}")
    return namespace or namespace_option or "default", name


def parse_pod(what: str, text: str) -> tuple[str | None, str, str]:
    """(cluster or None, namespace, pod) of `cluster/ns/pod`, `ns/pod` or `pod` (namespace `default`)."""
    parts = text.split("/")
    if not all(parts) or len(parts) > 3:
        raise InvalidError(f"{what} {text!r} is not CLUSTER/NAMESPACE/POD, NAMESPACE/POD or POD")
    cluster = parts[0] if len(parts) == 3 else None
    return cluster, parts[-2] if len(parts) > 1 else "default", parts[-1]


def parse_labels(what: str, values: list[str]) -> tuple[tuple[str, str], ...]:
    """Sorted pairs of `k=v,k2=v2`; the value may be empty, the key may not stand twice."""
    pairs: dict[str, str] = {}
    for word in parse_list(values):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InvalidError(f"{what} {word!r} is not KEY=VALUE")
        if pairs.setdefault(key, value) != value:
            raise InvalidError(f"{what} {word!r}: the key {key!r} stands twice with different values")
    return tuple(sorted(pairs.items()))


def parse_port(text: str) -> ServicePort:
    """`8080`, `http:8080`, `dns:53/udp`; TCP where no protocol is said."""
    number, _, protocol = text.partition("/")
    name, colon, digits = number.rpartition(":")
    wanted = (protocol or "tcp").upper()
    if not (digits.isascii() and digits.isdecimal()) or (colon and not name) or wanted not in PROTOCOLS:
        raise InvalidError(f"port {text!r} is not PORT, NAME:PORT or NAME:PORT/PROTOCOL (tcp, udp or sctp)")
    return ServicePort(name=name, port=int(digits), protocol=wanted)


def parse_gateways(text: str) -> int:
    """Gateways wanted a cluster; `all` is 0, as the model has it."""
    if text == "all":
        return 0
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise InvalidError(f"gateways {text!r} is neither a number from 1 nor `all`")
    return int(text)


def parse_qos(guarantee: str | None, ceiling: str | None, priority: int | None, dscp: int | None) -> QosProfile | None:
    """The profile that the options describe; None if none of them was given."""
    if guarantee is None and ceiling is None and priority is None and dscp is None:
        return None
    return QosProfile(
        guarantee_bps=None if guarantee is None else parse_rate("--guarantee", guarantee),
        ceiling_bps=None if ceiling is None else parse_rate("--ceiling", ceiling),
        priority=4 if priority is None else priority,
        dscp=dscp,
    )


def parse_objectives(latency: str | None, loss: int | None) -> Objectives | None:
    """The objectives that the options describe; None if none of them was given."""
    if latency is None and loss is None:
        return None
    latency_ms = None if latency is None else round(parse_duration("--latency", latency) * 1000)
    return Objectives(latency_ms=latency_ms, loss_percent=loss)


def parse_topology(hubs: list[str] | None, links: list[str] | None) -> SliceTopology | None:
    """The topology that the options describe; None if none of them was given."""
    if hubs is None and links is None:
        return None
    return SliceTopology(hubs=parse_list(hubs or []), links=tuple(parse_link(word) for word in parse_list(links or [])))


def parse_link(text: str) -> ClusterLink:
    """`a:b`."""
    one, colon, other = text.partition(":")
    if not (one and colon and other) or ":" in other:
        raise InvalidError(f"link {text!r} is not CLUSTER:CLUSTER")
    return ClusterLink(clusters=(one, other))


def topology_of(spec: Mapping[str, Any]) -> SliceTopology | None:
    """The topology in a slice's spec as REST shows it."""
    found = spec.get("topology")
    if found is None:
        return None
    from slicer.client.codec import decode  # most slices are meshes

    return decode(SliceTopology, found)


def format_topology(topology: SliceTopology | None) -> str:
    """`mesh`, `hub a, b`, `hub a and links b:c, c:d`, `links a:b`."""
    if topology is None:
        return "mesh"
    hubs = f"hub {', '.join(topology.hubs)}" if topology.hubs else ""
    links = f"links {', '.join(map(str, topology.links))}" if topology.links else ""
    return " and ".join(part for part in (hubs, links) if part)


def format_objectives(objectives: Mapping[str, object] | None) -> str:
    """`latency at most 50 ms, loss at most 1 %`."""
    words = (("latency_ms", "latency at most {} ms"), ("loss_percent", "loss at most {} %"))
    given = [text.format((objectives or {})[key]) for key, text in words if (objectives or {}).get(key) is not None]
    return ", ".join(given) or "none"


def format_labels(labels: Mapping[str, str] | None) -> str:
    """`k=v,k2=v2`; `-` where there are none."""
    return ",".join(f"{key}={text}" for key, text in sorted((labels or {}).items())) or "-"


def format_gateways(count: int) -> str:
    """The number, or `all` for 0."""
    return str(count) if count else "all"


def format_ports(ports: list[dict[str, object]]) -> str:
    """`http:8080/tcp, 53/udp`; `-` where there are none."""
    written = [f"{port['name']}:{port['port']}" if port.get("name") else str(port["port"]) for port in ports]
    protocols = [str(port.get("protocol", "TCP")).lower() for port in ports]
    return ", ".join(f"{one}/{protocol}" for one, protocol in zip(written, protocols, strict=True)) or "-"
