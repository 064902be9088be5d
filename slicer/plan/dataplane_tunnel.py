"""The tunnel namespace of a gateway: the slices' trunks, WireGuard, ways to remote clusters, the filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slicer.model.clusters import Gateway
from slicer.model.names import Address, Prefix
from slicer.plan.dataplane_slice import (
    LOOPBACK_MTU,
    MAIN_RULES,
    NEXT_HOP,
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

KEEPALIVE_S = 25
"""Below the 30 s after which common firewalls forget a UDP flow; also what starts the handshake at once."""


def plan_tunnels(number: int, slices: Sequence[SliceHere], topology: Topology, local: LocalState) -> Iterator[Item]:
    """The namespace of tunnel set `number`, whose gateway this node is for all of `slices`; without its rates."""
    ns = tunnel_ns(number)
    tunnels = sorted((t for t in local.tunnels if t.tunnel_set == number), key=lambda tunnel: tunnel.index)
    peers = [peer for tunnel in tunnels for peer in _peers(tunnel, slices, topology, local)]
    yield Namespace(ns=ns)
    yield from namespace_settings(ns, f"{local.cluster}/{local.node}/{ns}")
    yield from _rules(ns)
    yield Link(ns=ns, name="lo", kind="loopback", mtu=LOOPBACK_MTU)
    for tunnel in tunnels:
        yield from _device(ns, tunnel, local)
    for here in slices:
        yield from _trunk_routes(ns, here)
    for cluster in sorted({cluster for cluster, _ in peers}):
        yield from _remote_routes(ns, cluster, [peer for c, peer in peers if c == cluster], slices)
    yield from (peer for _, peer in peers)
    yield table(ns, _filter_text(slices))


def _rules(ns: str) -> Iterator[Rule]:
    """No rule for the local table: nothing is ever delivered *here*, router addresses live behind the trunks.

    The addresses on the trunks are only the source of ICMP errors.
    """
    for version, rules in MAIN_RULES.items():
        yield from (Rule(ns=ns, version=version, priority=p, table=t) for p, t in rules if p != 0)


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


def _peers(
    tunnel: LocalTunnel, slices: Sequence[SliceHere], topology: Topology, local: LocalState
) -> Iterator[tuple[str, WgPeer]]:
    """Device j talks to the gateway in slot j of each remote cluster, whose device for us is the one of *our* slot."""
    slot = slices[0].slot
    for gateway in topology.remote_gateways:
        blocks = _blocks(slices, gateway.cluster)
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
                    allowed_ips=blocks,
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
    return tuple(sorted(found, key=lambda block: (block.version, int(block.network_address), block.prefixlen)))


def _remote_routes(ns: str, cluster: str, peers: list[WgPeer], slices: Sequence[SliceHere]) -> Iterator[Item]:
    blocks = _blocks(slices, cluster)
    devices: list[tuple[str, str, Address | None]] = [(peer.dev, peer.dev, None) for peer in peers]
    for version in (4, 6):
        wanted = [block for block in blocks if block.version == version]
        yield from spread(ns, f"{cluster}/{version}", version, devices, wanted)


def _filter_text(slices: Sequence[SliceHere]) -> str:
    """A packet passes only between the trunk of a slice and a tunnel, from and to addresses of that slice's prefix."""
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
            *(f'    oifname "w*" iifname . {way} counter accept' for way in ways.values()),
            *(f'    iifname "w*" oifname . {way} counter accept' for way in ways.values()),
            "    counter name foreign",
            "  }",
            "  chain input {",
            "    type filter hook input priority filter; policy drop;",
            "    counter name foreign",
            "  }",
        ]
    )


def _set(version: int, elements: list[str]) -> str:
    kind = f"type ifname . ipv{version}_addr . ipv{version}_addr; flags interval;"
    body = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"  set slices{version} {{ {kind}{body} }}"
