"""Which clusters of a slice are linked: every two of them, or hubs with all others, or the pairs that are named.

What is not linked has no path in the slice. `are_linked` is the one place that says what is; everybody else asks it,
mostly by `Slice.is_linked`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from slicer.model.errors import InvalidError
from slicer.model.names import check_label

LINK_RULE = "is not between two different clusters"
EMPTY_RULE = "names neither a hub nor a link; leave it out to link every two clusters"
OUTSIDE_HUB_RULE = "is not one of the slice's clusters"
OUTSIDE_LINK_RULE = "is not between two of the slice's clusters"
ALONE_RULE = "has no link; link it or take it out of the slice"
"""How refusals end, here and where the Kubernetes API server refuses by itself (the CRDs are made with these)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLink:
    """Two clusters between which packets pass, both ways."""

    clusters: tuple[str, ...]
    """The two, sorted."""

    def __post_init__(self) -> None:
        for cluster in self.clusters:
            check_label("cluster name", cluster)
        object.__setattr__(self, "clusters", tuple(sorted(self.clusters)))
        if len(self.clusters) != 2 or len(set(self.clusters)) != 2:
            raise InvalidError(f"link '{self}' {LINK_RULE}")

    def __str__(self) -> str:
        return ":".join(self.clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTopology:
    """Which clusters are linked where not every two are: hubs with all others, and pairs that are named."""

    hubs: tuple[str, ...] = ()
    """Clusters that are linked with every other cluster of the slice, also with those that join later; sorted."""
    links: tuple[ClusterLink, ...] = ()
    """Pairs of clusters that are linked besides; sorted, each once."""

    def __post_init__(self) -> None:
        for cluster in self.hubs:
            check_label("cluster name", cluster)
        object.__setattr__(self, "hubs", tuple(sorted(set(self.hubs))))
        object.__setattr__(self, "links", tuple(sorted(set(self.links), key=lambda link: link.clusters)))
        if not self.hubs and not self.links:
            raise InvalidError(f"topology {EMPTY_RULE}")

    def clusters(self) -> tuple[str, ...]:
        """All that it names, sorted."""
        return tuple(sorted({*self.hubs, *(cluster for link in self.links for cluster in link.clusters)}))


def are_linked(topology: SliceTopology | None, one: str, other: str) -> bool:
    """Whether packets pass between two clusters of a slice with this topology; None links every two."""
    if one == other:
        return False
    if topology is None or one in topology.hubs or other in topology.hubs:
        return True
    return any(set(link.clusters) == {one, other} for link in topology.links)


def unlinked(topology: SliceTopology | None, clusters: Collection[str]) -> tuple[str, ...]:
    """Those of a slice's clusters that are linked with no other one, sorted; none where there is only one."""
    if topology is None or topology.hubs or len(clusters) < 2:
        return ()
    linked = {cluster for link in topology.links if set(link.clusters) <= set(clusters) for cluster in link.clusters}
    return tuple(sorted(set(clusters) - linked))


def check_topology(topology: SliceTopology, clusters: Collection[str]) -> None:
    """InvalidError unless it speaks of the named clusters only and links each of them."""
    for hub in topology.hubs:
        if hub not in clusters:
            raise InvalidError(f"hub {hub!r} {OUTSIDE_HUB_RULE}")
    for link in topology.links:
        if not set(link.clusters) <= set(clusters):
            raise InvalidError(f"link '{link}' {OUTSIDE_LINK_RULE}")
    for cluster in unlinked(topology, clusters):
        raise InvalidError(f"cluster {cluster!r} {ALONE_RULE}")
