"""`GET /metrics`: what this controller knows of slices, gateways and the ways between clusters, as Prometheus reads it.

Rendered from the documents at each request, so nothing is counted here: values that the agents report, and how many
things there are. Units are Prometheus' base units (seconds, bytes, ratios).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slicer.model.attachments import Attachment, TunnelHealth
from slicer.model.clusters import Gateway, GatewayState
from slicer.model.documents import Documents, of_kind
from slicer.model.slices import SliceState
from slicer.plan.objectives import Verdict
from slicer.plan.status import slice_status
from slicer_controller.access import Peer
from slicer_controller.context import Context

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TUNNEL = ("cluster", "node", "remote_cluster", "remote_node", "tunnel_set", "index", "generation", "lane")


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfTunnel:
    """A figure that gateways report of each of their tunnels."""

    name: str
    help: str
    value: Callable[[TunnelHealth], float | None]
    """None where nothing is known yet: then there is no sample."""
    counter: bool = False


_TUNNELS = (
    _OfTunnel(name="slicer_tunnel_up", help="1 while probes pass.", value=lambda t: t.up),
    _OfTunnel(
        name="slicer_tunnel_rtt_seconds", help="Median round trip of the last probes.", value=lambda t: _s(t.rtt_us)
    ),
    _OfTunnel(
        name="slicer_tunnel_rtt_p99_seconds",
        help="99 of 100 of the last probes came back sooner.",
        value=lambda t: _s(t.rtt_p99_us),
    ),
    _OfTunnel(
        name="slicer_tunnel_jitter_seconds",
        help="Mean difference of round trips that follow each other.",
        value=lambda t: _s(t.jitter_us),
    ),
    _OfTunnel(
        name="slicer_tunnel_loss_ratio",
        help="Of the last hundred probes, 0 to 1.",
        value=lambda t: None if t.loss_percent is None else t.loss_percent / 100,
    ),
    _OfTunnel(
        name="slicer_tunnel_path_mtu_bytes",
        help="Largest packet of a pod that gets through.",
        value=lambda t: t.path_mtu,
    ),
    _OfTunnel(
        name="slicer_tunnel_last_handshake_timestamp_seconds",
        help="Unix time of WireGuard's last handshake.",
        value=lambda t: t.handshake_at_s,
    ),
    _OfTunnel(
        name="slicer_tunnel_receive_bytes", help="Since the device was made.", value=lambda t: t.rx_bytes, counter=True
    ),
    _OfTunnel(
        name="slicer_tunnel_transmit_bytes", help="Since the device was made.", value=lambda t: t.tx_bytes, counter=True
    ),
)


def render_metrics(context: Context) -> bytes:
    """The whole page, text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Now(tuple(families(context.state.documents, context.connected))))
    return generate_latest(registry)


def families(documents: Documents, connected: Collection[str]) -> Iterator[Metric]:
    """Every metric with its samples; `connected` are the URIs of clients that follow a view now."""
    yield _clients(connected)
    yield from chain(_gateways(documents), _tunnels(documents), _slices(documents))


class _Now(Collector):
    """Metrics that are known already."""

    def __init__(self, found: Collection[Metric]) -> None:
        self._found = found

    def collect(self) -> Collection[Metric]:
        """See Collector."""
        return self._found


def _clients(connected: Collection[str]) -> Metric:
    family = GaugeMetricFamily(
        "slicer_clients_connected", "Members, agents and name servers that follow their view now.", labels=("kind",)
    )
    kinds = Counter(Peer.parse(uri).kind for uri in connected)
    for kind in ("cluster", "node", "dns"):
        family.add_metric((kind,), kinds[kind])
    return family


def _gateways(documents: Documents) -> Iterator[Metric]:
    labels = ("cluster", "node", "tunnel_set", "state")
    family = GaugeMetricFamily("slicer_gateway", "1 for the state that the gateway is in.", labels=labels)
    for gateway in of_kind(documents, Gateway):
        for state in GatewayState:
            place = (gateway.cluster, gateway.node, str(gateway.tunnel_set), state.value)
            family.add_metric(place, state is gateway.state)
    yield family


def _tunnels(documents: Documents) -> Iterator[Metric]:
    tunnels = list(of_kind(documents, TunnelHealth))
    for one in _TUNNELS:
        kind = CounterMetricFamily if one.counter else GaugeMetricFamily
        family = kind(one.name, one.help, labels=_TUNNEL)
        for tunnel in tunnels:
            value = one.value(tunnel)
            if value is not None:
                family.add_metric([str(getattr(tunnel, label)) for label in _TUNNEL], value)
        yield family


def _slices(documents: Documents) -> Iterator[Metric]:
    ready = GaugeMetricFamily("slicer_slice_ready", "1 while the slice's condition Ready is true.", labels=("slice",))
    attached = GaugeMetricFamily(
        "slicer_slice_attachments", "Interfaces of pods, by their state.", labels=("slice", "cluster", "state")
    )
    violated = GaugeMetricFamily(
        "slicer_slice_objective_violated",
        "1 where the way between two clusters is not as the slice's objectives want it; absent while unknown.",
        labels=("slice", "cluster", "remote_cluster"),
    )
    for state in of_kind(documents, SliceState):
        status = slice_status(state, documents)
        ready.add_metric((state.spec.name,), any(c.type == "Ready" and c.status for c in status.conditions))
        for pair in status.objectives:
            if pair.state is not Verdict.UNKNOWN:
                violated.add_metric((state.spec.name, *pair.clusters), pair.state is Verdict.VIOLATED)
    counts = Counter((a.slice, a.cluster, a.state.value) for a in of_kind(documents, Attachment))
    for place, count in sorted(counts.items()):
        attached.add_metric(place, count)
    yield from (ready, attached, violated)


def _s(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
