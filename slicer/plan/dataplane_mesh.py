"""The mesh namespace of a node: one WireGuard device to all other nodes of its cluster, and the sockets of VXLAN.

    slice netns  s-<vni>             mesh netns  m-nodes                     host netns
    +--------------------+         +--------------------------------+       +---------------------+
    | vx0 (device) ------|- - - - -|- vx0's UDP socket, port 4790   |       |                     |
    +--------------------+         | lo: the node's mesh address    |       |                     |
                                   | w256.0: a peer a node  - - - - |- - - -|- its UDP socket     |
                                   +--------------------------------+       +---------------------+

There is no other way out of the mesh namespace: what has no peer is dropped, nothing falls back to plain VXLAN.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from slicer.model.names import Address
from slicer.plan.dataplane_slice import LOOPBACK_MTU, main_rules, table
from slicer.plan.dataplane_topology import LocalState, Topology
from slicer.plan.dataplane_tunnel import KEEPALIVE_S, wireguard_device
from slicer.plan.dataplane_values import Item, Link, LinkAddress, Namespace, Route, Sysctl, WgPeer
from slicer.plan.mesh import MESH_NS, MESH_PREFIX, MESH_TUNNEL, MeshPeer, mesh_address


def plan_mesh(topology: Topology, local: LocalState) -> Iterator[Item]:
    """All of the mesh, on a node that has a slice with encryption everywhere."""
    if not any(here.is_meshed for here in topology.slices):
        return
    own = mesh_address(local.cluster, local.node)
    yield Namespace(ns=MESH_NS)
    yield from _settings()
    yield from main_rules(MESH_NS)
    yield Link(ns=MESH_NS, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    yield LinkAddress(ns=MESH_NS, dev="lo", address=own)
    yield table(MESH_NS, _filter_text(own, local.vxlan_port))
    for tunnel in local.tunnels:
        if tunnel.key == MESH_TUNNEL:
            yield from wireguard_device(MESH_NS, tunnel, local)
            for peer in topology.mesh:
                yield from _peer(tunnel.device, peer)


def _settings() -> Iterator[Sysctl]:
    """A host with IPv6 that forwards nothing and makes no addresses of its own."""
    for name, value in (
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
    ):
        yield Sysctl(ns=MESH_NS, name=f"net/{name}", value=value)


def _peer(device: str, peer: MeshPeer) -> Iterator[Item]:
    address = ipaddress.ip_network(peer.address)
    yield WgPeer(
        ns=MESH_NS,
        dev=device,
        public_key=peer.public_key,
        endpoint=peer.endpoint,
        allowed_ips=(address,),
        keepalive_s=KEEPALIVE_S,
    )
    yield Route(ns=MESH_NS, dst=address, dev=device)


def _filter_text(own: Address, port: int) -> str:
    """VXLAN between mesh addresses, and nothing else, in either direction."""
    return "\n".join(
        [
            "  counter foreign { }",
            "  chain input {",
            "    type filter hook input priority filter; policy drop;",
            f'    iifname "w*" ip6 saddr {MESH_PREFIX} ip6 daddr {own} udp dport {port} accept',
            "    counter name foreign",
            "  }",
            "  chain forward {",
            "    type filter hook forward priority filter; policy drop;",
            "    counter name foreign",
            "  }",
            "  chain output {",
            "    type filter hook output priority filter; policy drop;",
            f'    oifname "w*" ip6 saddr {own} ip6 daddr {MESH_PREFIX} udp dport {port} accept',
            "    counter name foreign",
            "  }",
        ]
    )
