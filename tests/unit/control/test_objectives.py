"""Objectives: what the probes of a slice's tunnels say of each pair of its clusters."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from slicer.model.attachments import PathHealth, TunnelHealth
from slicer.model.clusters import Cluster, ClusterBlocks, Gateway
from slicer.model.documents import Document, key_of
from slicer.model.errors import InvalidError
from slicer.model.slices import Objectives, Slice, SliceState
from slicer.model.topology import ClusterLink, SliceTopology
from slicer.plan.objectives import PairStatus, Verdict
from slicer.plan.status import slice_status

WANTED = Objectives(latency_ms=50, loss_percent=1)


def state(objectives: Objectives | None = WANTED, topology: SliceTopology | None = None) -> SliceState:
    """Slice red over all clusters, in tunnel set 0."""
    prefixes = (ipaddress.ip_network("10.1.0.0/16"),)
    spec = Slice(name="red", prefixes=prefixes, objectives=objectives, topology=topology)
    return SliceState(spec=spec, vni=1, tunnel_set=0)


def tunnel(cluster: str, remote: str, index: int = 0, **found: Any) -> TunnelHealth:
    """A tunnel that works well, but for what is said."""
    names = {"cluster": cluster, "node": f"{cluster}-n1", "remote_cluster": remote, "remote_node": f"{remote}-n1"}
    well = {"tunnel_set": 0, "index": index, "up": True, "rtt_us": 9_000, "loss_percent": 0}
    return TunnelHealth(**{**names, **well, **found})


def judged(*tunnels: TunnelHealth, clusters: str = "ab", objectives: Objectives | None = WANTED) -> Any:
    """(condition of the objectives, pairs) of the slice."""
    values: list[Document] = [*(Cluster(name=name) for name in clusters), *tunnels]
    status = slice_status(state(objectives), {key_of(value): value for value in values})
    found = [one for one in status.conditions if one.type == "Objectives"]
    return found[0] if found else None, status.objectives


def test_a_pair_is_judged_by_the_worst_of_its_tunnels_that_work() -> None:
    """From both ends; a tunnel that is down carries nothing, and one of another set is no concern of the slice."""
    slow, lossy = tunnel("b", "a", rtt_us=51_000), tunnel("a", "b", 1, loss_percent=2)
    others = (tunnel("a", "b", 2, up=False, rtt_us=900_000), tunnel("a", "b", tunnel_set=7, rtt_us=900_000))

    condition, (pair,) = judged(tunnel("a", "b"), slow, lossy, *others)

    assert pair == PairStatus(
        clusters=("a", "b"),
        state=Verdict.VIOLATED,
        latency_us=51_000,
        loss_percent=2,
        message="the round trip takes more than 50 ms; more than 1 % of probes are lost",
    )
    assert (condition.status, condition.reason) == (False, "Violated")
    assert condition.message == f"a / b: {pair.message}"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"rtt_us": 50_000, "loss_percent": 1}, Verdict.MET),
        ({"rtt_us": 50_001}, Verdict.VIOLATED),
        ({"loss_percent": 2}, Verdict.VIOLATED),
        ({"up": False}, Verdict.VIOLATED),
        ({"up": None, "rtt_us": None, "loss_percent": None}, Verdict.UNKNOWN),
    ],
)
def test_limits_are_met_exactly_and_not_beyond(found: dict[str, Any], verdict: Verdict) -> None:
    """No tunnel that works is a violation; nothing measured is unknown."""
    condition, (pair,) = judged(tunnel("a", "b", **found))

    assert pair.state is verdict
    assert condition.status is (verdict is Verdict.MET)


def test_what_is_not_asked_for_is_not_judged() -> None:
    """A slice that asks for latency only may lose what it will, and one that asks for nothing has no condition."""
    _, (pair,) = judged(tunnel("a", "b", loss_percent=90), objectives=Objectives(latency_ms=50))

    assert (pair.state, pair.loss_percent) == (Verdict.MET, 90)
    assert judged(tunnel("a", "b", loss_percent=90), objectives=None) == (None, ())
    assert judged(tunnel("a", "b", loss_percent=90), objectives=Objectives())[0].reason == "Met"
    assert judged(tunnel("a", "b", up=False), objectives=Objectives())[0].reason == "Violated"


def test_every_pair_is_judged_by_itself_and_violations_come_first() -> None:
    """Three clusters, three pairs: one met, one violated, one unknown."""
    condition, pairs = judged(tunnel("a", "b"), tunnel("c", "a", loss_percent=9), clusters="cba")

    assert [("".join(pair.clusters), str(pair.state)) for pair in pairs] == [
        ("ab", "Met"),
        ("ac", "Violated"),
        ("bc", "Unknown"),
    ]
    assert (condition.reason, condition.message) == ("Violated", "a / c: more than 1 % of probes are lost")
    assert judged(clusters="a")[0].reason == "OneCluster"


def test_a_pair_that_is_not_linked_is_no_part_of_the_slice() -> None:
    """Neither unknown nor not connected, whatever its tunnels do for other slices, and whatever was measured before."""
    path = {"slice": "red", "node": "n", "up": True}
    ways = [(one, other) for spoke in "ab" for one, other in (("h", spoke), (spoke, "h"))]
    values: list[Document] = [
        *(Cluster(name=name) for name in "abh"),
        *(Gateway(cluster=name, tunnel_set=0, slot=0, node=f"{name}-n1") for name in "abh"),
        *(ClusterBlocks(slice="red", cluster=name, blocks=state().spec.prefixes) for name in "abh"),
        *(PathHealth(cluster=one, remote_cluster=other, **path) for one, other in ways),
        PathHealth(cluster="a", remote_cluster="b", **path | {"up": False}),
        *(tunnel(one, other) for one, other in ways),
        tunnel("a", "b", up=False),
    ]
    documents = {key_of(value): value for value in values}
    status = slice_status(state(topology=SliceTopology(hubs=("h",))), documents)
    meshed = slice_status(state(), documents)

    assert {one.type: one.status for one in status.conditions if not one.status} == {}
    assert ["".join(pair.clusters) for pair in status.objectives] == ["ah", "bh"]
    assert ("a", "b") not in {(path.cluster, path.remote_cluster) for path in status.paths}
    assert {one.type for one in meshed.conditions if not one.status} == {"Ready", "Connected", "Objectives"}


def test_a_cluster_without_a_link_is_said_and_no_fault() -> None:
    """One that joins a slice of links later has none; the slice stays ready, and a mesh has no such condition."""
    linked = SliceTopology(links=(ClusterLink(clusters=("a", "b")),))
    documents: dict[str, Document] = {key_of(value): value for value in (Cluster(name=name) for name in "abc")}
    (found,) = [one for one in slice_status(state(topology=linked), documents).conditions if one.type == "Linked"]
    del documents["cluster/c"]
    (well,) = [one for one in slice_status(state(topology=linked), documents).conditions if one.type == "Linked"]
    documents |= {f"gateway/{c}/0/0": Gateway(cluster=c, tunnel_set=0, slot=0, node="n1") for c in "ab"}
    documents["cluster/c"] = Cluster(name="c")
    parts = {one.type: one for one in slice_status(state(topology=linked), documents).conditions}
    meshed = {one.type: one for one in slice_status(state(), documents).conditions}

    assert (found.status, found.reason) == (False, "ClusterWithoutLink")
    assert found.message == "cluster c has no link: its pods reach each other only"
    assert well.status
    assert parts["Gateways"].status
    assert meshed["Gateways"].message == "cluster c has no gateway"
    assert "Linked" not in {one.type for one in slice_status(state(), documents).conditions}


def test_a_slow_slice_is_ready() -> None:
    """Objectives take no part in Ready."""
    values: list[Document] = [Cluster(name="a"), Cluster(name="b"), tunnel("a", "b", rtt_us=4_000_000)]
    documents = {key_of(value): value for value in values}
    without = slice_status(state(None), documents).conditions

    assert slice_status(state(), documents).conditions[: len(without)] == without


def test_objectives_beyond_the_possible_are_refused() -> None:
    """By the field's name."""
    for fields, words in (
        ({"latency_ms": 0}, "latency_ms 0"),
        ({"latency_ms": 5001}, "latency_ms 5001"),
        ({"loss_percent": 100}, "loss_percent 100"),
    ):
        with pytest.raises(InvalidError, match=words):
            Objectives(**fields)
    assert replace(WANTED, loss_percent=None) == Objectives(latency_ms=50)
