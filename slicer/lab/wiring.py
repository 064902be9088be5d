"""The lab's cables as text for `ip -batch`: pure, so that a test can read the network that a lab builds.

 net of "internet"                     net of a machine
+-------------------+  veth           +------------------------------------------+
| br0 == p<i>.<n> --|-----------------| eth0  198.18.i.n/16, fd00:198:18:i::n/48 |
+-------------------+                 | cni0  10.244.k.1/24 == pods (nodes only) |
                                      | 10.244.k'.0/24 via the cluster's node k' |
                                      +------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slicer.lab.layout import UNDERLAY4, UNDERLAY6, Layout, Machine, Role, port_of


def render_internet(internet: Machine, ports: Mapping[Machine, int]) -> str:
    """Batch for the internet's namespace; `ports` gives the process whose network namespace gets the other end."""
    lines = ["link set lo up", "link add br0 type bridge", *_addresses("br0", internet), "link set br0 up"]
    for machine, pid in ports.items():
        lines += render_port(machine, pid)
    return _batch(lines)


def render_port(machine: Machine, pid: int) -> list[str]:
    """The cable of one machine, plugged into the bridge."""
    port = port_of(machine)
    return [f"link add {port} type veth peer name eth0 netns {pid}", f"link set {port} master br0 up"]


def render_machine(layout: Layout, machine: Machine) -> str:
    """Batch for the machine's own namespace, once its eth0 is there."""
    lines = ["link set lo up", *_addresses("eth0", machine), "link set eth0 up"]
    if machine.role is Role.NODE:
        lines += ["link add cni0 type bridge", f"address add {machine.pod_cidr[1]}/24 dev cni0", "link set cni0 up"]
    if machine.cluster:
        others = [node for node in layout.nodes_of(machine.cluster) if node != machine]
        lines += [f"route add {node.pod_cidr} via {node.addresses[0]}" for node in others]
    return _batch(lines)


def render_pod_cable(host_end: str, netns: str) -> str:
    """Batch for the node's namespace: a veth from the bridge into the pod."""
    return _batch(
        [f"link add {host_end} type veth peer name eth0 netns {netns}", f"link set {host_end} master cni0 up"]
    )


def render_pod(address: str, gateway: str) -> str:
    """Batch for the pod's namespace: what a primary CNI gives it."""
    lines = [f"address add {address}/24 dev eth0", "link set lo up", "link set eth0 up"]
    return _batch([*lines, f"route add default via {gateway}"])


def _addresses(device: str, machine: Machine) -> list[str]:
    lengths = {4: UNDERLAY4.prefixlen, 6: UNDERLAY6.prefixlen}
    # nodad: an address is needed at once, and nobody else in the lab can have it.
    return [
        f"address add {a}/{lengths[a.version]} dev {device}{' nodad' if a.version == 6 else ''}"
        for a in machine.addresses
    ]


def _batch(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
