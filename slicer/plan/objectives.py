"""Whether the ways between a slice's clusters are as its owner wants them: latency and loss of each pair. Pure.

What is judged are the probes of the tunnels that carry the slice: each pair by the worst of its tunnels that work,
since flows are spread over all of them. Caller: `slicer.plan.status`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slicer.model.attachments import TunnelHealth
from slicer.model.documents import Documents, of_kind
from slicer.model.slices import Objectives, SliceState
from slicer.plan.linking import linked_pairs


class Verdict(StrEnum):
    """Of one pair of clusters."""

    MET = "Met"
    VIOLATED = "Violated"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStatus:
    """Two clusters of a slice, and how its objectives stand between them."""

    clusters: tuple[str, ...]
    """Two, by name."""
    state: Verdict
    latency_us: int | None = None
    """Median round trip through the slowest tunnel that works; None where nothing was measured."""
    loss_percent: int | None = None
    """Of the last hundred probes of the tunnel that loses most of those that work."""
    message: str = ""
    """What is not as wanted; without figures, so that it changes only when the state does."""


def pair_statuses(state: SliceState, clusters: Iterable[str], documents: Documents) -> tuple[PairStatus, ...]:
    """Every two of the slice's clusters that are linked, sorted; empty for a slice without objectives."""
    wanted = state.spec.objectives
    if wanted is None:
        return ()
    tunnels = [tunnel for tunnel in of_kind(documents, TunnelHealth) if tunnel.tunnel_set == state.tunnel_set]
    return tuple(_pair(wanted, pair, tunnels) for pair in linked_pairs(state.spec, clusters))


def _pair(wanted: Objectives, clusters: tuple[str, str], tunnels: Iterable[TunnelHealth]) -> PairStatus:
    between = [tunnel for tunnel in tunnels if {tunnel.cluster, tunnel.remote_cluster} == set(clusters)]
    working = [tunnel for tunnel in between if tunnel.up]
    if not working:
        return _without_way(clusters, between)
    latency_us = max((tunnel.rtt_us for tunnel in working if tunnel.rtt_us is not None), default=None)
    loss_percent = max((tunnel.loss_percent for tunnel in working if tunnel.loss_percent is not None), default=None)
    wrong = [*_latency(wanted.latency_ms, latency_us), *_loss(wanted.loss_percent, loss_percent)]
    return PairStatus(
        clusters=clusters,
        state=Verdict.VIOLATED if wrong else Verdict.MET,
        latency_us=latency_us,
        loss_percent=loss_percent,
        message="; ".join(wrong),
    )


def _without_way(clusters: tuple[str, str], between: Sequence[TunnelHealth]) -> PairStatus:
    """No way at all meets nothing; what nobody has probed yet may be anything."""
    if any(tunnel.up is False for tunnel in between):
        return PairStatus(clusters=clusters, state=Verdict.VIOLATED, loss_percent=100, message="no tunnel works")
    return PairStatus(clusters=clusters, state=Verdict.UNKNOWN, message="nothing was measured yet")


def _latency(most_ms: int | None, found_us: int | None) -> list[str]:
    if most_ms is None or found_us is None or found_us <= most_ms * 1000:
        return []
    return [f"the round trip takes more than {most_ms} ms"]


def _loss(most_percent: int | None, found_percent: int | None) -> list[str]:
    if most_percent is None or found_percent is None or found_percent <= most_percent:
        return []
    return [f"more than {most_percent} % of probes are lost"]
