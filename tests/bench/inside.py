"""Pod to pod inside a cluster, on two nodes, against a bare VXLAN between the same two nodes."""

from __future__ import annotations

from tests.bench import bare, network
from tests.bench.lab import running
from tests.bench.measure import Goal, Row
from tests.bench.network import Path
from tests.bench.outcome import Outcome

SLICE = "bench"
BARE, OURS = "bare VXLAN", "slice"
NODES = ("a-n1", "a-n2")


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` for a second each."""
    effort = network.effort(quick=quick)
    with running(clusters=("a",)) as lab:
        lab.create_slice(SLICE, "10.77.0.0/16")
        client, server = (lab.pod(f"pod-{node}", node, SLICE) for node in NODES)
        ours = Path(client=client, server=server, address=lab.address(server))
        paths = {BARE: bare.vxlan(lab, *NODES), OURS: ours}
        network.reach_all(lab, list(paths.values()))
        rows = [
            Row(
                name=f"TCP, {streams} stream{'s' if streams > 1 else ''}",
                unit="Gbit/s",
                samples=network.throughput(lab, paths, streams, effort),
                paired=True,
                goals=(Goal(subject=OURS, against=BARE, at_least=0.9),),
            )
            for streams in (1, 4)
        ]
        trips = network.round_trips(lab, paths, effort)
    goals = (Goal(subject=OURS, against=BARE),)
    rows.append(Row(name="Round trip, 64 bytes", unit="µs", samples=trips, paired=True, goals=goals))
    return Outcome(
        title="Pod to pod inside a cluster",
        how="One cluster of two nodes, a pod on each; bare VXLAN between the same nodes, with the same MTU.",
        rows=tuple(rows),
        settings=effort.settings(),
    )
