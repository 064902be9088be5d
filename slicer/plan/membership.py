"""Which running pods a membership attaches, which it no longer does. Pure; called by the agent's pod loop."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from slicer.model.attachments import AttachedBy, Attachment
from slicer.model.documents import Documents, of_kind
from slicer.model.slices import MemberKind, Membership

OPT_OUT = ("slicer.io/opt-out", "true")
"""A pod with this label is meant only by memberships that name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One running pod: the container id that CNI calls carry, and what it belongs to."""

    container_id: str
    namespace: str
    name: str
    uid: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    netns: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipPlan:
    """What has to change for the memberships to hold."""

    attach: tuple[tuple[Membership, Sandbox], ...] = ()
    detach: tuple[Attachment, ...] = field(default=())


def plan_memberships(
    view: Documents, cluster: str, sandboxes: Mapping[str, Sandbox], attachments: Collection[Attachment], now_s: float
) -> MembershipPlan:
    """Pods to attach and attachments to end; what CNI attached is never touched, and counts as attached.

    Several memberships may cover a pod in one slice: the first by name asks, the others keep it attached. One whose
    time is over by this node's clock (`now_s`, Unix time) is none, also if nobody is there who could remove it.
    """
    held = [one for one in of_kind(view, Membership) if one.until_s is None or now_s < one.until_s]
    covered = _covered([one for one in held if one.cluster == cluster and f"slice/{one.slice}" in view], sandboxes)
    ours = {(a.container_id, a.slice): a for a in attachments if a.by is AttachedBy.MEMBERSHIP}
    by_cni = {(a.container_id, a.slice) for a in attachments if a.by is AttachedBy.CNI}
    return MembershipPlan(
        attach=tuple(
            (membership, sandboxes[key[0]])
            for key, membership in covered.items()
            if key not in by_cni and (key not in ours or not _fits(membership, ours[key]))
        ),
        detach=tuple(a for key, a in sorted(ours.items()) if key not in covered or not _fits(covered[key], a)),
    )


def covers(membership: Membership, sandbox: Sandbox) -> bool:
    """Whether the membership speaks of this pod."""
    if membership.namespace != sandbox.namespace:
        return False
    match membership.kind:
        case MemberKind.POD:
            return membership.pod == sandbox.name
        case MemberKind.LABELS:
            return set(membership.labels) <= set(sandbox.labels) and OPT_OUT not in sandbox.labels
        case _:
            return OPT_OUT not in sandbox.labels


def free_interface(membership: Membership, taken: Collection[str]) -> str:
    """The interface name to use: the wished one, else the first free of net1, net2, …"""
    return membership.interface or next(name for name in _names() if name not in taken)


def _names() -> Iterator[str]:
    number = 1
    while True:
        yield f"net{number}"
        number += 1


def _covered(memberships: list[Membership], sandboxes: Mapping[str, Sandbox]) -> dict[tuple[str, str], Membership]:
    """(container, slice) → the membership that asks, sorted."""
    found: dict[tuple[str, str], Membership] = {}
    for membership in memberships:
        for container in sorted(sandboxes):
            if covers(membership, sandboxes[container]):
                found.setdefault((container, membership.slice), membership)
    return dict(sorted(found.items()))


def _fits(membership: Membership, attachment: Attachment) -> bool:
    """Whether what is attached is what the membership wishes now."""
    named = membership.interface in {None, attachment.interface} and membership.mac in {None, attachment.mac}
    paced = membership.bandwidth == attachment.bandwidth
    return named and paced and set(membership.addresses) <= set(attachment.addresses)
