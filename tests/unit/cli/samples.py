"""Two clusters with one slice, as the REST API shows them; a test changes what it is about."""

from __future__ import annotations

from typing import Any

NOW = 1_800_000_000.0
Resource = dict[str, Any]


def resource(spec: Resource, status: Resource | None = None, age_s: float = 300) -> Resource:
    """The frame of every resource."""
    metadata = {"name": spec.get("name", "x"), "revision": 7, "created_at": NOW - age_s}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def a_slice(name: str = "red", **changes: Any) -> Resource:
    """Slice over a and b, ready, packets pass both ways."""
    spec = {
        "name": name,
        "prefixes": ["10.100.0.0/16"],
        "clusters": [],
        "gateways": 2,
        "qos": None,
        "tunnels": "shared",
        "dns": {"ttl_s": 5},
        "namespaces": [],
    }
    status = {
        "vni": 1,
        "tunnel_set": 0,
        "conditions": [condition("Ready"), condition("Allocated"), condition("Gateways"), condition("Connected")],
        "clusters": [
            {"name": "a", "blocks": ["10.100.0.0/20"], "gateways": ["a-n1", "a-n2"], "attachments": 1},
            {"name": "b", "blocks": ["10.100.16.0/20"], "gateways": ["b-n1"], "attachments": 2},
        ],
        "paths": [path("a", "b"), path("b", "a")],
    }
    return resource({**spec, **changes}, status)


def condition(type_: str, reason: str = "", message: str = "") -> Resource:
    """A condition that holds, or one that does not for a reason."""
    return {"type": type_, "status": not reason, "reason": reason or type_, "message": message}


def path(cluster: str, remote: str, *, up: bool = True) -> Resource:
    """What one node measured."""
    return {
        "slice": "red",
        "cluster": cluster,
        "node": f"{cluster}-n1",
        "remote_cluster": remote,
        "up": up,
        "rtt_us": 430 if up else None,
        "gateway": f"{remote}-n1" if up else "",
    }


def a_cluster(name: str, *, connected: bool = True) -> Resource:
    """A cluster that reported a moment ago."""
    return resource(
        {"name": name, "cidrs": ["10.244.0.0/16"]}, {"connected": connected, "last_report": NOW - 2, "nodes": []}
    )


def a_node(cluster: str, name: str, wireguard: str = "wireguard-go") -> Resource:
    """A node with one WireGuard device."""
    return resource(
        {
            "cluster": cluster,
            "name": name,
            "addresses": ["198.18.1.11"],
            "outside_addresses": [],
            "vtep_mac": "02:00:00:00:00:01",
            "gateway_capable": bool(wireguard),
            "wireguard": wireguard,
            "tunnels": [{"tunnel_set": 0, "index": 0, "public_key": "K" * 43 + "=", "port": 51820}],
            "version": "0.1.0",
        }
    )


def a_gateway(cluster: str, node: str, slot: int = 0, state: str = "active", since_ms: int = 0) -> Resource:
    """A gateway of the first tunnel set."""
    return resource(
        {
            "cluster": cluster,
            "tunnel_set": 0,
            "slot": slot,
            "node": node,
            "addresses": ["198.18.1.11"],
            "tunnels": [{"tunnel_set": 0, "index": 0, "public_key": "K" * 43 + "=", "port": 51820}],
            "state": state,
            "since_ms": since_ms,
        }
    )


def a_tunnel(cluster: str, remote: str, handshake_at_s: int | None = int(NOW) - 12, **probed: object) -> Resource:
    """What the first gateway of `cluster` sees of the first one of `remote`."""
    return resource(
        {
            "cluster": cluster,
            "node": f"{cluster}-n1",
            "tunnel_set": 0,
            "index": 0,
            "generation": 0,
            "lane": 0,
            "remote_cluster": remote,
            "remote_node": f"{remote}-n1",
            "endpoint": "198.18.2.11:51820",
            "handshake_at_s": handshake_at_s,
            "rx_bytes": 2_500_000,
            "tx_bytes": 640,
            **probed,
        }
    )


def a_drain(*waiting_for: str) -> Resource:
    """A drain of a-n1 that waits for some, or is done."""
    status = {"state": "draining" if waiting_for else "drained", "slots": [], "waiting_for": list(waiting_for)}
    return resource({"cluster": "a", "node": "a-n1", "force": False, "reason": "new disk"}, status)


def a_rotation(generation: int, *waiting_for: str) -> Resource:
    """A rotation of the first tunnel set that waits for some, or is over."""
    finished = None if waiting_for else NOW - 240
    status = {
        "state": "handshake" if waiting_for else "done",
        "waiting_for": list(waiting_for),
        "started_at_s": NOW - 300,
        "finished_at_s": finished,
    }
    return resource({"tunnel_set": 0, "generation": generation, "reason": ""}, status)


def an_attachment(cluster: str, pod: str, address: str, state: str = "attached") -> Resource:
    """A pod of namespace shop on slice red."""
    return resource(
        {
            "container_id": f"id-{pod}",
            "interface": "net1",
            "slice": "red",
            "cluster": cluster,
            "node": f"{cluster}-n1",
            "namespace": "shop",
            "pod": pod,
            "pod_uid": "",
            "labels": {"app": pod},
            "netns": f"/run/netns/{pod}",
            "addresses": [address],
            "mac": "02:00:0a:64:00:05",
            "host_interface": "p00000001",
            "mtu": 1420,
            "bandwidth": None,
            "network": "",
            "membership": "",
            "by": "cni",
            "state": state,
            "primary_addresses": ["10.244.1.2"],
        }
    )


def a_service(endpoints: dict[str, list[Resource]] | None = None) -> Resource:
    """shop/web on slice red."""
    ends = {"b": [{"pod": "web", "node": "b-n1", "addresses": ["10.100.16.5"], "ready": True}]}
    sets = [{"cluster": c, "endpoints": list(e)} for c, e in (ends if endpoints is None else endpoints).items()]
    return resource(
        {
            "slice": "red",
            "namespace": "shop",
            "name": "web",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "clusters": [],
        },
        {"endpoints": sets},
    )


def a_membership(**changes: Any) -> Resource:
    """Pods of namespace shop with app=web in cluster a."""
    spec = {
        "name": "red-a-shop-app-web",
        "slice": "red",
        "cluster": "a",
        "namespace": "shop",
        "pod": None,
        "labels": {"app": "web"},
        "interface": None,
        "addresses": [],
        "reason": "",
    }
    return resource({**spec, **changes})


def healthy() -> dict[str, list[Resource]]:
    """Everything that the hub shows while all is well."""
    return {
        "slices": [a_slice()],
        "clusters": [a_cluster("a"), a_cluster("b")],
        "nodes": [a_node("a", "a-n1"), a_node("a", "a-n2"), a_node("b", "b-n1")],
        "gateways": [a_gateway("a", "a-n1"), a_gateway("a", "a-n2", 1), a_gateway("b", "b-n1")],
        "tunnels": [
            a_tunnel("a", "b", up=True, rtt_us=430, rtt_p99_us=1200, jitter_us=60, loss_percent=2),
            a_tunnel("b", "a"),
        ],
        "memberships": [a_membership()],
        "attachments": [an_attachment("a", "client", "10.100.0.5"), an_attachment("b", "web", "10.100.16.5")],
        "exports": [a_service()],
        "drains": [],
        "rotations": [a_rotation(1)],
    }
