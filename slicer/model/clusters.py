"""What clusters and nodes are, what was allocated to them, and what they report of themselves."""

from __future__ import annotations

from dataclasses import dataclass

from slicer.model.names import Address, Prefix, check_label, check_mac, check_public_key, check_range, check_subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as the hub knows it; the CIDRs are only for the overlap check."""

    name: str
    cidrs: tuple[Prefix, ...] = ()
    """Pod, Service and node CIDRs of the cluster's primary network, sorted by family and address."""

    def __post_init__(self) -> None:
        check_label("cluster name", self.name)
        object.__setattr__(self, "cidrs", tuple(sorted(set(self.cidrs), key=lambda c: (c.version, c))))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterBlocks:
    """The parts of a slice's prefixes that one cluster hands out (allocated by the hub, grown on demand)."""

    slice: str
    cluster: str
    blocks: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBlocks:
    """The parts of a cluster's blocks that one node hands out (allocated by the member, grown on demand).

    The first address of each family's first block is the node's *router address* in the slice; it is never a pod's.
    """

    slice: str
    cluster: str
    node: str
    blocks: tuple[Prefix, ...]

    def router_addresses(self) -> tuple[Address, ...]:
        """One address a family (IPv4 first): source of the node's ICMP errors, target of its probes, VXLAN next hop."""
        firsts: dict[int, Address] = {}
        for block in self.blocks:
            firsts.setdefault(block.version, block.network_address + 1 if block.num_addresses > 2 else block[0])
        return tuple(firsts[version] for version in sorted(firsts))


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEndpoint:
    """One WireGuard device of a gateway, as its peers see it. The private key never leaves the node."""

    tunnel_set: int
    index: int
    """The slot of the *remote* gateways that this device talks to."""
    public_key: str
    port: int

    def __post_init__(self) -> None:
        check_public_key(self.public_key)
        check_range("tunnel port", self.port, 1, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node reports of itself."""

    cluster: str
    name: str
    addresses: tuple[Address, ...]
    """Underlay addresses inside the cluster (VXLAN), the preferred one first."""
    outside_addresses: tuple[Address, ...] = ()
    """Where other clusters reach this node; empty means `addresses`."""
    vtep_mac: str
    """MAC address of all VXLAN devices of the node; random at first start, kept on disk."""
    gateway_capable: bool = True
    wireguard: str = ""
    """Back end in use: `kernel`, `wireguard-go`, or empty where there is none (then the node is not capable)."""
    tunnels: tuple[TunnelEndpoint, ...] = ()
    version: str = ""

    def __post_init__(self) -> None:
        check_label("cluster name", self.cluster)
        check_subdomain("node name", self.name)
        check_mac(self.vtep_mac)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A node that carries its cluster's traffic of one tunnel set. Slots are allocated and kept, they do not shift."""

    cluster: str
    tunnel_set: int
    slot: int
    node: str
    addresses: tuple[Address, ...] = ()
    """Where other clusters reach it, the preferred one first; empty until the node has reported."""
    tunnels: tuple[TunnelEndpoint, ...] = ()
    """Only those of this tunnel set, by index; empty until the node has made its keys."""
