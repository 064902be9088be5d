"""The pairs of clusters between which a slice has paths, and its clusters without any. Pure.

What makes two clusters linked says `Slice.is_linked`; here it is asked of all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from slicer.model.slices import Slice

Pair = tuple[str, str]


def linked_pairs(spec: Slice, clusters: Iterable[str]) -> tuple[Pair, ...]:
    """Each two of `clusters` that are linked, by name."""
    return tuple(pair for pair in combinations(sorted(clusters), 2) if spec.is_linked(*pair))


def both_ways(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The directions in which packets pass, sorted."""
    return tuple(sorted(way for one, other in pairs for way in ((one, other), (other, one))))
