"""Where one node stands: each of its slices with its neighbours, gateways and remote clusters, out of the node's view.

The first step of planning. What the view does not say yet (a gateway without keys, a node without blocks) is simply
absent; what cannot work (no common address family) becomes a problem in words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from slicer.model.attachments import Attachment
from slicer.model.clusters import ClusterBlocks, Gateway, GatewayState, Node, NodeBlocks
from slicer.model.documents import Documents, of_kind
from slicer.model.names import Address, Prefix
from slicer.model.slices import Encryption, QosProfile, Slice, SliceState
from slicer.plan.lanes import lane_letter, lanes_asked
from slicer.plan.mesh import MeshPeer, is_meshed, mesh_address, mesh_peer, mesh_problem
from slicer.plan.rotation import generations

VXLAN_PORT = 4790
"""UDP. Not 4789 (Calico, and the kernel's users by default) nor 8472 (Flannel, Cilium): two owners of one port in the
host's namespace break each other. 4790 is registered for VXLAN-GPE, which no CNI uses and no driver offloads untold."""
DEFAULT_UNDERLAY_MTU = 1500
IPV6_MTU_MIN = 1280
"""RFC 8200, section 5."""
WIREGUARD_OVERHEAD = 80
"""Bytes: IPv6 40, UDP 8, WireGuard 32. Counted for IPv6 always, so that an endpoint may change family."""
VXLAN_OVERHEAD = {4: 50, 6: 70}
"""Bytes by family of the underlay: IP, UDP 8, VXLAN 8, inner Ethernet 14."""


def tunnel_mtu(underlay_mtu: int) -> int:
    """MTU of WireGuard devices: 1420 for 1500."""
    return underlay_mtu - WIREGUARD_OVERHEAD


def pod_mtu(underlay_mtu: int, encryption: Encryption) -> int:
    """MTU of pod interfaces: 1420 for 1500, because VXLAN and WireGuard follow each other, they do not nest.

    But in the mesh between nodes, which is IPv6, they do: 1350.
    """
    nested = VXLAN_OVERHEAD[6] if encryption is Encryption.EVERYWHERE else 0
    return tunnel_mtu(underlay_mtu) - nested


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTunnel:
    """A WireGuard device for which this node has a key and a port."""

    tunnel_set: int
    index: int
    generation: int = 0
    lane: int = 0
    port: int
    public_key: str

    @property
    def key(self) -> tuple[int, int, int, int]:
        """What its private key is kept under."""
        return (self.tunnel_set, self.index, self.generation, self.lane)

    @property
    def device(self) -> str:
        """Its name."""
        return tunnel_device(*self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """A pod whose fixed address lies outside the block of the node that it runs on."""

    slice: str
    address: Address
    node: str
    """Node of this cluster that has the pod."""


TunnelName = tuple[int, str, int, int, int]
"""(tunnel set, remote cluster, index, generation, lane) of one of a gateway's own tunnels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the node's probes found out (`slicer.plan.probing`). Empty: everything may be used, as far as known."""

    avoided_gateways: frozenset[tuple[int, str, str]] = frozenset()
    """(tunnel set, remote cluster, node of this cluster): not to be used as gateway towards that cluster."""
    avoided_tunnels: frozenset[TunnelName] = frozenset()
    """Of this node's own tunnels."""
    judged_gateways: frozenset[tuple[int, str, str]] = frozenset()
    judged_tunnels: frozenset[TunnelName] = frozenset()
    """What the probes know at all. What came after that is not used as long as there is something that they know."""
    cut_off: frozenset[tuple[int, str]] = frozenset()
    """(tunnel set, remote cluster) that none of this gateway's own tunnels reaches, and another gateway does."""
    gone: frozenset[tuple[int, str]] = frozenset()
    """(tunnel set, remote cluster) that no gateway of this cluster reaches any more: senders are told at once."""
    path_mtus: frozenset[tuple[int, str, int]] = frozenset()
    """(tunnel set, remote cluster, bytes) where one of this gateway's own tunnels carries less than its device."""

    def path_mtu(self, tunnel_set: int, cluster: str, mtu: int) -> int:
        """The largest packet that may be sent there where devices take `mtu` bytes."""
        return min((size for s, c, size in self.path_mtus if (s, c) == (tunnel_set, cluster)), default=mtu)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalState:
    """What only the node itself knows."""

    cluster: str
    node: str
    addresses: tuple[Address, ...]
    """Underlay addresses; VXLAN uses the first."""
    vtep_mac: str
    tunnels: tuple[LocalTunnel, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    """Of this node, those that have their interface."""
    host_routes: tuple[HostRoute, ...] = ()
    underlay_mtu: int = DEFAULT_UNDERLAY_MTU
    uplink_bps: int | None = None
    """What all slices together may send to other clusters; None where nobody said."""
    vxlan_port: int = VXLAN_PORT
    leaf: str = "pfifo"
    """Queue of each HTB class: fq_codel where the kernel has it (slicer.kernel.dataplane finds out)."""
    health: Health = field(default_factory=Health)

    @property
    def families(self) -> frozenset[int]:
        """Of its underlay addresses."""
        return frozenset(address.version for address in self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another node of this cluster, in one slice."""

    node: str
    blocks: tuple[Prefix, ...]
    routers: tuple[Address, ...]
    vtep: Address
    """Where its VXLAN is: its underlay address, or the one that it has in the mesh."""
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Another cluster that is linked with this one, in one slice."""

    cluster: str
    blocks: tuple[Prefix, ...]
    gateways: Mapping[str, tuple[Prefix, ...]] = field(default_factory=dict)
    """The blocks of its nodes that are gateways, by node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceHere:
    """A slice as this node sees it."""

    name: str
    vni: int
    tunnel_set: int
    prefixes: tuple[Prefix, ...]
    qos: QosProfile | None
    own_blocks: tuple[Prefix, ...]
    """Of this cluster."""
    routers: tuple[Address, ...]
    """Of this node; empty until it has blocks."""
    neighbours: tuple[Neighbour, ...]
    remotes: tuple[Remote, ...]
    gateways: tuple[str, ...]
    """Nodes of this cluster that carry the slice's tunnel set, by slot."""
    slot: int | None
    """This node's slot in the tunnel set; None if it is no gateway."""
    draining: frozenset[str] = frozenset()
    """Those of `gateways` that are to be left as soon as others work."""
    left: frozenset[str] = frozenset()
    """Those that everybody has left: they carry nothing for others any more. The node itself, too: then its own pods
    are to go by the others."""
    keyless: frozenset[str] = frozenset()
    """Those that have no tunnels yet, as far as they said."""
    generation: int = 0
    """Of the tunnel set's keys: the one in force."""
    pledged: bool = False
    """This gateway has said that it sends through that generation only: the others may take away the rest."""
    encryption: Encryption = Encryption.BETWEEN_CLUSTERS

    @property
    def ns(self) -> str:
        """The slice's namespace on every node."""
        return slice_ns(self.vni)

    @property
    def is_meshed(self) -> bool:
        """Whether its VXLAN lies in the mesh between nodes."""
        return self.encryption is Encryption.EVERYWHERE

    @property
    def versions(self) -> tuple[int, ...]:
        """Families of the slice, 4 before 6."""
        return tuple(sorted(prefix.version for prefix in self.prefixes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """All slices of the node, sorted by VNI, and the gateways of other clusters."""

    slices: tuple[SliceHere, ...]
    remote_gateways: tuple[Gateway, ...]
    mesh: tuple[MeshPeer, ...] = ()
    """The other nodes of this cluster that can be reached through the mesh."""
    lanes: Mapping[tuple[int, str], int] = field(default_factory=dict)
    """Parallel tunnels that are asked for, by tunnel set and remote cluster."""
    own_gateways: Mapping[int, Gateway] = field(default_factory=dict)
    """What this node is as a gateway, by tunnel set, as it has said."""


def slice_ns(vni: int) -> str:
    """Name of a slice's namespace."""
    return f"s-{vni:06x}"


def tunnel_ns(tunnel_set: int) -> str:
    """Name of a tunnel set's namespace."""
    return f"t-{tunnel_set:02x}"


def tunnel_device(tunnel_set: int, index: int, generation: int = 0, lane: int = 0) -> str:
    """Name of a WireGuard device, unique on the node. It comes back only where a rotation or a lane is taken back."""
    name = f"w{tunnel_set}.{index}{lane_letter(lane)}"
    return f"{name}.{generation}" if generation else name


def is_tunnel_device(name: str) -> bool:
    """Whether `tunnel_device` gives such a name."""
    return re.fullmatch(r"w[0-9]+\.[0-9]+[a-z]?(\.[0-9]+)?", name) is not None


def topology_of(view: Documents, local: LocalState) -> Topology:
    """What `view` means for this node, whatever its health."""
    neighbours = {node.name: (node, at) for node, at in _underlay(view, local)}
    documents = _grouped(view, local.cluster)
    states = [state for state in of_kind(view, SliceState) if state.spec.has_cluster(local.cluster)]
    by_vni = sorted(states, key=lambda state: state.vni)
    here = tuple(_slice_here(documents, local, state, neighbours) for state in by_vni)
    peers = (mesh_peer(neighbours[name][0], local.families) for name in sorted(neighbours))
    return Topology(
        slices=here,
        remote_gateways=documents.remote_gateways,
        mesh=tuple(peer for peer in peers if peer is not None),
        lanes=lanes_asked(states, local.cluster, documents.remote_gateways),
        own_gateways={g.tunnel_set: g for found in documents.gateways.values() for g in found if g.node == local.node},
    )


def problems_of(view: Documents, local: LocalState) -> tuple[str, ...]:
    """What `view` asks for and cannot be planned, in words."""
    family = f"IPv{local.addresses[0].version}"
    specs = [state.spec for state in of_kind(view, SliceState) if state.spec.has_cluster(local.cluster)]
    nodes = list(_underlay(view, local))
    words = [f"node {node.name} has no {family} address, which VXLAN uses here" for node, at in nodes if at is None]
    if all(map(is_meshed, specs)) and specs:
        words = []
    words += [_narrow_words(spec, local) for spec in specs if _is_too_narrow(spec, local)]
    if any(map(is_meshed, specs)):
        found = (mesh_problem(node, local.families) for node, _ in nodes)
        words += [f"{problem}: slices encrypted everywhere do not reach it" for problem in found if problem]
    return tuple(words)


def _is_too_narrow(spec: Slice, local: LocalState) -> bool:
    """Whether the kernel would refuse the slice's IPv6 on interfaces as narrow as they have to be."""
    versions = {prefix.version for prefix in spec.prefixes}
    return 6 in versions and pod_mtu(local.underlay_mtu, spec.encryption) < IPV6_MTU_MIN


def _narrow_words(spec: Slice, local: LocalState) -> str:
    mtu = pod_mtu(local.underlay_mtu, spec.encryption)
    return f"slice {spec.name} has IPv6, which needs an MTU of {IPV6_MTU_MIN}; this node's underlay leaves it {mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grouped:
    """The view's documents by what each slice asks them for: looked through once, not once a slice."""

    blocks: Mapping[str, Mapping[str, tuple[Prefix, ...]]]
    """By slice and cluster."""
    held: Mapping[str, Mapping[str, NodeBlocks]]
    """Of this cluster, by slice and node."""
    far: Mapping[tuple[str, str], Mapping[str, tuple[Prefix, ...]]]
    """Of other clusters' gateways, by slice and cluster, and node."""
    gateways: Mapping[int, Sequence[Gateway]]
    """Of this cluster, by tunnel set and slot."""
    remote_gateways: tuple[Gateway, ...]
    generations: Mapping[int, int]


def _grouped(view: Documents, cluster: str) -> _Grouped:
    blocks: dict[str, dict[str, tuple[Prefix, ...]]] = defaultdict(dict)
    for given in of_kind(view, ClusterBlocks):
        blocks[given.slice][given.cluster] = given.blocks
    held: dict[str, dict[str, NodeBlocks]] = defaultdict(dict)
    far: dict[tuple[str, str], dict[str, tuple[Prefix, ...]]] = defaultdict(dict)
    for of_node in of_kind(view, NodeBlocks):
        if of_node.cluster == cluster:
            held[of_node.slice][of_node.node] = of_node
        else:
            far[of_node.slice, of_node.cluster][of_node.node] = of_node.blocks
    gateways: dict[int, list[Gateway]] = defaultdict(list)
    for gateway in sorted(of_kind(view, Gateway), key=lambda gateway: gateway.slot):
        if gateway.cluster == cluster:
            gateways[gateway.tunnel_set].append(gateway)
    return _Grouped(
        blocks=blocks,
        held=held,
        far=far,
        gateways=gateways,
        remote_gateways=tuple(gateway for gateway in of_kind(view, Gateway) if gateway.cluster != cluster),
        generations=generations(view),
    )


def _underlay(view: Documents, local: LocalState) -> Iterator[tuple[Node, Address | None]]:
    """The other nodes of the cluster, with the address at which VXLAN reaches them, if there is one."""
    version = local.addresses[0].version
    for node in of_kind(view, Node):
        if node.cluster == local.cluster and node.name != local.node:
            yield node, next((address for address in node.addresses if address.version == version), None)


def _slice_here(
    documents: _Grouped, local: LocalState, state: SliceState, nodes: Mapping[str, tuple[Node, Address | None]]
) -> SliceHere:
    name = state.spec.name
    blocks, held = documents.blocks.get(name, {}), documents.held.get(name, {})
    gateways = documents.gateways.get(state.tunnel_set, ())
    generation = documents.generations.get(state.tunnel_set, 0)
    mine = held.get(local.node)
    return SliceHere(
        name=name,
        vni=state.vni,
        tunnel_set=state.tunnel_set,
        prefixes=tuple(sorted(state.spec.prefixes, key=_by_family)),
        qos=state.spec.qos,
        own_blocks=blocks.get(local.cluster, ()),
        routers=mine.router_addresses() if mine else (),
        neighbours=tuple(_neighbours(held, state.spec.encryption, nodes)),
        remotes=tuple(
            Remote(
                cluster=c, blocks=tuple(sorted(blocks[c], key=_by_family)), gateways=documents.far.get((name, c), {})
            )
            for c in sorted(blocks)
            if state.spec.is_linked(local.cluster, c)
        ),
        gateways=tuple(gateway.node for gateway in gateways),
        slot=next((gateway.slot for gateway in gateways if gateway.node == local.node), None),
        draining=frozenset(g.node for g in gateways if g.state is not GatewayState.ACTIVE),
        left=frozenset(g.node for g in gateways if g.state is GatewayState.LEAVING),
        keyless=frozenset(g.node for g in gateways if not g.tunnels),
        generation=generation,
        pledged=any(g.node == local.node and g.uses == (generation,) for g in gateways),
        encryption=state.spec.encryption,
    )


def _neighbours(
    held: Mapping[str, NodeBlocks], encryption: Encryption, nodes: Mapping[str, tuple[Node, Address | None]]
) -> Iterator[Neighbour]:
    """The other nodes that have blocks and that VXLAN can reach."""
    for node, underlay in (nodes[name] for name in sorted(held) if name in nodes):
        meshed = encryption is Encryption.EVERYWHERE
        vtep = mesh_address(node.cluster, node.name) if meshed else underlay
        if vtep is not None:
            yield _neighbour(held[node.name], node, vtep)


def _neighbour(held: NodeBlocks, node: Node, vtep: Address) -> Neighbour:
    return Neighbour(
        node=node.name,
        blocks=tuple(sorted(held.blocks, key=_by_family)),
        routers=held.router_addresses(),
        vtep=vtep,
        mac=node.vtep_mac,
    )


def _by_family(prefix: Prefix) -> tuple[int, int, int]:
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)
