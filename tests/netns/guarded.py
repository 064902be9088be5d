"""A network whose nodes look after themselves: reconciler, link watch and prober run on each, as in an agent.

pod one (a-n3) - slice - a-n1 or a-n2 (gateways) - tunnels - b-n1 or b-n2 (gateways) - slice - pod two (b-n3)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from node_process import WIREGUARD
from testnet import Network

from slicer.plan.probing import Pace

N = TypeVar("N", bound="Guarded")
SLOWNESS = float(os.environ.get("SLICER_TEST_SLOWNESS", "1"))
"""How much slower than a real machine this one is: an emulated one finds its peers dead at the usual pace of probes."""
WAIT_S = 40.0 * SLOWNESS
"""Long enough for a loaded machine; everything waited for takes a second or two on a quiet one."""
GATEWAYS = ("a-n1", "a-n2", "b-n1", "b-n2")


def until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` gives once it is true; AssertionError with `what` when that takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S:.0f} s"
        time.sleep(0.05)
    return found


@contextmanager
def running(network: N) -> Iterator[N]:
    """The network, started, and gone afterwards."""
    try:
        network.start()
        yield network
    finally:
        network.stop()


class Guarded:
    """The network, with what the tests do to it. `spec`: of its slice."""

    def __init__(self, *, wireguard: str = WIREGUARD, spec: dict[str, Any] | None = None, **prober: Any) -> None:
        self.net = Network(nodes_each=3, gateways=2, wireguard=wireguard)
        self.spec = spec or {}
        self.lanes: int = self.spec.get("tunnels_per_pair", 1)
        """Parallel tunnels between two gateways."""
        self.prober = {"pace": Pace(interval_s=0.1 * SLOWNESS), **prober}

    def start(self) -> None:
        self.net.start()
        self.net.add_slice("red", 1, "10.77.0.0/16", "fd77::/48", **self.spec)
        self.net.converge()
        for node in self.net.nodes:
            self.net.add_pod(f"red-{node}", node, "red")
        self.net.converge()
        view = self.net.view()
        for node in self.net.nodes.values():
            node.machine("guard", view, node.local, **self.prober)
        self.pods = {name: node.pods[0] for name, node in self.net.nodes.items()}
        two = self.pods["b-n3"]
        two.node.machine("echo", two.name, str(two.address(4)), 7)
        self.settled()

    def stop(self) -> None:
        self.net.stop()

    def lines(self, node: str) -> dict[str, tuple[bool, bool]]:
        return self.net.nodes[node].machine("lines")

    def downs(self, node: str, since: float = 0.0) -> set[str]:
        """What a node has found down after `since` and within the last minute, whether it is back or not."""
        return self.net.nodes[node].machine("downs", since)

    def all_up(self) -> bool:
        """Whether every gateway and tunnel is up by its own answers, and nothing is avoided anywhere."""
        machines = [node.machine for node in self.net.nodes.values()]
        lines = [list(machine("lines").values()) for machine in machines]
        if not all(found and set(found) == {(True, True)} for found in lines):
            return False
        return all(not any(vars_of(machine("health"))) for machine in machines)

    def settled(self) -> None:
        until(self.all_up, "every gateway and tunnel is up")
        until(self.groups_full, "every group is full")

    def groups(self, node: str, ns: str) -> list[int]:
        """Of each group in a namespace how many members it has without the spare."""
        lines = self.net.nodes[node].machine.run("ip nexthop show", ns).splitlines()
        return [1 if "," in words else words.count("/") + 1 for words in map(_group_of, lines) if words]

    def groups_full(self) -> bool:
        inner = [self.groups(node, "s-000001") for node in ("a-n3", "b-n3")]
        outer = [sorted(self.groups(node, "t-00")) for node in GATEWAYS]
        straight = [self.lanes] * 4 if self.lanes > 1 else []
        return all(found == [2, 2] for found in inner) and all(
            found == [*straight, 2 * self.lanes, 2 * self.lanes] for found in outer
        )

    def start_flows(self, number: int = 12) -> None:
        """UDP flows from pod one to pod two's echo."""
        one, two = self.pods["a-n3"], self.pods["b-n3"]
        one.node.machine("stream", one.name, str(two.address(4)), 7, number, 0.01 * SLOWNESS)
        until(lambda: all(count > 5 for count in self.progress()), "all flows run")

    def progress(self) -> list[int]:
        return self.pods["a-n3"].node.machine("progress")

    def all_go_on(self, what: str) -> None:
        """Wait until packets of every flow that were sent from now on have come back."""
        before = self.progress()
        until(lambda: all(now > then + 10 for now, then in zip(self.progress(), before, strict=True)), what)

    def end_flows(self) -> list[list[float]]:
        return self.pods["a-n3"].node.machine("streamed")

    def link(self, node: str, state: str) -> None:
        """Plug a node's only cable out or in, on the other side, so that the node sees nothing but a lost carrier."""
        self.net.internet.run(f"ip link set e-{node} {state}")

    def forwarded(self, node: str) -> int:
        """IPv4 packets of pods that a gateway has let into its tunnels."""
        rules = self.net.nodes[node].machine.run("nft list chain inet slicer forward", "t-00").splitlines()
        (rule,) = (line for line in rules if 'oifname "w*"' in line and "@slices4" in line)
        return int(rule.split("packets ")[1].split()[0])


def vars_of(health: Any) -> tuple[Any, ...]:
    return (health.avoided_gateways, health.avoided_tunnels, health.cut_off, health.gone)


def _group_of(line: str) -> str:
    words = line.split()
    return words[words.index("group") + 1] if "group" in words else ""
