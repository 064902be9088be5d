"""Attachments (one interface on one pod), endpoints of services, path health: what nodes report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slicer.model.names import (
    Address,
    check_container_id,
    check_interface_name,
    check_label,
    check_range,
    check_subdomain,
)
from slicer.model.slices import Bandwidth


class AttachmentState(StrEnum):
    """How far an attachment is. Only ATTACHED ones are named by DNS and counted as endpoints."""

    PENDING = "pending"
    ATTACHED = "attached"
    DETACHING = "detaching"


class AttachedBy(StrEnum):
    """Who asked: decides what takes the attachment away (CNI DEL, or the end of the membership)."""

    CNI = "cni"
    MEMBERSHIP = "membership"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One interface on one pod, identified by (container id, interface name)."""

    container_id: str
    interface: str
    slice: str
    cluster: str
    node: str
    namespace: str
    pod: str
    pod_uid: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """The pod's labels as its sandbox shows them; empty until they are known."""
    netns: str
    """Path of the pod's network namespace on the node."""
    addresses: tuple[Address, ...]
    mac: str
    host_interface: str
    mtu: int
    bandwidth: Bandwidth | None = None
    network: str = ""
    """CNI network name, for GC; empty for a live membership."""
    membership: str = ""
    """Name of the membership that asked; empty for CNI."""
    by: AttachedBy = AttachedBy.CNI
    state: AttachmentState = AttachmentState.PENDING
    primary_addresses: tuple[Address, ...] = ()
    """The pod's other global addresses (its primary CNI's): how DNS knows who asks."""
    message: str = ""
    """Why a membership's attachment is still PENDING; empty otherwise."""

    def __post_init__(self) -> None:
        check_container_id(self.container_id)
        check_interface_name(self.interface)
        check_label("slice name", self.slice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One pod behind a service name, on one slice."""

    pod: str
    node: str
    addresses: tuple[Address, ...]
    ready: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSet:
    """The endpoints that one cluster has for one export; a document per cluster, relayed and never merged."""

    slice: str
    namespace: str
    name: str
    cluster: str
    endpoints: tuple[Endpoint, ...] = ()
    """Sorted by pod name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathHealth:
    """What one node measured towards one cluster over one slice: packets really went there and came back."""

    slice: str
    cluster: str
    node: str
    remote_cluster: str
    up: bool
    rtt_us: int | None = None
    """Median of the last probes, in microseconds; None while nothing has come back."""
    gateway: str = ""
    """Remote node that answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelHealth:
    """What one gateway sees of one WireGuard peer (counters of the device, since it was made)."""

    cluster: str
    node: str
    tunnel_set: int
    index: int
    generation: int = 0
    """Of the device's keys; while they rotate, a peer is seen once through each generation."""
    lane: int = 0
    """Which of the parallel tunnels to this peer."""
    remote_cluster: str
    remote_node: str
    endpoint: str = ""
    """`address:port` that the device sends to now; empty while unknown."""
    handshake_at_s: int | None = None
    """Unix time of the last handshake; None while there has been none."""
    rx_bytes: int = 0
    tx_bytes: int = 0
    up: bool | None = None
    """Probes pass through it and the other end hears its own cluster; None where nothing was probed."""
    rtt_us: int | None = None
    """Median of the last hundred answers to probes, in microseconds; None while nothing has come back."""
    rtt_p99_us: int | None = None
    jitter_us: int | None = None
    """Mean difference between round trips that follow each other."""
    loss_percent: int | None = None
    """Of the last hundred probes; None before there were any."""
    path_mtu: int | None = None
    """Bytes of the largest packet of a pod that gets through, this way; None while unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCluster:
    """A gateway knows of no way to a remote cluster any more, its own or another gateway's; there while that is so."""

    cluster: str
    node: str
    tunnel_set: int
    remote_cluster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressDemand:
    """A node (or a cluster: `node` empty) asks for another block: its blocks of this family are nearly used up."""

    slice: str
    cluster: str
    node: str = ""
    version: int
    """4 or 6."""
    blocks_held: int
    """Blocks of the family held when this was asked: a demand is met when more are held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressWish:
    """Certain addresses are asked for, for one pod, that its node cannot give by itself (not of its own blocks)."""

    slice: str
    cluster: str
    node: str = ""
    """Who asks for a pod that starts there; empty where the member itself asks, for a pod that has no node yet."""
    namespace: str
    pod: str
    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        check_label("slice name", self.slice)
        check_label("namespace", self.namespace)
        check_subdomain("pod name", self.pod)
        _sort_addresses(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGrant:
    """Addresses that belong to one pod of a cluster, on whichever node it runs; nobody else gets them."""

    slice: str
    cluster: str
    namespace: str
    pod: str
    addresses: tuple[Address, ...]
    """Of the cluster's blocks."""
    sticky: bool = False
    """Kept because the pod has an identity (StatefulSet), not because somebody asked for these addresses."""
    ready: bool = False
    """Whether they may be used: the nodes whose blocks have them know that they are not theirs to give."""
    node: str = ""
    """Where they are routed to; empty while the pod has none of them, or is on the node whose block has them."""
    message: str = ""
    """Why they are not ready; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressYield:
    """Granted addresses in a node's blocks that it promises not to give to anybody but the pod with the grant."""

    slice: str
    cluster: str
    node: str
    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        _sort_addresses(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """A user asks a node to send echo requests from a pod's slice interface (`slicectl ping`)."""

    id: str
    cluster: str
    namespace: str
    pod: str
    slice: str
    target: str
    """An address in the slice (names are resolved by whoever asks)."""
    count: int = 3

    def __post_init__(self) -> None:
        check_range("count", self.count, 1, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingResult:
    """The answer to a Ping."""

    id: str
    cluster: str
    node: str
    sent: int
    received: int
    rtts_us: tuple[int, ...] = ()
    error: str = ""


def _sort_addresses(value: AddressWish | AddressYield) -> None:
    unique = tuple(sorted(set(value.addresses), key=lambda address: (address.version, address)))
    object.__setattr__(value, "addresses", unique)
