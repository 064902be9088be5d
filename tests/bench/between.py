"""Pod to pod between two clusters, against bare tunnels between the same two nodes."""

from __future__ import annotations

from tests.bench import bare, network
from tests.bench.lab import Lab, running, until
from tests.bench.measure import Goal, Row
from tests.bench.network import Path
from tests.bench.outcome import Outcome

SLICE = "bench"
BARE, OPENVPN = "bare WireGuard", "OpenVPN"
NEAR, FAR = "slice, pods on the gateways' nodes", "slice, gateways on other nodes"


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` for a second each."""
    effort = network.effort(quick=quick)
    with running() as lab:
        lab.create_slice(SLICE, "10.77.0.0/16", gateways=1)
        paths = _paths(lab)
        network.reach_all(lab, list(paths.values()))
        rows = [_throughput(lab, paths, streams, effort) for streams in (1, 4)]
        rows.append(_round_trip(lab, paths, effort))
    return Outcome(
        title="Pod to pod between clusters",
        how=(
            "Two clusters of two nodes, one gateway each. TCP by iperf3, payload received; round trip of an ICMP "
            "echo of 64 bytes, one on each path in turn, each sent when the one before is answered, median. Bare "
            "WireGuard is the same program between the two gateways' nodes with the same MTU, OpenVPN its 2.6 default "
            "(AES-256-GCM, UDP)."
        ),
        rows=tuple(rows),
        settings=effort.settings(),
    )


def _throughput(lab: Lab, paths: dict[str, Path], streams: int, effort: network.Effort) -> Row:
    samples = network.throughput(lab, paths, streams, effort)
    goals = (
        Goal(subject=NEAR, against=BARE, at_least=0.9),
        Goal(subject=FAR, against=BARE),
        Goal(subject=NEAR, against=OPENVPN, at_least=1),
    )
    name = f"TCP, {streams} stream{'s' if streams > 1 else ''}"
    return Row(name=name, unit="Gbit/s", samples=samples, paired=True, goals=goals)


def _round_trip(lab: Lab, paths: dict[str, Path], effort: network.Effort) -> Row:
    samples = network.round_trips(lab, paths, effort)
    goals = (Goal(subject=NEAR, against=BARE, at_most=1.15), Goal(subject=FAR, against=BARE))
    return Row(name="Round trip, 64 bytes", unit="µs", samples=samples, paired=True, goals=goals)


def _paths(lab: Lab) -> dict[str, Path]:
    until(lambda: len(_gateways(lab)) == len(lab.layout.clusters), "every cluster has its gateway")
    gateways = _gateways(lab)
    others = {c: next(m.name for m in lab.layout.nodes_of(c) if m.name != gateways[c]) for c in gateways}
    return {
        BARE: bare.wireguard(lab, gateways["a"], gateways["b"]),
        NEAR: _pods(lab, "near", gateways),
        FAR: _pods(lab, "far", others),
        OPENVPN: bare.openvpn(lab, gateways["a"], gateways["b"]),
    }


def _pods(lab: Lab, name: str, nodes: dict[str, str]) -> Path:
    client, server = (lab.pod(name, nodes[cluster], SLICE) for cluster in ("a", "b"))
    return Path(client=client, server=server, address=lab.address(server))


def _gateways(lab: Lab) -> dict[str, str]:
    """Cluster → the node that is its gateway."""
    return {item["spec"]["cluster"]: item["spec"]["node"] for item in lab.items("gateways", slice=SLICE)}
