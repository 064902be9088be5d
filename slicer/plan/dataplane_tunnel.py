"""The tunnel namespace of a gateway: the slices' trunks, WireGuard, ways to remote clusters, the filter."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Sequence

from slicer.model.clusters import Gateway
from slicer.model.names import Address, Prefix
from slicer.plan.dataplane_slice import (
    LOOPBACK_MTU,
    MAIN_RULES,
    NEXT_HOP,
    Hop,
    namespace_settings,
    spread,
    table,
    trunk_device,
    trunk_mac,
)
from slicer.plan.dataplane_topology import (
    LocalState,
    LocalTunnel,
    SliceHere,
    Topology,
    pod_mtu,
    tunnel_device,
    tunnel_ns,
)
from slicer.plan.dataplane_values import (
    Item,
    Link,
    LinkAddress,
    Namespace,
    Neighbour,
    Route,
    Rule,
    WgDevice,
    WgPeer,
)
from slicer.plan.probing import PROBE_PORT, PROBE_PREFIX

PROBE_RULE = 1
"""Priority of the one rule that delivers packets here; not 0, which is the rule that the kernel makes."""
KEEPALIVE_S = 25
"""Below the 30 s after which common firewalls forget a UDP flow; also what starts the handshake at once."""


def plan_tunnels(number: int, slices: Sequence[SliceHere], topology: Topology, local: LocalState) -> Iterator[Item]:
    """The namespace of tunnel set `number`, whose gateway this node is for all of `slices`; without its rates."""
    ns = tunnel_ns(number)
    tunnels = sorted((t for t in local.tunnels if t.tunnel_set == number), key=lambda tunnel: tunnel.index)
    peers = [peer for tunnel in tunnels for peer in peers_of(tunnel, slices, topology, local)]
    yield Namespace(ns=ns)
    yield from namespace_settings(ns, f"{local.cluster}/{local.node}/{ns}")
    own = own_probe_address(slices[0], local)
    yield from _rules(ns, own)
    yield LinkAddress(ns=ns, dev="lo", address=own)
    yield Link(ns=ns, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    for tunnel in tunnels:
        yield from _device(ns, tunnel, local)
    for here in slices:
        yield from _trunk_routes(ns, here)
    for cluster in sorted({cluster for cluster, _ in peers}):
        yield from _remote_routes(ns, cluster, [peer for c, peer in peers if c == cluster], slices, local)
    yield from (peer for _, peer in peers)
    for cluster, peer in peers:
        far = probe_address(cluster, number, device_index(peer.dev))
        yield Route(ns=ns, dst=ipaddress.ip_network(far), dev=peer.dev)
    yield table(ns, _filter_text(slices, own))


def probe_address(cluster: str, tunnel_set: int, slot: int) -> Address:
    """The address of a gateway inside its tunnels: both ends work it out, nobody allocates it.

    PROBE_PREFIX, 16 bits of tunnel set, 48 bits of the cluster's name, 16 bits of slot. Different for all peers of a
    device, which are of different clusters.
    """
    name = int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:6], "big")
    return PROBE_PREFIX[tunnel_set << 64 | name << 16 | slot]


def own_probe_address(here: SliceHere, local: LocalState) -> Address:
    """This gateway's own one."""
    return probe_address(local.cluster, here.tunnel_set, here.slot or 0)


def _rules(ns: str, own: Address) -> Iterator[Rule]:
    """Of all packets only probes are ever delivered *here*: router addresses live behind the trunks.

    The addresses on the trunks are only the source of ICMP errors.
    """
    for version, rules in MAIN_RULES.items():
        yield from (Rule(ns=ns, version=version, priority=p, table=t) for p, t in rules if p != 0)
    yield Rule(ns=ns, version=6, priority=PROBE_RULE, table=255, dst=ipaddress.ip_network(own))


def _device(ns: str, tunnel: LocalTunnel, local: LocalState) -> Iterator[Item]:
    name = tunnel_device(tunnel.tunnel_set, tunnel.index)
    yield Link(ns=ns, name=name, kind="wireguard", mtu=pod_mtu(local.underlay_mtu))
    yield WgDevice(
        ns=ns,
        name=name,
        port=tunnel.port,
        public_key=tunnel.public_key,
        tunnel=(tunnel.tunnel_set, tunnel.index),
    )


def _trunk_routes(ns: str, here: SliceHere) -> Iterator[Item]:
    dev = trunk_device(here.vni)
    yield from (LinkAddress(ns=ns, dev=dev, address=router) for router in here.routers)
    for version in here.versions:
        yield Neighbour(ns=ns, dev=dev, address=NEXT_HOP[version], mac=trunk_mac(here.vni, "slice"))
    for block in here.own_blocks:
        yield Route(ns=ns, dst=block, dev=dev, via=NEXT_HOP[block.version])


def peers_of(
    tunnel: LocalTunnel, slices: Sequence[SliceHere], topology: Topology, local: LocalState
) -> Iterator[tuple[str, WgPeer]]:
    """Device j talks to the gateway in slot j of each remote cluster, whose device for us is the one of *our* slot."""
    slot = slices[0].slot
    for gateway in topology.remote_gateways:
        blocks = _blocks(slices, gateway.cluster)
        far_probe = ipaddress.ip_network(probe_address(gateway.cluster, gateway.tunnel_set, gateway.slot))
        if (gateway.tunnel_set, gateway.slot) != (tunnel.tunnel_set, tunnel.index) or not blocks:
            continue
        far = next((end for end in gateway.tunnels if end.index == slot), None)
        address = _reachable(gateway, local)
        if far is not None and address is not None:
            yield (
                gateway.cluster,
                WgPeer(
                    ns=tunnel_ns(tunnel.tunnel_set),
                    dev=tunnel_device(tunnel.tunnel_set, tunnel.index),
                    public_key=far.public_key,
                    endpoint=(address, far.port),
                    allowed_ips=tuple(sorted((*blocks, far_probe), key=_by_family)),
                    keepalive_s=KEEPALIVE_S,
                ),
            )


def _reachable(gateway: Gateway, local: LocalState) -> Address | None:
    families = {address.version for address in local.addresses}
    return next((address for address in gateway.addresses if address.version in families), None)


def _blocks(slices: Sequence[SliceHere], cluster: str) -> tuple[Prefix, ...]:
    """All that `cluster` holds in these slices, sorted."""
    found = {
        block for here in slices for remote in here.remotes if remote.cluster == cluster for block in remote.blocks
    }
    return tuple(sorted(found, key=_by_family))


def _by_family(block: Prefix) -> tuple[int, int, int]:
    return (block.version, int(block.network_address), block.prefixlen)


def device_index(name: str) -> int:
    """The index in the name of a WireGuard device."""
    return int(name.rpartition(".")[2])


def _remote_routes(
    ns: str, cluster: str, peers: list[WgPeer], slices: Sequence[SliceHere], local: LocalState
) -> Iterator[Item]:
    blocks = _blocks(slices, cluster)
    number, avoided = slices[0].tunnel_set, local.health.avoided_tunnels
    devices: list[Hop] = [(peer.dev, peer.dev, None) for peer in peers]
    used = [hop for hop in devices if (number, cluster, device_index(hop[0])) not in avoided]
    for version in (4, 6):
        wanted = [block for block in blocks if block.version == version]
        if wanted:
            group = spread(ns, f"{cluster}/{version}", version, devices, used)
            yield from group
            yield from (Route(ns=ns, dst=block, nexthop=group[-1].id) for block in wanted)


def _filter_text(slices: Sequence[SliceHere], own: Address) -> str:
    """A packet passes only between the trunk of a slice and a tunnel, from and to addresses of that slice's prefix.

    Only probes are taken in, and only out of tunnels, where WireGuard vouches for their source.
    """
    elements = {
        version: [
            f'"{trunk_device(here.vni)}" . {prefix} . {prefix}'
            for here in slices
            for prefix in here.prefixes
            if prefix.version == version
        ]
        for version in (4, 6)
    }
    ways = {4: "ip saddr . ip daddr @slices4", 6: "ip6 saddr . ip6 daddr @slices6"}
    return "\n".join(
        [
            "  counter foreign { }",
            *(_set(version, found) for version, found in elements.items()),
            "  chain forward {",
            "    type filter hook forward priority filter; policy drop;",
            *(f"    ip6 {end} {PROBE_PREFIX} counter name foreign drop" for end in ("saddr", "daddr")),
            *(f'    oifname "w*" iifname . {way} counter accept' for way in ways.values()),
            *(f'    iifname "w*" oifname . {way} counter accept' for way in ways.values()),
            "    counter name foreign",
            "  }",
            "  chain input {",
            "    type filter hook input priority filter; policy drop;",
            f'    iifname "w*" ip6 saddr {PROBE_PREFIX} ip6 daddr {own} udp dport {PROBE_PORT} accept',
            "    counter name foreign",
            "  }",
        ]
    )


def _set(version: int, elements: list[str]) -> str:
    kind = f"type ifname . ipv{version}_addr . ipv{version}_addr; flags interval;"
    body = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"  set slices{version} {{ {kind}{body} }}"
