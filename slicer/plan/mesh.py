"""The mesh of WireGuard between the nodes of one cluster: its names and addresses, and which nodes are in it.

Slices that are encrypted everywhere have their VXLAN inside it. A node's address there follows from its name: nobody
allocates it, and neither a node's new underlay address nor an old node's record with the same one changes it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache

from slicer.model.clusters import TUNNEL_SET_MAX, MeshSilence, Node, TunnelEndpoint
from slicer.model.names import Address
from slicer.model.slices import Encryption, Slice
from slicer.plan.probing import PROBE_PREFIX

MESH_NS = "m-nodes"
MESH_SET = TUNNEL_SET_MAX + 1
"""Stands where tunnels have the number of their set; the hub never gives it out."""
MESH_TUNNEL = (MESH_SET, 0, 0, 0)
"""(tunnel set, index, generation, lane) of the one device that a node has in the mesh."""
MESH_PREFIX = ipaddress.IPv6Network((int(PROBE_PREFIX.network_address) | MESH_SET << 64, 64))
"""Seen in the mesh's namespaces only. The part of the probes' prefix that belongs to the mesh's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshPeer:
    """Another node of the cluster, as the mesh reaches it."""

    node: str
    address: Address
    """In the mesh."""
    public_key: str
    endpoint: tuple[Address, int]


def is_meshed(spec: Slice) -> bool:
    """Whether the slice's packets between nodes go through the mesh."""
    return spec.encryption is Encryption.EVERYWHERE


@cache
def mesh_address(cluster: str, node: str) -> Address:
    """The address of a node in its cluster's mesh: 64 bits of its names' hash."""
    return MESH_PREFIX[int.from_bytes(hashlib.sha256(f"{cluster}/{node}".encode()).digest()[:8], "big")]


def mesh_end(node: Node) -> TunnelEndpoint | None:
    """The node's device in the mesh, as it said; None while it has none, and where no WireGuard could serve it."""
    ends = (end for end in node.tunnels if (end.tunnel_set, end.index, end.generation, end.lane) == MESH_TUNNEL)
    return next(ends, None) if node.wireguard else None


def mesh_peer(node: Node, families: Collection[int]) -> MeshPeer | None:
    """How a node with underlay addresses of these families reaches `node`; None while it does not (`mesh_problem`)."""
    end = mesh_end(node)
    address = next((address for address in node.addresses if address.version in families), None)
    if end is None or address is None:
        return None
    return MeshPeer(
        node=node.name,
        address=mesh_address(node.cluster, node.name),
        public_key=end.public_key,
        endpoint=(address, end.port),
    )


def mesh_problem(node: Node, families: Collection[int]) -> str:
    """Why a node with underlay addresses of these families does not reach `node` through the mesh; empty if it does."""
    if problem := _own_problem(node):
        return f"node {node.name} {problem}"
    if not any(address.version in families for address in node.addresses):
        return f"node {node.name} has no address of a family that this node has"
    return ""


def unmeshed(nodes: Iterable[Node]) -> list[str]:
    """The nodes that are not in the mesh of their cluster, with what they lack. A node that is alone needs none."""
    there = sorted(nodes, key=lambda node: (node.cluster, node.name))
    sizes = Counter(node.cluster for node in there)
    found = ((node, _own_problem(node)) for node in there if sizes[node.cluster] > 1)
    return [f"node {node.cluster}/{node.name} {problem}" for node, problem in found if problem]


def unheard(told: Iterable[MeshSilence]) -> list[str]:
    """The nodes that others do not hear in the mesh, with who said so first."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in sorted(told, key=lambda one: (one.cluster, one.node)):
        for name in one.silent:
            found[one.cluster, name].append(one.node)
    return [
        f"node {cluster}/{name} does not answer {by[0]}{f' and {len(by) - 1} more' if len(by) > 1 else ''}"
        for (cluster, name), by in sorted(found.items())
    ]


def _own_problem(node: Node) -> str:
    if not node.wireguard:
        return "has no WireGuard"
    return "" if mesh_end(node) else "has told no key for the mesh between nodes"
