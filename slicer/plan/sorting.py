"""The order of keys that are made of texts, numbers, addresses and prefixes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


def sort_key(key: Iterable[object]) -> tuple[str, ...]:
    """What to sort such keys by: numbers as numbers, IPv4 before IPv6."""
    return tuple(map(_sortable, key))


def _sortable(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, int):
        return f"{part:08x}"
    if isinstance(part, IPv4Network | IPv6Network):
        return f"{part.version}{int(part.network_address):032x}/{part.prefixlen:03}"
    return f"{part.version}{int(part):032x}" if isinstance(part, IPv4Address | IPv6Address) else str(part)
