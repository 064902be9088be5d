"""A network whose nodes look after themselves, and whose control plane is the controllers' own code over one store.

What each node says of itself goes into the store, a member a cluster and the hub reconcile, and the whole goes back to
every node as its view: what the REST API and its streams do between processes, done in one.

    pod one (a-n3) - slice - a-n1, a-n2 (gateways) == tunnels == b-n1, b-n2 (gateways) - slice - pod two (b-n3)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from guarded import SLOWNESS, Guarded, until

from slicer.model.clusters import Cluster, Drain, Gateway, Node, Rotation, RotationState, TunnelEndpoint
from slicer.model.documents import Document, of_kind
from slicer.plan import draining, rotation
from slicer_controller.hub import Hub
from slicer_controller.member import Member
from slicer_controller.state import State
from slicer_controller.store.memory import MemoryStore

WAIT_S = 90.0 * SLOWNESS
AROUND_S = 1.0
"""What happened so shortly before and after a loss may be its reason."""
FLOWS = 6
INTERVAL_S = 0.005 * SLOWNESS
"""Between two datagrams of a flow."""


class Governed(Guarded):
    """The network, with what users ask of it."""

    def start(self) -> None:
        super().start()
        self.state = State(MemoryStore(clock=time.time))
        self.hub = Hub(self.state, time.time)
        self.members = [Member(self.state, cluster, time.time) for cluster in ("a", "b")]
        for value in (*(Cluster(name=name) for name in ("a", "b")), *self.net.view().values()):
            self.state.put(value)
        self._seen: dict[str, dict[str, Document]] = {}
        self.govern()

    def govern(self, *, deaf: tuple[str, ...] = ()) -> None:
        """One turn: nodes report, controllers reconcile, nodes see. `deaf` ones neither report nor see."""
        for name, node in self.net.nodes.items():
            if name not in deaf:
                self.state.put(self._node(name, *node.machine("said")))
        for member in self.members:
            member.reconcile()
        self.hub.reconcile()
        view = dict(self.state.documents)
        for name, node in self.net.nodes.items():
            if name not in deaf and view != self._seen.get(name):
                self._seen[name] = view
                node.machine("see", view, node.local)

    def govern_until(self, condition: Callable[[], Any], what: str, *, deaf: tuple[str, ...] = ()) -> None:
        """Turn after turn until `condition` holds."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {WAIT_S:.0f} s; {self.words()}"
            self.govern(deaf=deaf)
            time.sleep(0.1)

    def words(self) -> list[str]:
        """Where everything stands, for a failed test."""
        gateways = [f"{g.departure} {g.node} {g.state} uses {g.uses}" for g in of_kind(self.state.documents, Gateway)]
        drains = [str(draining.drain_status(d, self.state.documents)) for d in of_kind(self.state.documents, Drain)]
        rotations = [str(rotation.rotation_status(r, self.state.documents)) for r in self.rotations()]
        return [*gateways, *drains, *rotations]

    def drain(self, node: str, **fields: Any) -> None:
        wish = Drain(cluster=node[0], node=node, **fields)
        draining.check_drain(wish, None, self.state.documents)
        self.state.put(wish)

    def undrain(self, node: str) -> None:
        self.state.delete(f"drain/{node[0]}/{node}")

    def is_drained(self, node: str) -> bool:
        wish = self.state.documents[f"drain/{node[0]}/{node}"]
        assert isinstance(wish, Drain)
        return draining.drain_status(wish, self.state.documents).state == "drained"

    def rotate(self) -> int:
        wish = self.hub.complete_rotation(Rotation(tunnel_set=0))
        rotation.check_rotation(wish, self.state.documents)
        self.state.put(self.hub.plan_rotation(wish))
        return wish.generation

    def rotations(self) -> list[RotationState]:
        return of_kind(self.state.documents, RotationState)

    def is_rotated(self, generation: int) -> bool:
        found = self.state.documents[f"rotation/0/{generation}"]
        return isinstance(found, RotationState) and found.finished_at_s is not None

    def state_of(self, generation: int) -> tuple[str, tuple[str, ...]]:
        """State of a rotation, and who is waited for."""
        found = self.state.documents[f"rotation/0/{generation}"]
        assert isinstance(found, RotationState)
        status = rotation.rotation_status(found, self.state.documents)
        return status.state, status.waiting_for

    def take_back(self, generation: int) -> None:
        rotation.check_rotation_delete(f"0/{generation}", self.state.documents)
        self.state.delete(f"rotation/0/{generation}")

    def awaited(self, node: str) -> tuple[str, ...]:
        """Who has not left a draining gateway yet."""
        wish = self.state.documents[f"drain/{node[0]}/{node}"]
        assert isinstance(wish, Drain)
        return draining.drain_status(wish, self.state.documents).waiting_for

    def slots(self) -> dict[str, tuple[int, str]]:
        """Of each gateway its slot and state."""
        return {g.node: (g.slot, str(g.state)) for g in of_kind(self.state.documents, Gateway)}

    def devices(self, node: str) -> list[str]:
        """WireGuard devices in the tunnel namespace."""
        lines = self.net.nodes[node].machine.run("ip -br link show", "t-00", check=False).splitlines()
        return sorted(line.split()[0].partition("@")[0] for line in lines if line.startswith("w"))

    def keys(self, node: str) -> list[str]:
        return self.net.nodes[node].machine("files", "/run/slicer-state/keys")

    def first(self, cluster: str) -> str:
        """The cluster's gateway in the lowest slot."""
        return min((slot, node) for node, (slot, _) in self.slots().items() if node[0] == cluster)[1]

    def all_keys(self, ending: str) -> bool:
        """Whether the keys of all gateways end like this, and no other node has any."""
        found, slots = {node: self.keys(node) for node in self.net.nodes}, self.slots()
        right = all(key.endswith(ending) for keys in found.values() for key in keys)
        return right and all(bool(keys) == (node in slots) for node, keys in found.items())

    def is_calm(self) -> bool:
        """Whether nothing is under way: two active gateways a cluster, one generation, no other devices, all up."""
        states = [state for _, state in self.slots().values()]
        rotating = any(r.finished_at_s is None for r in self.rotations())
        generations = {t.generation for g in of_kind(self.state.documents, Gateway) for t in g.tunnels}
        if states != ["active"] * 4 or rotating or len(generations) != 1:
            return False
        devices = {node: len(self.devices(node)) for node in self.net.nodes}
        return devices == {node: 2 * self.lanes * (node in self.slots()) for node in devices} and self.all_up()

    def let_go(self) -> None:
        """Take back what a failed test may have left."""
        for drain in of_kind(self.state.documents, Drain):
            self.undrain(drain.node)
        for rotation_ in self.rotations():
            if rotation_.finished_at_s is None:
                self.state.delete(f"rotation/0/{rotation_.spec.generation}")

    def start_counting(self) -> None:
        """Numbered datagrams from one to two and back."""
        one, two = self.pods["a-n3"], self.pods["b-n3"]
        one.node.machine("counted", one.name, str(two.address(4)), 7, FLOWS, INTERVAL_S)
        self.sending()

    def sending(self) -> None:
        """Wait until every flow has sent some hundred more."""
        machine = self.pods["a-n3"].node.machine
        before = machine("sent")
        until(lambda: machine("sent") > before + 300, "datagrams are sent")

    def losses(self) -> list[int]:
        return self.pods["a-n3"].node.machine("losses")

    def gaps(self) -> str:
        """When the first flow lost what, what all nodes logged then, where everything stands, for a failed test."""
        gaps = self.pods["a-n3"].node.machine("gaps")
        logs = {
            (name, first): node.machine("log", first - AROUND_S, last + AROUND_S)
            for name, node in self.net.nodes.items()
            for first, last, _ in gaps
        }
        return "\n".join(map(str, [*gaps, *logs.items(), self.dropped(), *self.words()]))

    def dropped(self) -> dict[str, int]:
        """Packets that the machine's own queues dropped so far: those of the tunnels' devices, and those of sockets."""
        found: dict[str, int] = {}
        for name, node in self.net.nodes.items():
            links = json.loads(
                node.machine.run("ip -s -j link show", "t-00", check=False).partition("Cannot")[0] or "[]"
            )
            for link in links:
                found[f"{name} {link['ifname']}"] = link["stats64"]["tx"]["dropped"] + link["stats64"]["rx"]["dropped"]
            udp = node.machine.run("grep ^Udp: /proc/net/snmp").splitlines()
            found[f"{name} sockets"] = int(dict(zip(*(line.split() for line in udp), strict=True))["RcvbufErrors"])
        return {queue: number for queue, number in found.items() if number}

    def _node(self, name: str, tunnels: Any, uses: Any, lanes: Any, left: Any) -> Node:
        local = self.net.nodes[name].local
        ends = tuple(
            TunnelEndpoint(
                tunnel_set=t.tunnel_set,
                index=t.index,
                generation=t.generation,
                lane=t.lane,
                public_key=t.public_key,
                port=t.port,
            )
            for t in tunnels
        )
        return Node(
            cluster=local.cluster,
            name=name,
            addresses=local.addresses,
            vtep_mac=local.vtep_mac,
            tunnels=ends,
            uses=uses,
            lanes=lanes,
            left=left,
        )
