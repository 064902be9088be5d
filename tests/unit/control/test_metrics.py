"""The metrics of a controller: each value in its unit, nothing for what is not known, every name documented."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from slicer.model.attachments import TunnelHealth
from slicer.model.clusters import Cluster, Gateway, GatewayState
from slicer.model.documents import key_of
from slicer.model.slices import Objectives, Slice, SliceState
from slicer_controller.api.metrics import families

GUIDE = (Path(__file__).parents[3] / "docs/guide/monitoring.md").read_text()
TUNNEL = TunnelHealth(
    cluster="a", node="a-n1", tunnel_set=0, index=1, generation=2, remote_cluster="b", remote_node="b-n2", up=True,
    rtt_us=1500, rtt_p99_us=4000, jitter_us=250, loss_percent=3, path_mtu=1420, handshake_at_s=1_700_000_000,
    rx_bytes=10, tx_bytes=20,
)  # fmt: skip
SLICE = SliceState(
    spec=Slice(name="red", prefixes=(ipaddress.ip_network("10.7.0.0/16"),), objectives=Objectives(latency_ms=1)),
    vni=7,
    tunnel_set=0,
)


def samples(*values: Any, connected: tuple[str, ...] = ()) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Name of each metric → (labels, value) of its samples."""
    documents = {key_of(value): value for value in values}
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families(documents, connected):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(name: str, *values: Any) -> float:
    """The only sample of a metric."""
    ((_, only),) = samples(*values)[name]
    return only


def test_figures_of_a_tunnel_are_in_base_units() -> None:
    """Seconds, ratios and bytes, with everything that tells one tunnel from another."""
    found = samples(TUNNEL)

    assert {name: values[0][1] for name, values in found.items() if name.startswith("slicer_tunnel")} == {
        "slicer_tunnel_up": 1,
        "slicer_tunnel_rtt_seconds": 0.0015,
        "slicer_tunnel_rtt_p99_seconds": 0.004,
        "slicer_tunnel_jitter_seconds": 0.00025,
        "slicer_tunnel_loss_ratio": 0.03,
        "slicer_tunnel_path_mtu_bytes": 1420,
        "slicer_tunnel_last_handshake_timestamp_seconds": 1_700_000_000,
        "slicer_tunnel_receive_bytes_total": 10,
        "slicer_tunnel_transmit_bytes_total": 20,
    }
    assert found["slicer_tunnel_up"][0][0] == {
        "cluster": "a", "node": "a-n1", "remote_cluster": "b", "remote_node": "b-n2", "tunnel_set": "0", "index": "1",
        "generation": "2",
        "lane": "0",
    }  # fmt: skip


def test_what_is_not_known_has_no_sample() -> None:
    """A tunnel that nobody has probed is neither up nor down; one that is down says so."""
    fresh = TunnelHealth(cluster="a", node="a-n1", tunnel_set=0, index=0, remote_cluster="b", remote_node="b-n1")
    names = {name for name in samples(fresh) if name.startswith("slicer_tunnel")}

    assert names == {"slicer_tunnel_receive_bytes_total", "slicer_tunnel_transmit_bytes_total"}
    assert value("slicer_tunnel_up", replace(fresh, up=False)) == 0


def test_each_gateway_is_in_one_state() -> None:
    """One of its samples is 1."""
    gateway = Gateway(cluster="a", tunnel_set=0, slot=0, node="a-n1", state=GatewayState.DRAINING)

    states = {labels["state"]: number for labels, number in samples(gateway)["slicer_gateway"]}

    assert states == {"active": 0, "draining": 1, "leaving": 0}


def test_objectives_are_violated_met_or_absent() -> None:
    """By pair of clusters; nothing is said while nothing was measured."""
    clusters = [Cluster(name=name) for name in "ab"]

    assert value("slicer_slice_objective_violated", SLICE, *clusters, TUNNEL) == 1
    assert value("slicer_slice_objective_violated", SLICE, *clusters, replace(TUNNEL, rtt_us=900)) == 0
    assert "slicer_slice_objective_violated" not in samples(SLICE, *clusters)
    assert value("slicer_slice_ready", SLICE, *clusters) == 0


def test_clients_are_counted_by_kind() -> None:
    """Kinds without any are 0, so that an alert can compare."""
    uris = ("slicer://node/a/a-n1", "slicer://node/a/a-n2", "slicer://cluster/b")

    counts = {labels["kind"]: number for labels, number in samples(connected=uris)["slicer_clients_connected"]}

    assert counts == {"cluster": 1, "node": 2, "dns": 0}


def test_the_guide_names_every_metric_and_no_other() -> None:
    """By the name that Prometheus shows (counters end in _total), with its labels."""
    documented = set(re.findall(r"^\| `(slicer_\w+)`", GUIDE, re.MULTILINE))
    made = {f"{f.name}_total" if f.type == "counter" else f.name for f in families({}, ())}

    assert documented == made
    assert all(f"`{label}`" in GUIDE for values in samples(TUNNEL).values() for labels, _ in values for label in labels)
