"""What a lab consists of: its machines, their addresses, and where their files lie. Pure values, no effects.

internet  bridge, 198.18.0.1/16 and fd00:198:18::1/48
hub       .0.10   slicer-controller --role hub
a-cp      .1.10   slicer-controller --role member, slicer-dns
a-n1 …    .1.11   slicer-agent, pods 10.244.1.0/24
b-cp      .2.10   (the same again: the second cluster's pods have the same addresses)
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from slicer.model.errors import InvalidError
from slicer.model.names import Address, check_label, check_range

ROOT = Path("/run/slicer-lab")
DEFAULT_NAME = "lab"
NAME_MAX = 20
"""Characters: a control socket's path must fit into the 108 bytes of sun_path."""
CONTROLLER_PORT = 8443
POD_CIDR = ipaddress.IPv4Network("10.244.0.0/16")
SERVICE_CIDR = ipaddress.IPv4Network("10.96.0.0/16")
UNDERLAY4 = ipaddress.IPv4Network("198.18.0.0/16")
UNDERLAY6 = ipaddress.IPv6Network("fd00:198:18::/48")
CLUSTERS_MAX = 9
"""So that every address of the plan can be read: cluster i has 198.18.i.0/24 and fd00:198:18:i::/64."""
NODES_MAX = 89


class Role(StrEnum):
    """What runs on a machine."""

    INTERNET = "internet"
    HUB = "hub"
    CONTROL = "control plane"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One host of the lab: a process that holds network, mount, PID, UTS and IPC namespaces."""

    name: str
    role: Role
    cluster: str = ""
    index: int = 0
    """Number of a node in its cluster, from 1."""
    addresses: tuple[Address, ...]
    """Underlay addresses, IPv4 first."""

    @property
    def pod_cidr(self) -> ipaddress.IPv4Network:
        """Where the node's pods get their eth0; the same for node k of every cluster."""
        return ipaddress.IPv4Network(f"10.244.{self.index}.0/24")

    @property
    def url(self) -> str:
        """Where a controller on this machine serves."""
        return f"https://{self.addresses[0]}:{CONTROLLER_PORT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A whole lab."""

    name: str
    clusters: tuple[str, ...]
    nodes: int
    """Nodes in each cluster."""
    agent_options: tuple[str, ...] = ()
    """More words for the command line of every agent."""

    def __post_init__(self) -> None:
        check_lab_name(self.name)
        check_range("number of clusters", len(self.clusters), 1, CLUSTERS_MAX)
        check_range("number of nodes", self.nodes, 1, NODES_MAX)
        for cluster in self.clusters:
            check_label("cluster name", cluster)
        if len(set(self.clusters)) != len(self.clusters):
            raise InvalidError(f"clusters {','.join(self.clusters)}: a name stands twice")
        taken = sorted({Role.INTERNET.value, Role.HUB.value} & set(self.clusters))
        if taken:
            raise InvalidError(f"cluster name {taken[0]!r} is the name of a machine of the lab")

    @property
    def directory(self) -> Path:
        """Everything that the lab writes on the host lies below."""
        return ROOT / self.name

    def machines(self) -> tuple[Machine, ...]:
        """All machines, the internet first."""
        fixed = (
            Machine(name="internet", role=Role.INTERNET, addresses=_addresses(0, 1)),
            Machine(name="hub", role=Role.HUB, addresses=_addresses(0, 10)),
        )
        return fixed + tuple(m for cluster in self.clusters for m in self.of_cluster(cluster))

    def of_cluster(self, cluster: str) -> tuple[Machine, ...]:
        """The control plane of `cluster`, then its nodes."""
        if cluster not in self.clusters:
            raise InvalidError(f"lab {self.name!r} has no cluster {cluster!r}; it has {', '.join(self.clusters)}")
        number = self.clusters.index(cluster) + 1
        control = Machine(name=f"{cluster}-cp", role=Role.CONTROL, cluster=cluster, addresses=_addresses(number, 10))
        return (control, *(_node(cluster, number, index) for index in range(1, self.nodes + 1)))

    def nodes_of(self, cluster: str) -> tuple[Machine, ...]:
        """The nodes of `cluster`."""
        return self.of_cluster(cluster)[1:]

    def machine(self, name: str) -> Machine:
        """The machine `name`; InvalidError lists those that there are."""
        for machine in self.machines():
            if machine.name == name:
                return machine
        names = ", ".join(m.name for m in self.machines())
        raise InvalidError(f"lab {self.name!r} has no machine {name!r}; it has {names}")

    def directory_of(self, machine: Machine) -> Path:
        """The machine's own directory, which it sees as `/run/machine`."""
        return self.directory / "machines" / machine.name


def check_lab_name(name: str) -> str:
    """`name` if it can name a lab."""
    check_label("lab name", name)
    if len(name) > NAME_MAX:
        raise InvalidError(f"lab name {name!r} is longer than {NAME_MAX} characters")
    return name


def port_of(machine: Machine) -> str:
    """The machine's port on the internet's bridge: a name that fits into 15 bytes whatever the cluster is called."""
    return f"p{machine.addresses[0].packed[2]}.{machine.addresses[0].packed[3]}"


def _node(cluster: str, number: int, index: int) -> Machine:
    return Machine(
        name=f"{cluster}-n{index}",
        role=Role.NODE,
        cluster=cluster,
        index=index,
        addresses=_addresses(number, 10 + index),
    )


def _addresses(number: int, host: int) -> tuple[Address, ...]:
    return (
        ipaddress.IPv4Address(f"198.18.{number}.{host}"),
        ipaddress.IPv6Address(f"fd00:198:18:{number}::{host}"),
    )
