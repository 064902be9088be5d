"""The quick way to take a gateway or a tunnel out of its groups and back: a few netlink messages, no reading, no lock.

The reconcile that follows makes the same of it and repairs what was refused here: this has to be quick, not thorough.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from itertools import groupby

from slicer.kernel import commands, netns
from slicer.kernel.netlink import NETLINK_ROUTE, Netlink, attribute
from slicer.plan.dataplane_commands import put, shares
from slicer.plan.dataplane_values import ROUTE_PROTOCOL, NexthopGroup, NodePlan, Route

_NEWNEXTHOP = 104
_CREATE, _REPLACE = 0x400, 0x100
_HZ = 100
_NHA_ID, _NHA_GROUP, _NHA_GROUP_TYPE, _NHA_RES_GROUP = 1, 2, 3, 12
_RESILIENT = 1
_NESTED = 0x8000


def change(before: NodePlan, after: NodePlan) -> tuple[str, ...]:
    """Make the groups and routes that differ as in `after`; what the kernel refused, in words."""
    unchanged = set(before.groups)
    groups = [group for group in after.groups if group not in unchanged]
    known = {route.key: route for route in before.routes}
    routes = [route for route in after.routes if known.get(route.key, route) != route]
    return (*_groups(groups), *_routes(routes))


def _groups(groups: Iterable[NexthopGroup]) -> list[str]:
    refused: list[str] = []
    for ns, members in groupby(sorted(groups, key=lambda group: group.ns), key=lambda group: group.ns):
        try:
            refused += _in_namespace(ns, list(members))
        except OSError as error:
            refused.append(f"nexthop groups in {ns}: {error}")
    return refused


def _in_namespace(ns: str, groups: Iterable[NexthopGroup]) -> list[str]:
    refused = []
    netlink = Netlink(NETLINK_ROUTE, netns.path_of(ns))
    try:
        for group in groups:
            try:
                netlink.request(_NEWNEXTHOP, _CREATE | _REPLACE, group_body(group))
            except OSError as error:
                refused.append(f"nexthop group {group.id} in {ns}: {error}")
    finally:
        netlink.close()  # a socket keeps its namespace alive
    return refused


def group_body(group: NexthopGroup) -> bytes:
    """The RTM_NEWNEXTHOP for a resilient group (linux/nexthop.h); the timer travels in hundredths of a second."""
    members = b"".join(struct.pack("=IBBH", member, share - 1, 0, 0) for member, share in shares(group))
    resilient = attribute(1, _u16(group.buckets)) + attribute(2, _u32(group.idle_s * _HZ)) + attribute(3, _u32(0))
    return (
        struct.pack("=BBBBI", 0, 0, ROUTE_PROTOCOL, 0, 0)
        + attribute(_NHA_ID, _u32(group.id))
        + attribute(_NHA_GROUP, members)
        + attribute(_NHA_GROUP_TYPE, _u16(_RESILIENT))
        + attribute(_NHA_RES_GROUP | _NESTED, resilient)
    )


def _routes(routes: Iterable[Route]) -> list[str]:
    changes = [change for route in routes for change in put(route)]
    refused: list[str] = []
    for _, run in groupby(changes, key=lambda change: (change.ns, change.tool)):
        refused += [f"{change}: {error}" for change, error in commands.run_batch(list(run)).items()]
    return refused


def _u16(value: int) -> bytes:
    return value.to_bytes(2, sys.byteorder)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)
