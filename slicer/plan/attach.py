"""Decides what one attachment gets: slice, addresses, MAC; refuses what cannot be, naming the thing and the text.

Pure. Callers: the agent's CNI verbs and its live memberships. Nothing here asks anybody: the node hands out addresses
from the blocks that it was given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from slicer.model.attachments import AddressDemand, AttachedBy, Attachment, AttachmentState
from slicer.model.clusters import NodeBlocks
from slicer.model.documents import Documents
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from slicer.model.names import Address, Prefix
from slicer.model.slices import Bandwidth, SliceState
from slicer.plan.dataplane_topology import DEFAULT_UNDERLAY_MTU, pod_mtu
from slicer.plan.granted import NOT_GRANTED, Grants, check_grantable, check_granted

HOST_MAC = "02:51:1c:e2:00:01"
"""MAC address of every host end: each veth is a wire of its own, so one address serves all pods."""
REST_S = 60
"""A released address rests this long, so that nobody's old connections reach its next owner."""
SLICE_NOT_FOUND = "SliceNotFound"
"""The reason of an error that may pass: a pod that was created together with its slice may be here sooner."""
LOW_WATER = 4
"""Ask for another block when less than one address in this many is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a runtime or a membership asks for."""

    container_id: str
    interface: str
    slice: str
    netns: str
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    addresses: tuple[Address, ...] = ()
    """Taken or refused, never changed; a family without a wish gets an address of the node's choice."""
    mac: str | None = None
    bandwidth: Bandwidth | None = None
    network: str = ""
    membership: str = ""
    by: AttachedBy = AttachedBy.CNI


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a node knows when it decides."""

    cluster: str
    node: str
    view: Documents
    attachments: Collection[Attachment]
    """All of this node, whatever their state."""
    resting: Mapping[str, Collection[Address]]
    """By slice: released less than REST_S ago."""
    underlay_mtu: int = DEFAULT_UNDERLAY_MTU
    """bytes; the pods' follows from it."""
    grants: Grants = field(default_factory=Grants)
    """Of this cluster, as the view has them."""

    def slice(self, name: str) -> SliceState:
        """The slice; NotFoundError if this node's view does not have it."""
        return find_slice(self.view, self.cluster, name)

    def blocks(self, name: str) -> tuple[Prefix, ...]:
        """The blocks of a slice that this node hands out; UnavailableError while it has none."""
        given = self.view.get(f"nodeblock/{name}/{self.cluster}/{self.node}")
        if not isinstance(given, NodeBlocks) or not given.blocks:
            raise UnavailableError(f"node {self.node!r} has no addresses of slice {name!r} yet", reason="NoBlock")
        return given.blocks

    def own_blocks(self) -> list[NodeBlocks]:
        """All blocks that this node hands out, by slice."""
        given = (self.view[key] for key in sorted(self.view) if key.startswith("nodeblock/"))
        return [b for b in given if isinstance(b, NodeBlocks) and (b.cluster, b.node) == (self.cluster, self.node)]

    def in_slice(self, name: str) -> list[Attachment]:
        """The node's attachments in one slice."""
        return [a for a in self.attachments if a.slice == name]


def find_slice(view: Documents, cluster: str, name: str) -> SliceState:
    """The slice; NotFoundError if the view of this node of `cluster` does not have it."""
    state = view.get(f"slice/{name}")
    if not isinstance(state, SliceState):
        raise NotFoundError(f"slice {name!r} does not exist in cluster {cluster!r}", reason=SLICE_NOT_FOUND)
    return state


def plan_attachment(wish: Wish, situation: Situation, *, mac: str, host_interface: str) -> Attachment:
    """The attachment for `wish`, pending; every reason against it is raised as the error that says so."""
    state = situation.slice(wish.slice)
    _refuse_twice(wish, situation)
    _refuse_namespace(wish, state)
    _refuse_overlap(wish, state, situation)
    return Attachment(
        container_id=wish.container_id,
        interface=wish.interface,
        slice=wish.slice,
        cluster=situation.cluster,
        node=situation.node,
        namespace=wish.namespace,
        pod=wish.pod,
        pod_uid=wish.pod_uid,
        labels=wish.labels,
        netns=wish.netns,
        addresses=choose_addresses(wish, state, situation),
        mac=_choose_mac(wish, situation) or mac,
        host_interface=host_interface,
        mtu=pod_mtu(situation.underlay_mtu, state.spec.encryption),
        bandwidth=wish.bandwidth,
        network=wish.network,
        membership=wish.membership,
        by=wish.by,
        state=AttachmentState.PENDING,
    )


def choose_addresses(wish: Wish, state: SliceState, situation: Situation) -> tuple[Address, ...]:
    """One address for each family of the slice, IPv4 first: the wished one, the granted one, else the lowest free."""
    blocks = situation.blocks(wish.slice)
    wished = _wished(wish, state)
    routers = _routers(blocks)
    holders = {address: a for a in situation.in_slice(wish.slice) for address in a.addresses}
    owners = situation.grants.owners.get(wish.slice, {})
    taken = {*holders, *situation.resting.get(wish.slice, ()), *routers, *owners}
    chosen: list[Address] = []
    for version in sorted({prefix.version for prefix in state.spec.prefixes}):
        family = tuple(block for block in blocks if block.version == version)
        if version in wished:
            _refuse_held(wished[version], holders, wish.slice)
            chosen.append(_check_wished(wished[version], family, wish, situation))
        else:
            kept = _kept(version, wish, holders, situation.grants)
            chosen.append(kept or _lowest_free(family, taken, wish.slice, situation.node))
    return tuple(chosen)


def usable(block: Prefix) -> range:
    """The addresses of a block that a pod may have, as integers: IPv4's first and last are left out by custom."""
    first, size = int(block.network_address), block.num_addresses
    if size <= 2:
        return range(first, first + size)
    return range(first + 1, first + size - (1 if block.version == 4 else 0))


def plan_demands(situation: Situation) -> list[AddressDemand]:
    """The families of slices whose blocks on this node are nearly used up (asked for before they are empty)."""
    return [demand for given in situation.own_blocks() for demand in _demands(given, situation)]


def metric_of(attachment: Attachment, attachments: Iterable[Attachment]) -> int:
    """Route metric in the pod: 0, or a number of its own where the pod has more interfaces in the same slice."""
    others = (a for a in attachments if a.netns == attachment.netns and a.slice == attachment.slice)
    if all(other.interface == attachment.interface for other in others):
        return 0
    return 1 + int(attachment.host_interface[1:], 16) % 0xFFFF


def _refuse_twice(wish: Wish, situation: Situation) -> None:
    for other in situation.attachments:
        if (other.container_id, other.interface) == (wish.container_id, wish.interface):
            raise ConflictError(
                f"interface {wish.interface!r} of container {wish.container_id} is attached to slice {other.slice!r}",
                reason="InterfaceExists",
            )


def _refuse_namespace(wish: Wish, state: SliceState) -> None:
    allowed = state.spec.namespaces
    if allowed and wish.namespace not in allowed:
        raise DeniedError(
            f"slice {wish.slice!r} admits the namespaces {', '.join(allowed)}, not {wish.namespace!r}",
            reason="NamespaceNotAllowed",
        )


def _refuse_overlap(wish: Wish, state: SliceState, situation: Situation) -> None:
    """A pod with two routes for one destination would reach only one of the slices."""
    for other in situation.attachments:
        if other.slice == wish.slice or other.container_id != wish.container_id:
            continue
        theirs = situation.view.get(f"slice/{other.slice}")
        if isinstance(theirs, SliceState) and (pair := _overlap(state.spec.prefixes, theirs.spec.prefixes)):
            raise ConflictError(
                f"slice {wish.slice!r} ({pair[0]}) overlaps slice {other.slice!r} ({pair[1]}), "
                f"which this pod has on {other.interface!r}; a pod may be in one of them only",
                reason="OverlappingSlices",
            )


def _overlap(ours: Iterable[Prefix], theirs: Iterable[Prefix]) -> tuple[Prefix, Prefix] | None:
    pairs = ((a, b) for a in ours for b in theirs if a.version == b.version and a.overlaps(b))
    return next(pairs, None)


def _wished(wish: Wish, state: SliceState) -> dict[int, Address]:
    found: dict[int, Address] = {}
    for address in wish.addresses:
        if not any(address in prefix for prefix in state.spec.prefixes):
            inside = ", ".join(map(str, state.spec.prefixes))
            raise InvalidError(f"address {address} is outside slice {wish.slice!r} ({inside})", reason="OutsideSlice")
        if address.version in found:
            raise InvalidError(f"addresses {found[address.version]} and {address}: give one of each family")
        found[address.version] = address
    return found


def _refuse_held(address: Address, holders: Mapping[Address, Attachment], slice_name: str) -> None:
    holder = holders.get(address)
    if holder is not None:
        who = f"{holder.namespace}/{holder.pod} ({holder.interface})"
        raise ConflictError(f"address {address} of slice {slice_name!r} is in use by {who}", reason="AddressInUse")


def _check_wished(address: Address, blocks: tuple[Prefix, ...], wish: Wish, situation: Situation) -> Address:
    """The address, if it is granted to the pod, or nobody's and this node's to give."""
    if address in _routers(blocks):
        where = f"slice {wish.slice!r} on {situation.node}"
        raise ConflictError(f"address {address} of {where} is the node's own", reason="AddressInUse")
    owner = situation.grants.owners.get(wish.slice, {}).get(address)
    if not check_granted(address, owner, (wish.namespace, wish.pod)) and not any(
        int(address) in usable(block) for block in blocks
    ):
        check_grantable(address, wish.slice, situation.cluster, situation.view)
        if not wish.pod:
            raise ConflictError(
                f"address {address} of slice {wish.slice!r} is not in the blocks of node {situation.node!r}, "
                "and only a pod with a name can be granted it",
                reason="OutsideNodeBlocks",
            )
        raise UnavailableError(f"address {address} of slice {wish.slice!r} is not granted yet", reason=NOT_GRANTED)
    return address


def _kept(version: int, wish: Wish, holders: Mapping[Address, Attachment], grants: Grants) -> Address | None:
    """The address that the pod was granted and does not have yet; None if there is none, or none that may be used."""
    grant = grants.by_pod.get((wish.slice, wish.namespace, wish.pod))
    if grant is None:
        return None
    for address in grant.addresses:
        holder = holders.get(address)
        if address.version != version or (holder and holder.container_id == wish.container_id):
            continue
        if not grant.ready:
            if grant.sticky:
                return None  # an address that nobody insists on is not worth waiting for
            raise UnavailableError(grant.message, reason=NOT_GRANTED)
        if holder is not None:
            raise UnavailableError(
                f"address {address} of slice {wish.slice!r} is still held by the pod's last sandbox", reason="StillHeld"
            )
        return address
    return None


def _lowest_free(blocks: tuple[Prefix, ...], taken: Collection[Address], slice_name: str, node: str) -> Address:
    if not blocks:
        raise UnavailableError(f"node {node!r} has no addresses of slice {slice_name!r} yet", reason="NoBlock")
    numbers = {int(address) for address in taken if address.version == blocks[0].version}
    kind = type(blocks[0].network_address)
    for block in blocks:
        for number in usable(block):
            if number not in numbers:
                return kind(number)
    pool = ", ".join(map(str, blocks))
    raise ExhaustedError(f"pool {pool} of slice {slice_name!r} on node {node!r} has no free address")


def _choose_mac(wish: Wish, situation: Situation) -> str | None:
    if wish.mac is None:
        return None
    for other in situation.in_slice(wish.slice):
        if other.mac == wish.mac:
            who = f"{other.namespace}/{other.pod} ({other.interface})"
            raise ConflictError(f"MAC address {wish.mac} is in use by {who}", reason="MacInUse")
    return wish.mac


def _routers(blocks: tuple[Prefix, ...]) -> tuple[Address, ...]:
    return NodeBlocks(slice="any", cluster="any", node="any", blocks=blocks).router_addresses()


def _demands(given: NodeBlocks, situation: Situation) -> list[AddressDemand]:
    demands = []
    used = [address for a in situation.in_slice(given.slice) for address in a.addresses]
    used += situation.resting.get(given.slice, ())
    for version in sorted({block.version for block in given.blocks}):
        blocks = [block for block in given.blocks if block.version == version]
        room = sum(len(usable(block)) for block in blocks) - 1  # less the router's
        if (room - sum(1 for address in used if address.version == version)) * LOW_WATER < room:
            demands.append(
                AddressDemand(
                    slice=given.slice,
                    cluster=given.cluster,
                    node=given.node,
                    version=version,
                    blocks_held=len(blocks),
                )
            )
    return demands
