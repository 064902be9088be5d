"""What a node does with its cluster's grants: whom it may give an address, what it yields, where it sends packets.

Pure. Callers: `slicer.plan.attach` for one pod, the agent for its reports and its data plane.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from slicer.model.attachments import AddressGrant, AddressYield, Attachment
from slicer.model.clusters import ClusterBlocks, NodeBlocks
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import ConflictError, UnavailableError
from slicer.model.names import Address
from slicer.plan.dataplane_topology import HostRoute

NOT_GRANTED = "NotGranted"
"""Reason of the error that ends when the member has granted the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The grants of one cluster in a view, found without looking through the view again."""

    by_pod: Mapping[tuple[str, str, str], AddressGrant] = field(default_factory=dict)
    """By (slice, namespace, pod)."""
    owners: Mapping[str, Mapping[Address, AddressGrant]] = field(default_factory=dict)
    """By slice and address."""


def read_grants(view: Documents, cluster: str) -> Grants:
    """The grants of `cluster` in `view`."""
    mine = [grant for grant in view.values() if isinstance(grant, AddressGrant) and grant.cluster == cluster]
    owners: dict[str, dict[Address, AddressGrant]] = {}
    for grant in mine:
        owners.setdefault(grant.slice, {}).update(dict.fromkeys(grant.addresses, grant))
    return Grants(by_pod={(g.slice, g.namespace, g.pod): g for g in mine}, owners=owners)


def check_granted(address: Address, owner: AddressGrant | None, who: tuple[str, str]) -> bool:
    """Whether the address is granted to the pod `who` and may be used; raised is what speaks against it.

    False: nobody was granted the address.
    """
    if owner is None:
        return False
    if (owner.namespace, owner.pod) != who:
        raise ConflictError(
            f"address {address} of slice {owner.slice!r} belongs to pod {owner.namespace}/{owner.pod}",
            reason="AddressInUse",
        )
    if not owner.ready:
        raise UnavailableError(owner.message, reason=NOT_GRANTED)
    return True


def check_grantable(address: Address, slice_name: str, cluster: str, view: Documents) -> None:
    """ConflictError for an address that the member of `cluster` will never grant, naming whose it is."""
    where = f"address {address} of slice {slice_name!r}"
    for given in of_kind(view, ClusterBlocks):
        if given.slice == slice_name and given.cluster != cluster and _inside(address, given):
            raise ConflictError(
                f"{where} lies in a block of cluster {given.cluster!r}; a pod of cluster {cluster!r} cannot have it",
                reason="OtherClustersAddress",
            )
    own = view.get(f"block/{slice_name}/{cluster}")
    if not isinstance(own, ClusterBlocks) or not _inside(address, own):
        blocks = ", ".join(map(str, own.blocks)) if isinstance(own, ClusterBlocks) else "none yet"
        raise ConflictError(f"{where} is in no block of cluster {cluster!r} ({blocks})", reason="OutsideClusterBlocks")
    for node in of_kind(view, NodeBlocks):
        if (node.slice, node.cluster) == (slice_name, cluster) and address in node.router_addresses():
            raise ConflictError(f"{where} is the own address of node {node.node!r}", reason="AddressInUse")


def plan_yields(
    grants: Grants,
    own: Iterable[NodeBlocks],
    attachments: Collection[Attachment],
    resting: Mapping[str, Collection[Address]],
) -> list[AddressYield]:
    """What a node promises: it gives these addresses of its own blocks to nobody but the pods with the grants.

    The attachments must be those of now, and every later decision must know these grants.
    """
    found = []
    for blocks in own:
        mine = [a for a in attachments if a.slice == blocks.slice]
        users = {address: attachment for attachment in mine for address in attachment.addresses}
        rest = resting.get(blocks.slice, ())
        given = tuple(
            address
            for address, grant in grants.owners.get(blocks.slice, {}).items()
            if _inside(address, blocks) and _may_yield(grant, users.get(address), address in rest)
        )
        if given:
            found.append(AddressYield(slice=blocks.slice, cluster=blocks.cluster, node=blocks.node, addresses=given))
    return found


def host_routes(view: Documents, cluster: str, node: str, attachments: Iterable[Attachment]) -> tuple[HostRoute, ...]:
    """The granted addresses that are on another node than the one whose block has them."""
    here = {(attachment.slice, address) for attachment in attachments for address in attachment.addresses}
    return tuple(
        HostRoute(slice=grant.slice, address=address, node=grant.node)
        for grant in view.values()
        if isinstance(grant, AddressGrant)
        if grant.cluster == cluster and grant.node not in {"", node}
        for address in grant.addresses
        if (grant.slice, address) not in here and not _is_home(address, grant, view)
    )


def _is_home(address: Address, grant: AddressGrant, view: Documents) -> bool:
    blocks = view.get(f"nodeblock/{grant.slice}/{grant.cluster}/{grant.node}")
    return isinstance(blocks, NodeBlocks) and _inside(address, blocks)


def _may_yield(grant: AddressGrant, user: Attachment | None, rests: bool) -> bool:
    """Not while somebody else has it, nor (once and for all: a promise stays) while it rests from somebody else."""
    if user is not None:
        return (user.namespace, user.pod) == (grant.namespace, grant.pod)
    return grant.ready or grant.sticky or not rests


def _inside(address: Address, given: ClusterBlocks | NodeBlocks) -> bool:
    return any(address in block for block in given.blocks)
