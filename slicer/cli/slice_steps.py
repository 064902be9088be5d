"""How far a slice is, as steps: what `create-slice --wait` waits for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.cli.columns import reach, text_of
from slicer.cli.progress import Step
from slicer.cli.words import topology_of
from slicer.model.slices import Slice
from slicer.model.topology import unlinked
from slicer.plan.linking import Pair, both_ways, linked_pairs

Resource = dict[str, Any]


def cluster_pairs(resource: Resource) -> tuple[Pair, ...]:
    """Both directions between the clusters that the slice has now and links."""
    from slicer.client.codec import decode

    clusters = [cluster["name"] for cluster in _clusters(resource)]
    return both_ways(linked_pairs(decode(Slice, resource["spec"]), clusters))


def pairs_up(resource: Resource) -> set[Pair]:
    """The directions in which at least one node has measured that packets pass."""
    paths = reach(resource, "status", "paths") or []
    return {(path["cluster"], path["remote_cluster"]) for path in paths if path["up"]}


def steps_of(resource: Resource) -> Sequence[Step]:
    """Blocks, gateways, packets: in the order in which they come about."""
    clusters = _clusters(resource)
    return (
        Step(title="slice declared", done=True, detail=f"{text_of(reach(resource, 'spec', 'prefixes'))}"),
        _given("address blocks", "blocks", clusters),
        *([_given("gateways", "gateways", _linked(resource))] if len(clusters) != 1 else []),
        _packets(resource),
    )


def _clusters(resource: Resource) -> list[Resource]:
    return list(reach(resource, "status", "clusters") or ())


def _linked(resource: Resource) -> list[Resource]:
    """The clusters that need a gateway."""
    clusters = _clusters(resource)
    alone = unlinked(topology_of(resource["spec"]), [cluster["name"] for cluster in clusters])
    return [cluster for cluster in clusters if cluster["name"] not in alone]


def _given(title: str, field: str, clusters: list[Resource]) -> Step:
    missing = [cluster["name"] for cluster in clusters if not cluster.get(field)]
    if missing or not clusters:
        waiting = f"cluster {', '.join(missing)} has none" if missing else "no cluster is in the slice yet"
        return Step(title=title, done=False, detail=waiting)
    return Step(title=title, done=True, detail="; ".join(f"{c['name']} {text_of(c[field])}" for c in clusters))


def _packets(resource: Resource) -> Step:
    pairs, passed = cluster_pairs(resource), pairs_up(resource)
    missing = [f"{a} → {b}" for a, b in pairs if (a, b) not in passed]
    detail = f"{len(pairs) - len(missing)} of {len(pairs)} directions"
    if missing:
        detail += f", not yet {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
    done = bool(_clusters(resource)) and not missing
    return Step(title="packets between clusters", done=done, detail=detail if pairs else _without_pairs(resource))


def _without_pairs(resource: Resource) -> str:
    return "one cluster only" if len(_clusters(resource)) < 2 else "no two clusters are linked"
