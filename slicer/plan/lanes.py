"""Parallel tunnels between two gateways (lanes): how many there are, what tells them apart, their shares. Pure.

Every device of a gateway is there once for each lane, and talks to the device of the same lane at the other end. A lane
is made when a slice that links the two clusters asks for it; it is used from the moment in which probes come back
through it. One too many goes like an old generation of keys does (`slicer.plan.rotation`): each end leaves it, says
so, and takes its device away when the other has said so, too. No end has to see a change before the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from slicer.model.clusters import Gateway
from slicer.model.slices import SliceState

_LETTERS = "abcdefgh"
"""One a lane, so that the longest name of a device still fits."""
_WHOLE = 240
"""Weight of one gateway among others with another number of lanes: parts without a remainder, and below 255."""


class End(Protocol):
    """A tunnel as its share is worked out."""

    @property
    def index(self) -> int:
        """Slot of the far gateway."""


E = TypeVar("E", bound=End)


def lane_letter(lane: int) -> str:
    """What names have of a lane: nothing for the first."""
    return _LETTERS[lane] if lane else ""


def lanes_asked(states: Iterable[SliceState], cluster: str, gateways: Iterable[Gateway]) -> dict[tuple[int, str], int]:
    """(tunnel set, remote cluster) → lanes, for all clusters with gateways that a slice links with `cluster`.

    The most that any slice asks for that links the two: both ends see these slices, and no others count.
    """
    asked: dict[tuple[int, str], int] = {}
    clusters = {gateway.cluster for gateway in gateways} - {cluster}
    for state in states:
        for remote in clusters:
            if state.spec.is_linked(cluster, remote):
                pair = (state.tunnel_set, remote)
                asked[pair] = max(state.spec.tunnels_per_pair, asked.get(pair, 1))
    return asked


def lanes_said(gateway: Gateway, remote: str) -> frozenset[int]:
    """The lanes through which a gateway may send to a cluster; all that it has as long as it has said nothing."""
    if not gateway.uses:
        return frozenset(end.lane for end in gateway.tunnels)
    return frozenset(use.lane for use in gateway.lanes if use.remote_cluster == remote)


def weights_of(ends: Sequence[E]) -> Mapping[E, int]:
    """The weight of each tunnel in use, so that every far gateway gets the same; empty where all have as many lanes."""
    lanes = Counter(end.index for end in ends)
    if len(set(lanes.values())) < 2:
        return {}
    return {end: _WHOLE // lanes[end.index] for end in ends}
