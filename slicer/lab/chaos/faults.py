"""What can be done to a machine's network, as text for `nft -f`. Pure; each fault stands here and nowhere else.

All of it lies in one table of the machine's own namespace, where the sockets of WireGuard and VXLAN are. Putting rules
there replaces those that were there; taking the table away repairs the machine. Callers: experiments, the benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable

from slicer.model.names import Address
from slicer.plan.dataplane_topology import VXLAN_PORT

TABLE = "inet chaos"
WIREGUARD_PORTS = "51820-51899"
"""Of all tunnels of a lab: slicer-agent's default, a port for each device and generation of keys."""
_OUTSIDE = (f"udp dport {WIREGUARD_PORTS}", f"udp sport {WIREGUARD_PORTS}")
_NAT_PORTS = ((40000, 44999), (45000, 49999))
REPAIR = f"table {TABLE} {{}}\ndelete table {TABLE}\n"
"""Takes everything away, whether or not anything is there."""


def outside() -> str:
    """No packet of WireGuard comes in or goes out: the machine's way to other clusters is cut."""
    return _both([f"{match} drop" for match in _OUTSIDE])


def inside() -> str:
    """No packet of VXLAN comes in or goes out: the machine's way to its own cluster's nodes is cut."""
    return _both([f"udp dport {VXLAN_PORT} drop"])


def everything() -> str:
    """No packet comes in or goes out, and nobody is told."""
    return _both(["drop"])


def deaf() -> str:
    """What comes in for WireGuard is lost, what goes out arrives: one direction is broken."""
    return _render(incoming=[f"{match} drop" for match in _OUTSIDE])


def lossy(percent: int) -> str:
    """So many of WireGuard's packets are lost, each way, by chance."""
    # One rule a direction: two would each take their share of a packet that matches both.
    return _both([f"udp dport {WIREGUARD_PORTS} numgen random mod 100 < {percent} drop"])


def narrow(size: int) -> str:
    """WireGuard's packets of more than `size` bytes (IP header included) are lost, and nobody is told."""
    return _both([f"{match} meta length > {size} drop" for match in _OUTSIDE])


def apart(others: Iterable[Address]) -> str:
    """Nothing comes from these addresses and nothing goes to them."""
    incoming, outgoing = [], []
    for address in others:
        family = "ip" if address.version == 4 else "ip6"
        incoming.append(f"{family} saddr {address} drop")
        outgoing.append(f"{family} daddr {address} drop")
    return _render(incoming, outgoing)


def translated(number: int) -> str:
    """As behind a NAT: WireGuard's packets leave with other source ports, and only answers come in.

    Another `number` is another mapping: connection tracking forgets the old one, as a NAT that was restarted does.
    """
    first, last = _NAT_PORTS[number % len(_NAT_PORTS)]
    zone = number + 1  # a zone of connection tracking knows nothing of another's connections
    lines = [
        "chain mark_in { type filter hook prerouting priority raw;",
        f"udp dport {{ {WIREGUARD_PORTS}, {first}-{last} }} ct zone set {zone}; }}",
        "chain mark_out { type filter hook output priority raw;",
        f"udp sport {WIREGUARD_PORTS} ct zone set {zone}; }}",
        "chain translate { type nat hook postrouting priority srcnat;",
        f"udp sport {WIREGUARD_PORTS} masquerade to :{first}-{last}; }}",
        "chain unasked { type filter hook input priority filter;",
        f"udp dport {WIREGUARD_PORTS} ct state new drop; }}",
    ]
    return _table(lines)


def _both(rules: Iterable[str]) -> str:
    given = list(rules)
    return _render(given, given)


def _render(incoming: Iterable[str] = (), outgoing: Iterable[str] = ()) -> str:
    lines = []
    for hook, rules in (("input", incoming), ("output", outgoing)):
        # Before connection tracking and everything else: a packet lost on the way is seen by nobody.
        lines += [f"chain {hook} {{ type filter hook {hook} priority -300;", *(f"{rule};" for rule in rules), "}"]
    return _table(lines)


def _table(lines: Iterable[str]) -> str:
    return REPAIR + "\n".join([f"table {TABLE} {{", *lines, "}"]) + "\n"
