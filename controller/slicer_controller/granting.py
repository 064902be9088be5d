"""The member's grants: which pods own which addresses of its cluster, kept in its store.

`reconcile` is called by the member after every change: observe (the documents) → plan (slicer.plan.grants) → write.
A grant that nobody uses is noted as `vacant/<its key>`, so that it can end when it has rested enough.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from slicer.client.codec import decode
from slicer.model.attachments import AddressGrant, AddressWish, AddressYield, Attachment
from slicer.model.clusters import ClusterBlocks, NodeBlocks
from slicer.model.documents import key_of
from slicer.model.names import Prefix
from slicer.model.slices import Membership, SliceState
from slicer.plan.allocation import RESERVE_S, REST_S, Reservation, live
from slicer.plan.grants import Claims, plan_grants
from slicer_controller.state import State

_KINDS = (NodeBlocks, AddressWish, Membership, Attachment, AddressYield)
log = logging.getLogger(__name__)
ENDING_S = 30.0
"""So long before its end a grant is not to be used any more, so that no node's pod starts with it at that moment."""


class Granting:
    """See above."""

    def __init__(self, state: State, cluster: str, clock: Callable[[], float]) -> None:
        self._state, self._cluster, self._clock = state, cluster, clock

    def reconcile(self, slices: Iterable[SliceState]) -> None:
        """Make the grants what wishes, memberships and StatefulSet pods ask for."""
        wanted: dict[str, AddressGrant] = {}
        vacant: set[str] = set()
        for claims in self._claims(slices):
            grants, unused = plan_grants(claims)
            vacant |= unused
            wanted |= {key_of(grant): grant for grant in grants}
        for grant in wanted.values():
            self._state.put(grant)
        for grant in self._held():
            if key_of(grant) not in wanted:
                self._state.delete(key_of(grant))
                log.info("addresses released", extra={"pod": f"{grant.namespace}/{grant.pod}", "slice": grant.slice})
        self._note(vacant)

    def _claims(self, slices: Iterable[SliceState]) -> list[Claims]:
        documents = self._state.documents
        of = self._by_kind()
        expired, ending = self._ending()
        everywhere = Claims(
            slice="",
            cluster=self._cluster,
            blocks=(),
            nodes=tuple(of[NodeBlocks]),
            held=tuple(self._held()),
            expired=expired,
            ending=ending,
            wishes=tuple(of[AddressWish]),
            memberships=tuple(of[Membership]),
            attachments=self._by_age(of[Attachment]),
            yields=tuple(of[AddressYield]),
        )
        blocks = {state.spec.name: documents.get(f"block/{state.spec.name}/{self._cluster}") for state in slices}
        return [
            replace(everywhere, slice=name, blocks=given.blocks, resting=self._resting(name))
            for name, given in blocks.items()
            if isinstance(given, ClusterBlocks)
        ]

    def _by_kind(self) -> dict[type, list[Any]]:
        """What grants depend on, read in one pass: it is looked at after every change. The order does not matter."""
        found: dict[type, list[Any]] = {kind: [] for kind in _KINDS}
        for value in self._state.documents.values():
            if type(value) in found:
                found[type(value)].append(value)
        return found

    def _held(self) -> list[AddressGrant]:
        values = self._state.documents.values()
        return [v for v in values if isinstance(v, AddressGrant) and v.cluster == self._cluster]

    def _by_age(self, attachments: Iterable[Attachment]) -> tuple[Attachment, ...]:
        """Oldest first where it matters: a pod that two nodes say they have is where it came to last."""
        mine = [a for a in attachments if a.cluster == self._cluster]
        nodes: dict[tuple[str, str], set[str]] = {}
        for attachment in mine:
            nodes.setdefault((attachment.namespace, attachment.pod), set()).add(attachment.node)
        return tuple(sorted(mine, key=lambda a: self._age(a) if len(nodes[a.namespace, a.pod]) > 1 else 0.0))

    def _age(self, attachment: Attachment) -> float:
        entry = self._state.store.get(key_of(attachment))
        return entry.created_at_s if entry else 0.0

    def _resting(self, slice_name: str) -> tuple[Prefix, ...]:
        resting = [decode(Reservation, entry.value) for entry in self._state.store.list(f"resting/{slice_name}/")]
        return tuple(live(resting, self._clock()))

    def _ending(self) -> tuple[frozenset[str], frozenset[str]]:
        """Keys of the grants that are over, and of those that soon will be."""
        now, expired, ending = self._clock(), set(), set()
        for entry in self._state.store.list("vacant/"):
            key = entry.key.removeprefix("vacant/")
            grant = self._state.documents.get(key)
            life = RESERVE_S if isinstance(grant, AddressGrant) and grant.sticky else REST_S
            end = entry.value["since_s"] + life + ENDING_S
            expired |= {key} if end <= now else set()
            ending |= {key} if end - ENDING_S <= now else set()
        return frozenset(expired), frozenset(ending)

    def _note(self, vacant: set[str]) -> None:
        noted = {entry.key.removeprefix("vacant/") for entry in self._state.store.list("vacant/")}
        for key in vacant - noted:
            self._state.store.put(f"vacant/{key}", {"since_s": self._clock()})
        for key in noted - vacant:
            self._state.store.delete(f"vacant/{key}")
