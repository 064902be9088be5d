"""Several tunnels between two gateways: flows spread over them, one that dies, more and fewer of them under flows.

    one (a-n3) -- VXLAN -- a-n1, a-n2 == eight tunnels: w0.0, w0.0b, w0.1, w0.1b == b-n1, b-n2 -- VXLAN -- two (b-n3)

The network is drawn in governed.py.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import replace

import pytest
from captures import captures
from governed import FLOWS, Governed
from guarded import GATEWAYS, running, until

from slicer.model.attachments import TunnelHealth
from slicer.plan.dataplane_tunnel import probe_address

pytestmark = [pytest.mark.root, pytest.mark.counts_losses]
NONE_LOST = [0] * FLOWS
"""Of each flow."""
ECHO = 7
WAYS = (
    "add table inet ways",
    "add set inet ways used { type ifname . inet_service; }",
    "add chain inet ways out { type filter hook postrouting priority 0; }",
    f'add rule inet ways out oifname "w*" udp dport {ECHO} update @used {{ oifname . udp sport }}',
    f'add rule inet ways out oifname "w*" udp sport {ECHO} update @used {{ oifname . udp dport }}',
)
"""Another table than ours, so that the reconcile leaves it alone: which flow went into which device."""


class Parallel(Governed):
    """The network, with what these tests ask of it."""

    def ask(self, lanes: int) -> None:
        """A user wants so many tunnels between two gateways from now on."""
        state = self.state.documents["slice/red"]
        self.state.put(replace(state, spec=replace(state.spec, tunnels_per_pair=lanes)))
        self.lanes = lanes

    def has(self, lanes: int) -> bool:
        """Whether every gateway has that many to each other one, with a key each, and all are in their groups."""
        devices = all(len(self.devices(node)) == len(self.keys(node)) == 2 * lanes for node in GATEWAYS)
        return devices and self.all_up() and self.groups_full()

    def watch(self) -> None:
        for node in GATEWAYS:
            self._run(node, "; ".join(f"nft {shlex.quote(line)}" for line in WAYS))

    def unwatch(self) -> None:
        for node in GATEWAYS:
            self._run(node, "nft delete table inet ways")

    def ways(self) -> dict[tuple[str, int], set[str]]:
        """(cluster that sends, port of the flow) → gateway and device that it went into since it was last asked."""
        found: dict[tuple[str, int], set[str]] = {}
        for node in GATEWAYS:
            answer = json.loads(self._run(node, "nft -j list set inet ways used; nft flush set inet ways used"))
            (used,) = (one["set"] for one in answer["nftables"] if "set" in one)
            for entry in used.get("elem", ()):
                device, port = entry["concat"]
                found.setdefault((node[0], port), set()).add(f"{node} {without_generation(device)}")
        return found

    def fresh_ways(self) -> dict[tuple[str, int], set[str]]:
        """Those of packets that are sent from now on."""
        self.ways()
        self.all_go_on("flows run")
        return self.ways()

    def steady_ways(self) -> dict[tuple[str, int], set[str]] | None:
        """The same, if each flow has one way now."""
        found = self.fresh_ways()
        return found if all(len(ways) == 1 for ways in found.values()) else None

    def tunnels(self, node: str) -> list[TunnelHealth]:
        """What a gateway says of its devices."""
        return list(self.net.nodes[node].machine("call", "tunnel_health", dict(self.state.documents), node[0], node))

    def send(self, node: str, ns: str, source: tuple[str, int], target: tuple[str, int], text: str) -> None:
        """One datagram."""
        family = 10 if ":" in target[0] else 2
        lines = f"import socket; s = socket.socket({family}, 2); s.bind({source}); s.sendto(b'{text}', {target})"
        self.net.nodes[node].machine.run(f"{sys.executable} -c {shlex.quote(lines)}", ns)

    def _run(self, node: str, command: str) -> str:
        return self.net.nodes[node].machine.run(command, "t-00")


@pytest.fixture(scope="module")
def world():
    """Two clusters of three nodes, of which two are gateways, with two tunnels between each two."""
    with running(Parallel(spec={"tunnels_per_pair": 2})) as network:
        yield network


@pytest.fixture
def calm(world):
    """Two tunnels between each two, all up, before and after."""
    world.govern_until(lambda: world.is_calm() and world.has(2), "every tunnel is up")
    yield world
    world.ask(2)
    world.let_go()


@pytest.fixture
def flows(calm):
    """Twelve UDP flows and their answers, and which way each goes, while the test runs."""
    calm.watch()
    calm.start_flows()
    yield calm
    calm.end_flows()
    calm.unwatch()


def test_every_gateway_has_its_own_device_port_and_key_for_each(calm):
    """The first ones have the names that they have where there is one only."""
    for node in GATEWAYS:
        assert list(map(without_generation, calm.devices(node))) == ["w0.0", "w0.0b", "w0.1", "w0.1b"]
        assert sorted(key.removesuffix(".key")[:4].rstrip("-") for key in calm.keys(node)) == [
            "0-0",
            "0-0b",
            "0-1",
            "0-1b",
        ]
    ports = [end.port for key in ("gateway/a/0/0", "gateway/b/0/1") for end in calm.state.documents[key].tunnels]
    assert len(set(ports)) == 4
    health = calm.tunnels("a-n1")
    assert sorted((one.remote_node, one.lane) for one in health) == [
        (f"b-n{number}", lane) for number in (1, 2) for lane in (0, 1)
    ]
    assert all(one.handshake_at_s for one in health)


def test_flows_spread_over_parallel_tunnels(flows):
    """Each flow keeps to one device, each direction of its own; both lanes carry some."""
    found = until(flows.steady_ways, "each flow has one way")

    assert len(found) == 24
    for cluster in "ab":
        devices = {way for (sender, _), (way,) in found.items() if sender == cluster}
        assert {way.endswith("b") for way in devices} == {True, False}


def test_flows_of_one_dead_tunnel_move_and_no_others(flows):
    """Those that it carried go on by another; each other flow keeps its device, in both directions."""
    # A machine that is busy with other things may find other tunnels dead for a moment: that says nothing. Three tries.
    deaths = (_one_dies(flows) for _ in range(3))
    before, after, ends = next(found for found in deaths if found)

    hit = {flow for flow, ways in before.items() if ways & ends}
    assert 0 < len(hit) < len(before)
    assert {flow: ways for flow, ways in after.items() if flow not in hit} == {
        flow: ways for flow, ways in before.items() if flow not in hit
    }
    assert not ends & {way for flow in hit for way in after[flow]}


def _one_dies(flows):
    """Ways before and after, and the two ends of a tunnel that died meanwhile; None if any other did."""
    before, since = until(flows.steady_ways, "each flow has one way"), time.monotonic()
    dead = min(way for (way,) in before.values() if way.endswith("b"))
    node, device = dead.split()
    (far_node,) = {o.remote_node for o in flows.tunnels(node) if (o.index, o.lane) == (int(device[3]), 1)}
    far = f"w0.{int(node[-1]) - 1}b"
    (name,) = (name for name in flows.devices(node) if without_generation(name) == device)
    flows.net.nodes[node].machine.run(f"ip link del {name}", "t-00")
    flows.all_go_on("flows after one tunnel died")
    after = flows.fresh_ways()
    downs = {(n, without_generation(w.split()[0])) for n in GATEWAYS for w in flows.downs(n, since)}
    flows.govern_until(lambda: flows.has(2), "the tunnel is back")
    disturbed = downs - {(node, device), (far_node, far)}
    return None if disturbed else (before, after, {dead, f"{far_node} {far}"})


def test_more_and_fewer_tunnels_lose_no_datagram(calm):
    """From two to three, to one and back to two under numbered datagrams: all come back, and what went left no key."""
    one = calm.first("a")
    calm.start_counting()
    for lanes in (3, 1, 2):
        calm.ask(lanes)
        calm.govern_until(lambda lanes=lanes: calm.has(lanes), f"{lanes} between each two")
        calm.sending()

    assert calm.losses() == NONE_LOST, calm.gaps()
    assert list(map(without_generation, calm.devices(one))) == ["w0.0", "w0.0b", "w0.1", "w0.1b"]


def test_one_too_many_stays_while_the_other_end_has_not_left_it(calm):
    """A far cluster that hears nothing goes on sending through both: nothing is lost, nothing is taken away."""
    before, deaf = {node: calm.devices(node) for node in GATEWAYS}, tuple(n for n in calm.net.nodes if n[0] == "b")
    calm.start_counting()
    calm.ask(1)
    calm.govern_until(lambda: sorted(calm.groups("a-n1", "t-00")) == [1] * 4 + [2] * 2, "a has left it", deaf=deaf)
    for _ in range(3):
        calm.sending()
        calm.govern(deaf=deaf)
    assert {node: calm.devices(node) for node in GATEWAYS} == before
    calm.govern_until(lambda: calm.has(1), "it goes when all have left it")
    calm.sending()

    assert calm.losses() == NONE_LOST, calm.gaps()


def test_keys_rotate_in_all_of_them_without_a_lost_datagram(calm):
    """Eight devices, then four with new keys."""
    one = calm.first("a")
    calm.start_counting()
    generation = calm.rotate()
    calm.govern_until(lambda: len(calm.devices(one)) == 8, "new devices beside the old ones")
    calm.govern_until(lambda: calm.is_rotated(generation), "the rotation is over")
    calm.govern_until(lambda: calm.all_keys(f"-{generation}.key") and calm.has(2), "only the new keys are left")
    calm.sending()

    assert calm.losses() == NONE_LOST, calm.gaps()
    assert calm.devices(one) == [f"w0.{way}.{generation}" for way in ("0", "0b", "1", "1b")]


def test_a_packet_of_another_tunnel_is_refused(calm):
    """WireGuard drops what comes by the second tunnel from the first one's address; its own address gets through."""
    generation = max(end.generation for end in calm.state.documents["gateway/a/0/0"].tunnels)
    first, second = (str(probe_address("b", 0, 0, generation, lane)) for lane in (0, 1))
    target = str(probe_address("a", 0, 0, generation, 1))
    device = next(name for name in calm.devices("a-n1") if name.startswith("w0.0b"))
    with captures() as begin:
        seen = begin(calm.net.nodes["a-n1"], device, "t-00")
        for source, text in ((first, "of the first"), (second, "of the second")):
            calm.send("b-n1", "t-00", (source, 0), (target, 8383), text)
        until(lambda: b"of the second".hex() in seen.packets(), "what belongs there arrives")

        assert b"of the first".hex() not in seen.packets()


def test_no_tunnel_takes_what_is_not_of_the_slice(calm):
    """A foreign source that got as far as the trunk is dropped before any of the tunnels, whatever its port."""
    machine, two = calm.net.nodes["a-n1"].machine, str(calm.pods["b-n3"].address(4))
    before, sent = foreign(machine), 12
    machine.run("ip addr add 192.0.2.9/32 dev lo", "s-000001")
    try:
        for number in range(sent):
            calm.send("a-n1", "s-000001", ("192.0.2.9", 9000 + number), (two, 9), "x")
    finally:
        machine.run("ip addr del 192.0.2.9/32 dev lo", "s-000001")

    assert foreign(machine) == before + sent


def without_generation(device):
    """The name that it had before keys rotated."""
    return ".".join(device.split(".")[:2])


def foreign(machine):
    """Packets that the tunnel namespace has dropped because they do not belong there."""
    words = machine.run("nft list counter inet slicer foreign", "t-00").split()
    return int(words[words.index("packets") + 1])
