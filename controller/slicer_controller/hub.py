"""The hub's own work: what it promises for slices (VNI, tunnel set, blocks), kept in the store.

`plan_slice` and `withdraw_slice` are called by the REST API within one turn of the event loop, so that checks hold when
the write comes; `reconcile` is called after every change and mends whatever a kill left undone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slicer.client.codec import decode, encode
from slicer.model.attachments import AddressDemand, Ping
from slicer.model.clusters import ClusterBlocks, Rotation, RotationState
from slicer.model.documents import Documents, key_of, of_kind
from slicer.model.errors import ConflictError, ExhaustedError
from slicer.model.names import Prefix
from slicer.model.slices import Export, Membership, Slice, SliceState
from slicer.plan.allocation import (
    RESERVE_S,
    VNI_MAX,
    Reservation,
    live,
    plan_cluster_blocks,
    plan_service_blocks,
    plan_tunnel_set,
    plan_vni,
)
from slicer.plan.rotation import Memory, check_interval, due, next_generation, outdated, rotation_status
from slicer.plan.views import clusters_of
from slicer_controller.state import State

log = logging.getLogger(__name__)
PING_LIFE_S = 600
"""A ping that nobody deletes goes by itself."""


class Hub:
    """Allocates for all slices of the hub's state."""

    def __init__(self, state: State, clock: Callable[[], float], rotate_every_s: int = 0) -> None:
        self._state, self._clock = state, clock
        self._rotate_every_s = check_interval(rotate_every_s)
        self._exhausted: set[str] = set()

    def plan_slice(self, spec: Slice, before: SliceState | None) -> SliceState:
        """What the hub would promise for the slice; keeps what it promised before. Nothing is written."""
        states = of_kind(self._state.documents, SliceState)
        number = plan_tunnel_set(spec, states)
        if before is not None:
            return SliceState(spec=spec, vni=before.vni, tunnel_set=number, service_blocks=before.service_blocks)
        clusters = self._cluster_count(spec)
        vni = plan_vni({state.vni for state in states}, self._last_vni())
        blocks = plan_service_blocks(spec.prefixes, clusters)
        return SliceState(spec=spec, vni=vni, tunnel_set=number, service_blocks=blocks)

    def note_vni(self, vni: int) -> None:
        """Remember that `vni` was given out, before it is used: a kill in between only skips a number."""
        self._state.store.put("allocator/vni", {"last": vni})

    def skip_vnis(self, epoch: str) -> None:
        """Begin somewhere else: nodes still have the slices of a memory that was lost, whose numbers nobody knows."""
        self.note_vni(int(epoch[:6], 16) % (VNI_MAX // 2) + VNI_MAX // 4)

    def complete_rotation(self, spec: Rotation) -> Rotation:
        """The wish with the number that it means."""
        return spec if spec.generation else replace(spec, generation=self._next_generation(spec.tunnel_set))

    def plan_rotation(self, spec: Rotation) -> RotationState:
        """The rotation that begins now; ConflictError for a number that is not the next. Nothing is written."""
        wanted = self._next_generation(spec.tunnel_set)
        if spec.generation != wanted:
            raise ConflictError(
                f"the next generation of tunnel set {spec.tunnel_set} is {wanted}, not {spec.generation}"
            )
        return RotationState(spec=spec, started_at_s=int(self._clock()))

    def note_rotation(self, spec: Rotation) -> None:
        """Remember that this number was given out, before it is used: a kill in between only skips it."""
        memory = replace(self._memory(spec.tunnel_set), given=spec.generation)
        self._state.store.put(f"allocator/rotation/{spec.tunnel_set}", encode(memory))

    def note_taken_back(self, tunnel_set: int) -> None:
        """Remember, before a rotation is taken back, that the interval counts anew: nobody wants it again at once."""
        memory = replace(self._memory(tunnel_set), since_s=self._clock())
        self._state.store.put(f"allocator/rotation/{tunnel_set}", encode(memory))

    def _next_generation(self, tunnel_set: int) -> int:
        return next_generation(tunnel_set, self._documents, self._memory(tunnel_set).given)

    def _memory(self, tunnel_set: int) -> Memory:
        entry = self._state.store.get(f"allocator/rotation/{tunnel_set}")
        return decode(Memory, entry.value) if entry else Memory()

    @property
    def _documents(self) -> Documents:
        return self._state.documents

    def withdraw_slice(self, name: str) -> None:
        """Remove what hangs on a slice; the slice goes last: asking again mends a kill in between."""
        for member in of_kind(self._state.documents, Membership):
            if member.slice == name:
                self._state.delete(key_of(member))
        for export in of_kind(self._state.documents, Export):
            if export.slice == name:
                self._state.delete(key_of(export))

    def reconcile(self) -> None:
        """Make the blocks what the slices, clusters and demands ask for."""
        for state in of_kind(self._state.documents, SliceState):
            for cluster in clusters_of(state, self._state.documents):
                self._allot(state, cluster)
        for blocks in of_kind(self._state.documents, ClusterBlocks):
            self._release_if_left(blocks)
        self._rotate()
        self._forget_old()

    def _allot(self, state: SliceState, cluster: str) -> None:
        key = f"{state.spec.name}/{cluster}"
        document = self._state.documents.get(f"block/{key}")
        held = document.blocks if isinstance(document, ClusterBlocks) else self._reserved(key)
        try:
            blocks = plan_cluster_blocks(
                state,
                cluster,
                self._cluster_count(state.spec),
                held,
                self._others(state.spec.name, cluster),
                grow=self._unmet(state.spec.name, cluster, held),
            )
        except ExhaustedError as error:
            self._tell_exhausted(key, error)
            return
        self._exhausted.discard(key)
        if document is None or blocks != held:
            self._state.put(ClusterBlocks(slice=state.spec.name, cluster=cluster, blocks=blocks))
            log.info("blocks allocated", extra={"slice": state.spec.name, "cluster": cluster, "blocks": blocks})
        self._state.store.delete(f"reserved/{key}")

    def _rotate(self) -> None:
        """Note which rotations are over, and begin those that the interval asks for."""
        now_s = self._clock()
        for rotation in of_kind(self._documents, RotationState):
            if rotation.finished_at_s is None and rotation_status(rotation, self._documents).state == "done":
                self._state.put(replace(rotation, finished_at_s=int(now_s)))
                log.info("keys rotated", extra={"set": rotation.spec.tunnel_set, "to": rotation.spec.generation})
        for number, since_s in self._tunnel_sets().items() if self._rotate_every_s else ():
            memory = self._memory(number)
            memory = replace(memory, since_s=max(since_s, memory.since_s))
            spec = due(number, self._documents, memory, self._rotate_every_s, now_s)
            if spec is not None:
                rotation = self.plan_rotation(spec)
                self.note_rotation(spec)
                self._state.put(rotation)
        for rotation in outdated(self._documents):
            self._state.delete(key_of(rotation))

    def _tunnel_sets(self) -> dict[int, float]:
        """Tunnel sets in use, and when the first slice of each was made."""
        found: dict[int, float] = {}
        for state in of_kind(self._documents, SliceState):
            entry = self._state.store.get(key_of(state))
            made_s = entry.created_at_s if entry else self._clock()
            found[state.tunnel_set] = min(made_s, found.get(state.tunnel_set, made_s))
        return found

    def _release_if_left(self, blocks: ClusterBlocks) -> None:
        state = self._state.documents.get(f"slice/{blocks.slice}")
        if isinstance(state, SliceState):
            if state.spec.has_cluster(blocks.cluster) and f"cluster/{blocks.cluster}" in self._state.documents:
                return
            self._reserve(blocks)
        self._state.delete(f"block/{blocks.slice}/{blocks.cluster}")
        log.info("blocks released", extra={"slice": blocks.slice, "cluster": blocks.cluster})

    def _reserve(self, blocks: ClusterBlocks) -> None:
        """Keep the blocks for the cluster, should it come back; before they are given up."""
        reservation = Reservation(
            slice=blocks.slice,
            holder=blocks.cluster,
            blocks=blocks.blocks,
            until_s=self._clock() + RESERVE_S,
        )
        self._state.store.put(f"reserved/{blocks.slice}/{blocks.cluster}", encode(reservation))

    def _reserved(self, key: str) -> tuple[Prefix, ...]:
        entry = self._state.store.get(f"reserved/{key}")
        return tuple(live([decode(Reservation, entry.value)], self._clock())) if entry else ()

    def _others(self, slice_name: str, cluster: str) -> list[Prefix]:
        """Blocks of the slice that this cluster may not get: those of others, and those reserved for others."""
        documents = of_kind(self._state.documents, ClusterBlocks)
        held = [b for d in documents if d.slice == slice_name and d.cluster != cluster for b in d.blocks]
        return held + list(live(self._reservations(slice_name), self._clock(), but=cluster))

    def _reservations(self, slice_name: str) -> list[Reservation]:
        return [decode(Reservation, entry.value) for entry in self._state.store.list(f"reserved/{slice_name}/")]

    def _unmet(self, slice_name: str, cluster: str, held: tuple[Prefix, ...]) -> list[int]:
        """Families for which the cluster asked for another block, and has not got it yet."""
        demands = [d for d in of_kind(self._state.documents, AddressDemand) if not d.node]
        mine = [d for d in demands if (d.slice, d.cluster) == (slice_name, cluster)]
        return [d.version for d in mine if sum(b.version == d.version for b in held) <= d.blocks_held]

    def _cluster_count(self, spec: Slice) -> int:
        known = sum(key.startswith("cluster/") for key in self._state.documents)
        return max(1, len(spec.clusters) or known)

    def _last_vni(self) -> int:
        entry = self._state.store.get("allocator/vni")
        value: dict[str, Any] = entry.value if entry else {}
        return int(value.get("last", 0))

    def _tell_exhausted(self, key: str, error: ExhaustedError) -> None:
        if key not in self._exhausted:
            self._exhausted.add(key)
            log.warning("pool exhausted", extra={"pool": key, "error": error.message})

    def _forget_old(self) -> None:
        """Remove what has had its time: reservations, memberships, pings."""
        now = self._clock()
        for entry in self._state.store.list("reserved/"):
            reservation = decode(Reservation, entry.value)
            if reservation.until_s <= now or f"slice/{reservation.slice}" not in self._state.documents:
                self._state.store.delete(entry.key)
        for member in of_kind(self._state.documents, Membership):
            if member.until_s is not None and member.until_s <= now and not member.declared_in:
                log.info("membership ended", extra={"membership": member.name, "until_s": member.until_s})
                self._state.delete(key_of(member))
        for ping in of_kind(self._state.documents, Ping):
            entry_ = self._state.store.get(f"ping/{ping.id}")
            if entry_ and entry_.created_at_s + PING_LIFE_S < now:
                self._state.delete(f"ping/{ping.id}")
