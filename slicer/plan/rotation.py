"""Rotation of a tunnel set's keys: which generation is in force, who still has another, what is refused. Pure.

    key ──▶ handshake, probes ──▶ swap ──▶ nobody sends through the old device ──▶ old device and key removed

Every gateway makes a second device with a new key beside each that it has, and sends through the new one from the
moment in which its own probes come back through it (`slicer.plan.dataplane_tunnel`); it goes on receiving on both. The
old one goes when neither it nor any peer sends through it. Nobody conducts: each step follows from what the gateways
say of themselves, so that whoever is killed finds the way on, and a withdrawn generation goes the same way back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from slicer.model.clusters import Gateway, Rotation, RotationState
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import ConflictError, NotFoundError
from slicer.model.names import check_range
from slicer.model.slices import SliceState
from slicer.plan.views import peers_of

HISTORY = 20
"""Rotations of one set that the hub remembers."""
INTERVAL_MIN_S = 60
INTERVAL_MAX_S = 10 * 365 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is known of a set's rotations beyond their documents: those that were taken back have none any more."""

    given: int = 0
    """The highest generation that was ever given out."""
    since_s: float = 0.0
    """Unix time from which an interval counts at the earliest: the set's first slice, the last one taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStatus:
    """How far a rotation is."""

    state: str
    """`keys`, `handshake` or `removal` while it runs, then `done`."""
    waiting_for: tuple[str, ...] = ()
    """`cluster/node` of the gateways that are not that far."""
    started_at_s: int | None = None
    finished_at_s: int | None = None
    """Unix time; None while it runs."""


def generation_of(tunnel_set: int, documents: Documents) -> int:
    """The generation in force: the highest that was asked for; 0 where none ever was."""
    return generations(documents).get(tunnel_set, 0)


def generations(documents: Documents) -> dict[int, int]:
    """The generation in force of each tunnel set that has a rotation."""
    found: dict[int, int] = {}
    for rotation in of_kind(documents, RotationState):
        number = rotation.spec.tunnel_set
        found[number] = max(rotation.spec.generation, found.get(number, 0))
    return found


def next_generation(tunnel_set: int, documents: Documents, given: int) -> int:
    """A number that no rotation of the set had: a gateway that was cut off may still have keys of one taken back.

    `given` is the highest that was given out; should that be forgotten, what documents and devices show counts.
    """
    seen = {end.generation for gateway in _gateways(tunnel_set, documents) for end in gateway.tunnels}
    return max({given, generation_of(tunnel_set, documents), *seen}) + 1


def rotation_status(rotation: RotationState, documents: Documents) -> RotationStatus:
    """What users see of a rotation. One that another follows is done: else that had been refused."""
    spec = rotation.spec
    is_last = spec.generation == generation_of(spec.tunnel_set, documents)
    runs = rotation.finished_at_s is None and is_last
    found = progress(spec.tunnel_set, documents) if runs else RotationStatus(state="done")
    return replace(found, started_at_s=rotation.started_at_s, finished_at_s=rotation.finished_at_s)


def progress(tunnel_set: int, documents: Documents) -> RotationStatus:
    """The first step that some gateway of the set has not done."""
    wanted = generation_of(tunnel_set, documents)
    gateways = [gateway for gateway, peers in peers_of(tunnel_set, documents) if peers]
    steps = (
        ("keys", [g for g in gateways if not _has_all(g, wanted)]),
        ("handshake", [g for g in gateways if g.uses != (wanted,)]),
        ("removal", [g for g in gateways if _has_others(g, wanted)]),
    )
    for state, behind in steps:
        if behind:
            return RotationStatus(state=state, waiting_for=tuple(sorted({f"{g.cluster}/{g.node}" for g in behind})))
    return RotationStatus(state="done")


def check_rotation(spec: Rotation, documents: Documents) -> None:
    """The keys may be rotated now: the set carries a slice, and no rotation of it runs."""
    states = [state for state in of_kind(documents, SliceState) if state.tunnel_set == spec.tunnel_set]
    if not states:
        raise NotFoundError(f"there is no tunnel set {spec.tunnel_set}: no slice uses it")
    running = running_rotation(spec.tunnel_set, documents)
    if running is not None:
        status = rotation_status(running, documents)
        waits = f"; it waits for {', '.join(status.waiting_for)} ({status.state})" if status.waiting_for else ""
        raise ConflictError(
            f"the keys of tunnel set {spec.tunnel_set} are being rotated already"
            f" (generation {running.spec.generation}){waits}",
            reason="RotationRuns",
        )
    in_force = generation_of(spec.tunnel_set, documents)
    rest = [g for g in _gateways(spec.tunnel_set, documents) if _has_others(g, in_force)]
    if rest:
        raise ConflictError(
            f"gateway {rest[0].cluster}/{rest[0].node} still has devices of another generation in tunnel set"
            f" {spec.tunnel_set}; wait until they are gone",
            reason="RotationRuns",
        )


def check_rotation_delete(name: str, documents: Documents) -> None:
    """Only a rotation that runs can be taken back."""
    rotation = documents.get(f"rotation/{name}")
    if isinstance(rotation, RotationState) and rotation_status(rotation, documents).state == "done":
        raise ConflictError(f"rotation {name!r} is over; only one that runs can be taken back", reason="RotationOver")


def check_interval(interval_s: int) -> int:
    """An interval between rotations in seconds; 0 means never."""
    return (
        interval_s if interval_s == 0 else check_range("rotation interval", interval_s, INTERVAL_MIN_S, INTERVAL_MAX_S)
    )


def running_rotation(tunnel_set: int, documents: Documents) -> RotationState | None:
    """The rotation of the set that is not finished."""
    found = [r for r in of_kind(documents, RotationState) if r.spec.tunnel_set == tunnel_set]
    return next((r for r in found if rotation_status(r, documents).state != "done"), None)


def due(tunnel_set: int, documents: Documents, memory: Memory, interval_s: int, now_s: float) -> Rotation | None:
    """The rotation that the interval asks for now."""
    begun = [r.started_at_s for r in of_kind(documents, RotationState) if r.spec.tunnel_set == tunnel_set]
    if not interval_s or now_s < max([memory.since_s, *begun]) + interval_s:
        return None
    generation = next_generation(tunnel_set, documents, memory.given)
    spec = Rotation(tunnel_set=tunnel_set, generation=generation, reason="by interval")
    try:
        check_rotation(spec, documents)
    except ConflictError:
        return None
    return spec


def outdated(documents: Documents) -> list[RotationState]:
    """Rotations that are more than the history holds, oldest first."""
    numbers = sorted({rotation.spec.tunnel_set for rotation in of_kind(documents, RotationState)})
    found: list[RotationState] = []
    for number in numbers:
        mine = [r for r in of_kind(documents, RotationState) if r.spec.tunnel_set == number]
        found += sorted(mine, key=lambda rotation: rotation.spec.generation)[:-HISTORY]
    return found


def _gateways(tunnel_set: int, documents: Documents) -> list[Gateway]:
    return [gateway for gateway in of_kind(documents, Gateway) if gateway.tunnel_set == tunnel_set]


def _has_others(gateway: Gateway, generation: int) -> bool:
    """Whether it has devices that are not of this generation."""
    return any(end.generation != generation for end in gateway.tunnels)


def _has_all(gateway: Gateway, generation: int) -> bool:
    """Whether each of its devices has one of this generation."""
    ways = {(end.index, end.lane) for end in gateway.tunnels}
    return bool(ways) and ways == {(e.index, e.lane) for e in gateway.tunnels if e.generation == generation}
