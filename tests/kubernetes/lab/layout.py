"""What the test clusters consist of: clusters, nodes, addresses, directories. Pure values.

            router: the network namespace of whoever runs the lab; forwards, and is where kubectl and tests run
            198.18.1.1 (lan-a)                         198.18.2.1 (lan-b)
                |                                          |
  a-cp .1.10  a-n1 .1.11  a-n2 .1.12       b-cp .2.10  b-n1 .2.11  b-n2 .2.12
              pods        pods                         pods        pods
              10.244.1.0  10.244.2.0                   10.244.1.0  10.244.2.0   (/24, the same in every cluster)

Nodes reach nodes of all clusters; pods leave their cluster only under their node's address, as with real clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.kubernetes.lab.control import Plane

PODS = "10.244"
SERVICES = "10.96.0.0/16"
CLUSTER_DNS = "10.96.0.10"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node: a machine with namespaces and a disk (its directory) of its own."""

    name: str
    cluster: str
    index: int
    address: str
    directory: Path

    @property
    def pods(self) -> str:
        """Where its pods' primary addresses come from."""
        return f"{PODS}.{self.index}.0/24"

    @property
    def port(self) -> str:
        """Its end of the cable, at the router."""
        return f"p-{self.name}"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A control plane and its nodes on one LAN."""

    name: str
    number: int
    node_count: int
    root: Path
    """The lab's directory."""

    @property
    def lan(self) -> str:
        """The first three parts of its addresses."""
        return f"198.18.{self.number}"

    @property
    def bridge(self) -> str:
        return f"lan-{self.name}"

    @cached_property
    def control(self) -> Node:
        """The machine of the control plane."""
        name = f"{self.name}-cp"
        directory = self.root / "machines" / name
        return Node(name=name, cluster=self.name, index=0, address=f"{self.lan}.10", directory=directory)

    @cached_property
    def plane(self) -> Plane:
        directory = self.root / "planes" / self.name
        return Plane(name=self.name, directory=directory, address=self.control.address, services=SERVICES)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._node(index) for index in range(1, self.node_count + 1))

    @property
    def machines(self) -> tuple[Node, ...]:
        return (self.control, *self.nodes)

    def _node(self, index: int) -> Node:
        name = f"{self.name}-n{index}"
        directory = self.root / "machines" / name
        return Node(name=name, cluster=self.name, index=index, address=f"{self.lan}.{10 + index}", directory=directory)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """All clusters of a lab."""

    root: Path
    names: tuple[str, ...] = ("a", "b")
    node_count: int = 2

    @cached_property
    def clusters(self) -> tuple[Cluster, ...]:
        return tuple(
            Cluster(name=name, number=number, node_count=self.node_count, root=self.root)
            for number, name in enumerate(self.names, 1)
        )

    def cluster(self, name: str) -> Cluster:
        return next(cluster for cluster in self.clusters if cluster.name == name)

    def machine(self, name: str) -> Node:
        return next(machine for cluster in self.clusters for machine in cluster.machines if machine.name == name)


def render_router(layout: Layout) -> str:
    """`ip -batch` for the router: one bridge a cluster."""
    lines = []
    for cluster in layout.clusters:
        lines += [f"link add {cluster.bridge} type bridge", f"addr add {cluster.lan}.1/24 dev {cluster.bridge}"]
        lines += [f"link set {cluster.bridge} up"]
    return "\n".join(lines) + "\n"


def render_cable(cluster: Cluster, machine: Node, pid: int) -> str:
    """`ip -batch` for the router: the machine's cable, plugged into its LAN."""
    return (
        f"link add {machine.port} type veth peer name eth0 netns {pid}\n"
        f"link set {machine.port} master {cluster.bridge} up\n"
    )


def render_machine(cluster: Cluster, machine: Node) -> str:
    """`ip -batch` for the machine: its address, and the pods of its cluster behind their nodes."""
    lines = ["link set lo up", f"addr add {machine.address}/24 dev eth0", "link set eth0 up"]
    lines += [f"route add default via {cluster.lan}.1"]
    lines += [f"route add {node.pods} via {node.address}" for node in cluster.nodes if node != machine]
    return "\n".join(lines) + "\n"


def render_masquerade(node: Node) -> str:
    """nft: pods leave the cluster under their node's address."""
    return f"""table ip primary {{
  chain leave {{
    type nat hook postrouting priority 100;
    ip saddr {node.pods} ip daddr != {PODS}.0.0/16 oifname "eth0" masquerade
  }}
}}
"""
