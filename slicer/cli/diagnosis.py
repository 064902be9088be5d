"""What `slicectl status` finds: a pure function from everything that the hub knows to problems with their cures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slicer.cli import columns as col
from slicer.cli.columns import reach
from slicer.cli.kinds import DRAINS, KINDS, ROTATIONS, Resource
from slicer.cli.words import format_labels

Snapshot = Mapping[str, Sequence[Resource]]
"""Collection → its resources."""
PATIENCE_S = 60
"""A drain or a rotation takes some seconds where everybody answers."""
SUMMARY_CONDITION = "Ready"
"""The condition that only repeats the first of the others that does not hold."""
CURES = {
    "PrefixOverlap": "make the slice anew with a prefix that is free there, or leave the cluster out: --clusters",
    "NoCluster": "slicectl get clusters lists those that joined; slicectl join-token NAME lets another one in",
    "NoFreeBlock": "the prefix is used up: make a slice with a larger one",
    "NoGateway": "slicectl get nodes -o wide shows which nodes could be one; a gateway needs WireGuard",
    "NoMesh": "slicectl get nodes shows which have WireGuard; where one does, its slicer-agent is old or not running",
    "MeshSilent": "does a firewall between these nodes drop UDP to the mesh's port? slicectl get nodes -o wide",
    "ClusterWithoutLink": "slicectl topology set {name} --link A:B, with the links that are to stay, gives it one",
    "PathDown": "slicectl describe slice {name} shows what each node measured; then look at the tunnels above",
    "NotMeasured": "the nodes have not measured yet: is slicer-agent running there? slicectl get nodes",
}
"""By the condition's reason (`slicer.plan.status`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; the cure is a sentence or a command."""

    what: str
    cure: str
    hint: bool = False
    """Only worth a look: nothing is broken (yet)."""


def problems(snapshot: Snapshot, now: float) -> list[Problem]:
    """Everything that is wrong, the causes before their consequences."""
    return [
        *_clusters(snapshot),
        *_nodes(snapshot),
        *_tunnels(snapshot, now),
        *_slices(snapshot),
        *_attachments(snapshot),
        *_services(snapshot),
        *_upkeep(snapshot, now),
    ]


def summary(snapshot: Snapshot, now: float) -> list[tuple[str, str, str]]:
    """(kind, how many, what they are) for the top of the screen."""
    details = {
        "clusters": _names(snapshot["clusters"], "name"),
        "nodes": _per_cluster(snapshot["nodes"]),
        "gateways": _per_cluster(snapshot["gateways"]),
        "tunnels": _counted([col.tunnel_state(one, now) for one in snapshot["tunnels"]]),
        "slices": _names(snapshot["slices"], "name"),
        "attachments": _counted([str(one["spec"]["state"]) for one in snapshot["attachments"]]),
        "exports": ", ".join(col.service(one, now) for one in snapshot["exports"]),
        "memberships": "",
        "drains": ", ".join(f"{DRAINS.name_of(one)} {one['status']['state']}" for one in snapshot["drains"]),
        "rotations": _counted([str(one["status"]["state"]) for one in snapshot["rotations"]]),
    }
    shown = [kind for kind in KINDS if kind not in {DRAINS, ROTATIONS} or snapshot[kind.collection]]
    return [(kind.plural, str(len(snapshot[kind.collection])), details[kind.collection]) for kind in shown]


def _upkeep(snapshot: Snapshot, now: float) -> Iterator[Problem]:
    """Planned work that has been waiting for somebody for a while."""
    for kind, what in ((DRAINS, "drain"), (ROTATIONS, "rotation of keys")):
        for one in snapshot[kind.collection]:
            waiting = ", ".join(reach(one, "status", "waiting_for") or ())
            begun_s = col.seconds(reach(one, "metadata", "created_at")) or now
            if waiting and now - begun_s > PATIENCE_S:
                yield Problem(
                    what=f"{what} {kind.name_of(one)} waits for {waiting}",
                    cure=f"nothing is lost meanwhile; are they down? slicectl get {kind.plural}, slicectl get tunnels",
                    hint=True,
                )


def _clusters(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot["clusters"]:
        yield Problem(
            what="no cluster has joined yet",
            cure="slicectl join-token NAME > token, then start slicer-controller --role member with that file",
            hint=True,
        )
    for one in snapshot["clusters"]:
        name = one["spec"]["name"]
        if not reach(one, "status", "connected"):
            yield Problem(
                what=f"cluster {name} is not connected to the hub; what runs there goes on with what it knows",
                cure=f"is the slicer-controller of {name} running, and can it reach the hub? Its log says",
            )


def _nodes(snapshot: Snapshot) -> Iterator[Problem]:
    for one in snapshot["clusters"]:
        name = one["spec"]["name"]
        nodes = [node["spec"] for node in snapshot["nodes"] if node["spec"]["cluster"] == name]
        if not nodes:
            yield Problem(
                what=f"cluster {name} has no nodes",
                cure=f"start slicer-agent there, with a token from the member: slicectl --server https://MEMBER "
                f"join-token NODE --kind node (cluster {name})",
            )
        elif not any(node.get("gateway_capable") and node.get("wireguard") for node in nodes):
            yield Problem(
                what=f"no node of cluster {name} can be a gateway: none has WireGuard",
                cure="load the wireguard module or install wireguard-go on its nodes",
            )


def _tunnels(snapshot: Snapshot, now: float) -> Iterator[Problem]:
    for one in snapshot["tunnels"]:
        if col.tunnel_state(one, now) == "up":
            continue
        ends = f"{col.tunnel_from(one, now)} → {col.tunnel_to(one, now)}"
        endpoint = reach(one, "spec", "endpoint")
        where = f"{endpoint} (UDP)" if endpoint else "the other end, whose address is not known yet,"
        yield Problem(
            what=f"tunnel {ends}: {_silence(one, now)}",
            cure=f"can {one['spec']['node']} reach {where}? Is slicer-agent running on {one['spec']['remote_node']}?",
        )


def _silence(tunnel: Resource, now: float) -> str:
    last = col.handshake(tunnel, now)
    if last == "never":
        return "no handshake yet"
    return f"last handshake {last}" if reach(tunnel, "spec", "up") is None else "probes do not come back"


def _slices(snapshot: Snapshot) -> Iterator[Problem]:
    for one in snapshot["slices"]:
        name = one["spec"]["name"]
        for condition in reach(one, "status", "conditions") or ():
            if condition["status"] or condition["type"] == SUMMARY_CONDITION:
                continue
            cure = CURES.get(condition["reason"], "slicectl describe slice {name}")
            yield Problem(what=f"slice {name}: {condition['message']}", cure=cure.format(name=name))


def _attachments(snapshot: Snapshot) -> Iterator[Problem]:
    for one in snapshot["attachments"]:
        if one["spec"]["state"] == "pending":
            message = one["spec"].get("message")
            yield Problem(
                what=f"pod {col.pod(one, 0)} is not attached to slice {one['spec']['slice']}: {message or 'not yet'}",
                cure="it is tried again by itself; slicectl member list shows who asked for it"
                if message
                else f"the log of slicer-agent on {one['spec']['node']} says why",
                hint=True,
            )


def _services(snapshot: Snapshot) -> Iterator[Problem]:
    for one in snapshot["exports"]:
        if any(ends for _, ends in col.endpoint_sets(one)):
            continue
        spec = one["spec"]
        yield Problem(
            what=f"service {col.service(one, 0)} of slice {spec['slice']} has no endpoints",
            cure=f"is a pod of namespace {spec['namespace']} with {format_labels(spec['selector'])} attached? "
            f"slicectl get attachments --slice {spec['slice']}",
            hint=True,
        )


def _names(resources: Sequence[Resource], field: str) -> str:
    return ", ".join(sorted(str(one["spec"][field]) for one in resources))


def _per_cluster(resources: Sequence[Resource]) -> str:
    counts = _counts([str(one["spec"]["cluster"]) for one in resources])
    return ", ".join(f"{count} in {cluster}" for cluster, count in counts)


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in _counts(words))


def _counts(words: Sequence[str]) -> list[tuple[str, int]]:
    return [(word, list(words).count(word)) for word in sorted(set(words))]
