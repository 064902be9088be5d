"""What clusters and nodes are, what was allocated to them, and what they report of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slicer.model.names import (
    Address,
    Prefix,
    check_label,
    check_mac,
    check_public_key,
    check_range,
    check_subdomain,
    check_zone,
)

TUNNEL_SET_MAX = 255
"""Two hex digits in the name of the namespace."""
GENERATION_MAX = 999_999
"""What fits into the name of a device, which Linux limits to 15 bytes."""
LANES_MAX = 8
"""Tunnels between two gateways: each is a port, a key and ten probes a second at both ends."""


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
class Resolvers:
    """Where the pods of a cluster's own DNS ask from now: whom they name as the asker is believed, and nobody else."""

    cluster: str
    addresses: tuple[Address, ...]
    """Sorted by family and address."""


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
    generation: int = 0
    """Which rotation of the tunnel set's keys this device belongs to; it talks to devices of the same one only."""
    lane: int = 0
    """Which of the parallel tunnels to the same gateways; it talks to devices of the same one only."""

    def __post_init__(self) -> None:
        check_public_key(self.public_key)
        check_range("tunnel port", self.port, 1, 65535)
        check_range("generation", self.generation, 0, GENERATION_MAX)
        check_range("lane", self.lane, 0, LANES_MAX - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelUse:
    """A node sends through devices of this generation of a tunnel set."""

    tunnel_set: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneUse:
    """A gateway sends to another cluster through this one of its parallel tunnels; of the first nobody needs to say."""

    tunnel_set: int
    remote_cluster: str
    lane: int


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
    gateway_preferred: bool = False
    """It is to be a gateway before nodes that are not."""
    zone: str = ""
    """What fails together with it: gateways are spread over zones. Empty where nobody said."""
    wireguard: str = ""
    """Back end in use: `kernel`, `wireguard-go`, or empty where there is none (then the node is not capable)."""
    tunnels: tuple[TunnelEndpoint, ...] = ()
    uses: tuple[TunnelUse, ...] = ()
    """What the node, as a gateway, sends through now: devices of other generations get nothing from it."""
    lanes: tuple[LaneUse, ...] = ()
    """The same of parallel tunnels: those beyond the first that are not here get nothing from it."""
    left: tuple[str, ...] = ()
    """Departures (`Gateway.departure`) of gateways through which this node sends nothing any more."""
    version: str = ""

    def __post_init__(self) -> None:
        check_label("cluster name", self.cluster)
        check_subdomain("node name", self.name)
        check_mac(self.vtep_mac)
        if self.zone:
            check_zone(self.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of a node where it runs, and not by its agent; what the agent was told counts before it."""

    outside_addresses: tuple[Address, ...] = ()
    """Where other clusters reach it, the preferred one first."""
    zone: str = ""
    gateway: bool | None = None
    """True: preferred as a gateway. False: never one. None: nobody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSilence:
    """Nodes that a node does not hear in the mesh between nodes though they told their keys; there while that is so."""

    cluster: str
    node: str
    silent: tuple[str, ...]
    """Names of the others, sorted."""


class GatewayState(StrEnum):
    """How far a gateway is on its way out of use; nothing is lost as long as each step waits for the one before."""

    ACTIVE = "active"
    DRAINING = "draining"
    """Everybody else leaves it; it carries what still comes."""
    LEAVING = "leaving"
    """Everybody has left; what starts on the node itself goes by the other gateways now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A node that carries its cluster's traffic of one tunnel set. Slots are allocated and kept, they do not shift."""

    cluster: str
    tunnel_set: int
    slot: int
    node: str
    zone: str = ""
    """Of the node."""
    addresses: tuple[Address, ...] = ()
    """Where other clusters reach it, the preferred one first; empty until the node has reported."""
    tunnels: tuple[TunnelEndpoint, ...] = ()
    """Only those of this tunnel set, by index; empty until the node has made its keys."""
    state: GatewayState = GatewayState.ACTIVE
    since_ms: int = 0
    """When it came into this state, Unix time in milliseconds; 0 if it was never anything but active."""
    uses: tuple[int, ...] = ()
    """Generations of its devices through which it sends now, as the node said."""
    lanes: tuple[LaneUse, ...] = ()
    """Of this tunnel set: the parallel tunnels beyond the first through which it sends now, as the node said."""
    left: tuple[str, ...] = ()
    """Departures that the node has done, as it said."""

    @property
    def departure(self) -> str:
        """What names this way out of use, so that an answer to an earlier one is not taken for one to this."""
        return f"{self.cluster}/{self.tunnel_set}/{self.slot}@{self.since_ms}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A user's wish: this node is to carry nothing for other nodes any more, as long as the wish stands."""

    cluster: str
    node: str
    force: bool = False
    """Also if it is the cluster's last gateway; each of the two steps waits a minute at most, whoever is missing."""
    reason: str = ""

    def __post_init__(self) -> None:
        check_label("cluster name", self.cluster)
        check_subdomain("node name", self.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A wish for new keys: all devices of a tunnel set are made anew, beside the old ones, as this generation."""

    tunnel_set: int
    generation: int = 0
    """0 in a wish means the next one; the highest of a set is the one in force."""
    reason: str = ""

    def __post_init__(self) -> None:
        check_range("tunnel set", self.tunnel_set, 0, TUNNEL_SET_MAX)
        check_range("generation", self.generation, 0, GENERATION_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationState:
    """A rotation as the hub carries it."""

    spec: Rotation
    started_at_s: int
    """Unix time."""
    finished_at_s: int | None = None
    """When all gateways sent through the new devices only and had no others; None while it runs."""
