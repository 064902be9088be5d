"""The network under test: clusters of nodes on one underlay, each node a process of its own with a real DataPlane.

      namespace "internet": bridge br0
        |            |            |            |
      eth0         eth0         eth0         eth0         198.18.<cluster>.1<node>/16, fd00:198:18:<cluster>::1<node>/48
    +-------+    +-------+    +-------+    +-------+
    | a-n1  |    | a-n2  |    | b-n1  |    | b-n2  |      each: s-<vni> for each slice, t-<set> on gateways
    | (gw)  |    |       |    | (gw)  |    |       |
    +-------+    +-------+    +-------+    +-------+
     pods         pods         pods         pods          namespaces with net1, made by hand as the attach path does

There is no controller: the views are written by `View`, which gives every cluster and node its blocks.
"""

from __future__ import annotations

import ipaddress
import os
import pickle
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

from node_process import WIREGUARD
from nursery import Nursery, wait_for_end

from slicer.model.attachments import Attachment, AttachmentState
from slicer.model.clusters import ClusterBlocks, Gateway, Node, NodeBlocks, TunnelEndpoint
from slicer.model.documents import Document, key_of
from slicer.model.slices import Bandwidth, Slice, SliceState
from slicer.plan.dataplane import HostRoute, LocalState, pod_mtu, wanted_tunnels

NURSERY = Nursery()


def _subnet(prefix: Any, bits: int, number: int) -> Any:
    """The part `number` of 2^bits equal parts."""
    step = 1 << (prefix.max_prefixlen - prefix.prefixlen - bits)
    return type(prefix)((int(prefix.network_address) + number * step, prefix.prefixlen + bits))


class Machine:
    """A process in namespaces of its own, spoken to by pickled calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        heard, requests = os.pipe()
        answers, said = os.pipe()
        self.pid = NURSERY.bear(heard, said)
        self._handle = os.pidfd_open(self.pid)
        os.close(heard)
        os.close(said)
        self._requests, self._answers = open(requests, "wb"), open(answers, "rb")  # noqa: SIM115  # until stop()

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        self.send(method, *arguments, **options)
        return self.receive()

    def send(self, method: str, *arguments: Any, **options: Any) -> None:
        pickle.dump((method, arguments, options), self._requests)
        self._requests.flush()

    def receive(self) -> Any:
        good, result = pickle.load(self._answers)
        if not good:
            raise AssertionError(f"{self.name}: {result}")
        return result

    def run(self, command: str, ns: str = "", *, check: bool = True) -> str:
        return self("run", command, ns, check=check)

    def stop(self) -> None:
        self._requests.close()
        self._answers.close()
        ended = wait_for_end(self._handle, 20)
        os.close(self._handle)
        assert ended, f"{self.name} does not end"


@dataclass
class Pod:
    """A namespace `name` on a node, with net1 in a slice."""

    name: str
    node: NodeOf
    slice: str
    vni: int
    addresses: tuple[Any, ...]
    attachment: Attachment

    def run(self, command: str, *, check: bool = True) -> str:
        return self.node.machine.run(command, self.name, check=check)

    def address(self, version: int) -> Any:
        return next(address for address in self.addresses if address.version == version)

    def ping(self, target: Any, tries: int = 1, wait: float = 2, options: str = "") -> bool:
        """Whether an echo request was answered: the first, or one of so many, one after the other."""
        for _ in range(tries):
            answer = self.run(f"ping -n -c 1 -W {wait} {options} {target}", check=False)
            if " received" in answer and ", 0 received" not in answer:
                return True
        return False


@dataclass
class NodeOf:
    """A node: its machine, and what its agent would know."""

    cluster: str
    number: int
    machine: Machine
    local: LocalState
    pods: list[Pod] = field(default_factory=list)
    outcome: Any = None

    @property
    def name(self) -> str:
        return self.local.node


@dataclass
class Network:
    """Clusters `a`, `b`, … of some nodes, the first `gateways` of each are gateways; `add_slice` adds slices."""

    clusters: int = 2
    nodes_each: int = 2
    gateways: int = 1
    wireguard: str = WIREGUARD
    """The back end that the nodes are told to use, by name or `auto`."""
    back_end: str = ""
    """The one that they have, once they are started."""
    nodes: dict[str, NodeOf] = field(default_factory=dict)
    slices: dict[str, SliceState] = field(default_factory=dict)
    blocks: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    internet: Machine | None = None
    withdrawn: set[str] = field(default_factory=set)
    """Gateways that are none for the moment; the others keep their slots."""
    host_routes: list[tuple[Any, str]] = field(default_factory=list)
    """(address, node) of pods of slice red outside their node's block."""

    def start(self) -> None:
        self.internet = Machine("internet")
        for c in range(self.clusters):
            for n in range(1, self.nodes_each + 1):
                self._add_node(chr(ord("a") + c), c + 1, n)
        self.internet.run("ip link add br0 type bridge && ip link set br0 up && ip link set lo up")
        for node in self.nodes.values():
            self._connect(node)

    def stop(self) -> None:
        for node in self.nodes.values():
            node.machine.stop()
        if self.internet:
            self.internet.stop()

    def _add_node(self, cluster: str, c: int, n: int) -> None:
        name = f"{cluster}-n{n}"
        addresses = (ipaddress.ip_address(f"198.18.{c}.1{n}"), ipaddress.ip_address(f"fd00:198:18:{c}::1{n}"))
        local = LocalState(cluster=cluster, node=name, addresses=addresses, vtep_mac=f"02:00:00:00:{c:02x}:{n:02x}")
        self.nodes[name] = NodeOf(cluster=cluster, number=n, machine=Machine(name), local=local)

    def _connect(self, node: NodeOf) -> None:
        inside = node.machine.pid
        outer = f"e-{node.name}"
        target = self.internet.pid
        _sh(f"nsenter -t {target} -n ip link add {outer} type veth peer name eth0 netns {inside}")
        _sh(f"nsenter -t {target} -n ip link set {outer} master br0 up")
        first, second = node.local.addresses
        node.machine.run(
            f"ip link set lo up; ip link set eth0 up; ip addr add {first}/16 dev eth0;"
            f"ip -6 addr add {second}/48 dev eth0 nodad"
        )
        self.back_end = node.machine("start", wireguard=self.wireguard)

    def add_slice(self, name: str, vni: int, *prefixes: str, tunnel_set: int = 0, **spec: Any) -> SliceState:
        """A slice over all clusters; cluster i gets the i-th quarter of each prefix, node n its n-th sixty-fourth."""
        parsed = tuple(ipaddress.ip_network(prefix) for prefix in prefixes)
        state = SliceState(spec=Slice(name=name, prefixes=parsed, **spec), vni=vni, tunnel_set=tunnel_set)
        self.slices[name] = state
        return state

    def view(self) -> dict[str, Document]:
        """Everything, as every node may see it."""
        documents: list[Document] = [*self.slices.values()]
        for state in self.slices.values():
            documents += self._blocks(state)
        for number in {state.tunnel_set for state in self.slices.values()}:
            acting = [n for n in self.nodes.values() if n.number <= self.gateways and n.name not in self.withdrawn]
            documents += [self._gateway(node, number) for node in acting]
        documents += [self._node(node) for node in self.nodes.values()]
        return {key_of(document): document for document in documents}

    def _blocks(self, state: SliceState) -> Iterator[Document]:
        name = state.spec.name
        for c, cluster in enumerate(self.cluster_names()):
            yield ClusterBlocks(slice=name, cluster=cluster, blocks=self._parts(state, 2, c))
        for node in self.nodes.values():
            yield NodeBlocks(slice=name, cluster=node.cluster, node=node.name, blocks=self.node_blocks(state, node))

    def cluster_names(self) -> list[str]:
        return sorted({node.cluster for node in self.nodes.values()})

    def node_blocks(self, state: SliceState, node: NodeOf) -> tuple[Any, ...]:
        return self._parts(state, 6, self.cluster_names().index(node.cluster) * 16 + node.number)

    @staticmethod
    def _parts(state: SliceState, bits: int, number: int) -> tuple[Any, ...]:
        return tuple(_subnet(prefix, bits, number) for prefix in state.spec.prefixes)

    @staticmethod
    def _gateway(node: NodeOf, number: int) -> Gateway:
        tunnels = tuple(
            TunnelEndpoint(tunnel_set=t.tunnel_set, index=t.index, lane=t.lane, public_key=t.public_key, port=t.port)
            for t in node.local.tunnels
            if t.tunnel_set == number
        )
        return Gateway(
            cluster=node.cluster,
            tunnel_set=number,
            slot=node.number - 1,
            node=node.name,
            addresses=node.local.addresses,
            tunnels=tunnels,
        )

    @staticmethod
    def _node(node: NodeOf) -> Node:
        tunnels = tuple(
            TunnelEndpoint(tunnel_set=t.tunnel_set, index=t.index, lane=t.lane, public_key=t.public_key, port=t.port)
            for t in node.local.tunnels
        )
        return Node(
            cluster=node.cluster,
            name=node.name,
            addresses=node.local.addresses,
            vtep_mac=node.local.vtep_mac,
            wireguard="any",
            tunnels=tunnels,
        )

    def converge(self) -> None:
        """What controllers and agents do together: keys, then a reconcile on every node; nothing may fail."""
        view = self.view()
        for node in self.nodes.values():
            keys = node.machine("call", "ensure_keys", wanted_tunnels(view, node.cluster, node.name))
            node.local = replace(node.local, tunnels=keys)
        view = self.view()
        for node in self.nodes.values():
            node.local = replace(
                node.local,
                attachments=tuple(pod.attachment for pod in node.pods),
                host_routes=tuple(
                    HostRoute(slice="red", address=address, node=where)
                    for address, where in self.host_routes
                    if node.cluster == self.nodes[where].cluster
                ),
            )
            node.machine.send("call", "reconcile", view, node.local)
        for node in self.nodes.values():
            node.outcome = node.machine.receive()
        failures = {name: node.outcome.failures for name, node in self.nodes.items() if node.outcome.failures}
        assert not failures, failures

    def add_pod(
        self,
        name: str,
        node: str,
        slice_name: str,
        *,
        part: int = 5,
        addresses: tuple[Any, ...] = (),
        bandwidth: Bandwidth | None = None,
    ) -> Pod:
        """A pod with these addresses, else the fifth of its node's blocks, wired as the attach path does it."""
        where, state = self.nodes[node], self.slices[slice_name]
        addresses = addresses or tuple(block.network_address + part for block in self.node_blocks(state, where))
        pod = _pod(name, where, state, addresses, bandwidth)
        where.pods.append(pod)
        return pod


def _pod(name: str, node: NodeOf, state: SliceState, addresses: tuple[Any, ...], bandwidth: Bandwidth | None) -> Pod:
    number = crc32(name.encode())
    host, mac = f"p{number:08x}", f"0a:{number.to_bytes(4, 'big').hex(':')}:01"
    ns, mtu = f"s-{state.vni:06x}", pod_mtu(node.local.underlay_mtu, state.spec.encryption)
    node.machine("netns", name)
    node.machine.run(
        f"ip link add {host} netns {ns} mtu {mtu} type veth peer name net1 netns {name} mtu {mtu} address {mac}"
    )
    node.machine.run(f"ip link set {host} up", ns)
    gateway_mac = node.machine.run(f"cat /sys/class/net/{host}/address", ns).strip()
    lines = ["ip link set lo up", "ip link set net1 up"]
    for address in addresses:
        via = "169.254.1.1" if address.version == 4 else "fe80::1"
        family = "" if address.version == 4 else "-6 "
        lines.append(f"ip {family}addr add {address}/{address.max_prefixlen} dev net1{' nodad' if family else ''}")
        lines.append(f"ip {family}neigh replace {via} lladdr {gateway_mac} dev net1 nud permanent")
    for prefix in state.spec.prefixes:
        via = "169.254.1.1" if prefix.version == 4 else "fe80::1"
        lines.append(f"ip route add {prefix} via {via} dev net1 onlink")
    node.machine.run(" && ".join(lines), name)
    attachment = Attachment(
        container_id=name,
        interface="net1",
        slice=state.spec.name,
        cluster=node.cluster,
        node=node.name,
        namespace="default",
        pod=name,
        netns=f"/run/netns/{name}",
        addresses=addresses,
        mac=mac,
        host_interface=host,
        mtu=mtu,
        bandwidth=bandwidth,
        state=AttachmentState.ATTACHED,
    )
    return Pod(name, node, state.spec.name, state.vni, addresses, attachment)


def _sh(command: str) -> None:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
