"""The pairs of clusters between which a slice has paths, and its clusters without any. Pure.

What makes two clusters linked says `Slice.is_linked`; here it is asked of all of them, of nodes and of tunnels.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from slicer.model.attachments import TunnelHealth
from slicer.model.clusters import Gateway, Node
from slicer.model.history import TunnelWay
from slicer.model.slices import Slice, SliceState

Pair = tuple[str, str]


def linked_pairs(spec: Slice, clusters: Iterable[str]) -> tuple[Pair, ...]:
    """Each two of `clusters` that are linked, by name."""
    return tuple(pair for pair in combinations(sorted(clusters), 2) if spec.is_linked(*pair))


def both_ways(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The directions in which packets pass, sorted."""
    return tuple(sorted(way for one, other in pairs for way in ((one, other), (other, one))))


def is_of_slice(item: Node | Gateway | TunnelHealth | TunnelWay, state: SliceState) -> bool:
    """Whether the slice has to do with a node, or its packets may go by a gateway or a tunnel: these belong to none."""
    if not state.spec.has_cluster(item.cluster):
        return False
    if isinstance(item, Node):
        return True
    if item.tunnel_set != state.tunnel_set:
        return False
    return not isinstance(item, TunnelHealth | TunnelWay) or state.spec.is_linked(item.cluster, item.remote_cluster)
