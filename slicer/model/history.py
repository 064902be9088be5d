"""What tunnels were like minute by minute; kept in a controller's memory, never a document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TunnelWay:
    """One direction between two gateways through one device, whatever the generation of its keys."""

    cluster: str
    node: str
    remote_cluster: str
    remote_node: str
    tunnel_set: int
    index: int
    lane: int = 0
    """Of several tunnels beside each other; 0 for the first."""

    @property
    def name(self) -> str:
        """The fields in this order, joined by `/`."""
        ends = (self.cluster, self.node, self.remote_cluster, self.remote_node)
        return "/".join((*ends, *map(str, (self.tunnel_set, self.index, self.lane))))


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelMinute:
    """What the samples of one minute say; None where none of them knew."""

    start_s: int
    """Unix time, a multiple of 60."""
    up_percent: int | None = None
    """Share of the samples in which probes passed, of those that knew; 100 only if they did in all."""
    rtt_us: int | None = None
    """Median of the samples."""
    rtt_p99_us: int | None = None
    """Highest of the samples."""
    loss_percent: int | None = None
    """Highest of the samples."""
    jitter_us: int | None = None
    """Mean of the samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelHistory(TunnelWay):
    """The minutes of one way, oldest first; those without a sample are missing."""

    minutes: tuple[TunnelMinute, ...]
