"""What the node's own network is like, as the agent's namespace (the host's) has it."""

from __future__ import annotations

import json

from slicer.kernel.commands import ask_host
from slicer.model.names import Address


def mtu_of(address: Address) -> int | None:
    """MTU of the interface that has `address`, bytes; None if none has it."""
    links = json.loads(ask_host("ip", "-json", "address", "show", "to", str(address)) or "[]")
    return next((int(link["mtu"]) for link in links if link.get("mtu")), None)
