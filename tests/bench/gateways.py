"""Two gateways a cluster against one, between pods on nodes that are no gateways, and how idle the cores were."""

from __future__ import annotations

from pathlib import Path

from tests.bench import bare, network
from tests.bench.lab import Lab, running, until
from tests.bench.measure import Goal, Row, Samples, interleave
from tests.bench.outcome import Outcome
from tools.run import say

STREAMS = 8
ONE, TWO = "slice, 1 gateway", "slice, 2 gateways"
BARE, OPENVPN = "bare WireGuard", "OpenVPN"
SLICES = {ONE: ("one", "10.77.0.0/16", 1), TWO: ("two", "10.78.0.0/16", 2)}
"""Variant → name, prefix and gateways a cluster of its slice."""


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` for a second each."""
    effort = network.effort(quick=quick)
    with running(nodes=3) as lab:
        paths = _paths(lab)
        network.reach_all(lab, list(paths.values()))
        rows = _measure(lab, paths, effort)
    return Outcome(
        title="Two gateways against one",
        how=(
            f"Two clusters of three nodes; the pods run on nodes that are no gateways of their slice, and each slice "
            f"has its own tunnels. {STREAMS} TCP streams by iperf3, payload received, and the share of time in which "
            "the machine's cores were idle meanwhile: a second gateway carries more only where there are cores for it, "
            "and both clusters and both ends share those of one machine here. Bare WireGuard and OpenVPN are one "
            "tunnel between two of the nodes."
        ),
        rows=rows,
        settings={key: value for key, value in effort.settings().items() if key != "pings each"},
    )


def _measure(lab: Lab, paths: dict[str, network.Path], effort: network.Effort) -> tuple[Row, ...]:
    rates, idle = Samples(list(paths)), Samples(list(paths))
    for number, name in interleave(list(paths), effort.rounds):
        before = _processor_time()
        rate = network.iperf(lab, paths[name], STREAMS, effort.seconds)
        after = _processor_time()
        idle.add(name, 100 * (after[0] - before[0]) / (after[1] - before[1]))
        rates.add(name, rate)
        say(f"  round {number + 1}: {name}: {rate:.2f} Gbit/s")
    goals = (
        Goal(subject=TWO, against=ONE, at_least=1.7),
        Goal(subject=TWO, against=BARE),
        Goal(subject=TWO, against=OPENVPN, at_least=1),
    )
    return (
        Row(name=f"TCP, {STREAMS} streams", unit="Gbit/s", samples=rates.frozen(), paired=True, goals=goals),
        Row(name="processors idle meanwhile", unit="%", samples=idle.frozen()),
    )


def _paths(lab: Lab) -> dict[str, network.Path]:
    return {
        BARE: bare.wireguard(lab, "a-n1", "b-n1"),
        ONE: _pods(lab, *SLICES[ONE]),
        TWO: _pods(lab, *SLICES[TWO]),
        OPENVPN: bare.openvpn(lab, "a-n1", "b-n1"),
    }


def _pods(lab: Lab, name: str, prefix: str, count: int) -> network.Path:
    """A slice with gateways of its own, and a pod in each cluster on a node that is none of them."""
    before = _gateways(lab).keys()
    lab.create_slice(name, prefix, gateways=count, tunnels="dedicated")
    clusters = lab.layout.clusters
    until(lambda: len(_gateways(lab).keys() - before) == count * len(clusters), f"slice {name} has its gateways")
    taken = {node for gateway, node in _gateways(lab).items() if gateway not in before}
    nodes = [next(m.name for m in lab.layout.nodes_of(c) if m.name not in taken) for c in clusters]
    client, server = (lab.pod(f"{name}-{node}", node, name) for node in nodes)
    return network.Path(client=client, server=server, address=lab.address(server))


def _gateways(lab: Lab) -> dict[str, str]:
    """Cluster, tunnel set and slot of each gateway → the node that it is on."""
    return {item["metadata"]["name"]: item["spec"]["node"] for item in lab.items("gateways")}


def _processor_time() -> tuple[int, int]:
    """(idle, all) in clock ticks since boot, of all cores (proc(5), /proc/stat)."""
    ticks = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return ticks[3], sum(ticks)
