"""CHECK: compares what ADD said (prevResult) and what the journal knows with what is really in the two namespaces.

What others added (routes, addresses, qdiscs) is their affair; only ours has to be there, and right.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from slicer.agent.cni_request import BAD_CONFIG, CniError, Request
from slicer.agent.journal import Record
from slicer.kernel import netns, podview
from slicer.model.names import Address
from slicer.plan.dataplane_slice import NEXT_HOP
from slicer.plan.dataplane_topology import slice_ns

CHECK_FAILED = 105
"""The attachment is not as ADD left it."""


def check_attachment(request: Request, record: Record | None, previous: Mapping[str, Any]) -> None:
    """CniError naming every deviation; nothing happens when all is well."""
    wanted = _addresses(request, previous)
    if record is None:
        text = f"interface {request.interface!r} of container {request.container_id} is not attached"
        raise CniError(CHECK_FAILED, text)
    found = list(_pod_faults(request, record, previous, wanted))
    found += _host_faults(record)
    if found:
        raise CniError(CHECK_FAILED, f"{request.interface!r} of slice {request.slice!r}: {'; '.join(found)}")


def _addresses(request: Request, previous: Mapping[str, Any]) -> set[Address]:
    """The addresses that prevResult gives to our interface."""
    try:
        interfaces = previous.get("interfaces") or []
        ours = {
            index
            for index, item in enumerate(interfaces)
            if item["name"] == request.interface and item.get("sandbox") == request.netns
        }
        ips = previous.get("ips") or []
        return {ipaddress.ip_interface(item["address"]).ip for item in ips if item.get("interface") in ours}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CniError(BAD_CONFIG, f"prevResult is not a Result: {error!r}") from None


def _pod_faults(request: Request, record: Record, previous: Mapping[str, Any], wanted: set[Address]) -> Iterator[str]:
    attachment = record.attachment
    contents = podview.observe(request.netns)
    link = contents.link(request.interface)
    if link is None:
        yield "the interface is gone"
        return
    if not wanted or wanted != set(attachment.addresses):
        yield f"addresses in prevResult {_list(wanted)} are not the ones attached {_list(attachment.addresses)}"
    if not link.up:
        yield "the interface is down"
    if link.mac != attachment.mac:
        yield f"MAC address is {link.mac}, not {attachment.mac}"
    if link.mtu != attachment.mtu:
        yield f"MTU is {link.mtu}, not {attachment.mtu}"
    missing = set(attachment.addresses) - contents.addresses_of(link.index)
    if missing:
        yield f"addresses {_list(missing)} are missing"
    there = contents.routes_of(link.index)
    for destination, hop in _routes(previous):
        if (destination, hop) not in there:
            yield f"route {destination} via {hop} is missing"


def _routes(previous: Mapping[str, Any]) -> Iterator[tuple[Any, Address]]:
    """The routes of prevResult that are ours: their next hop is."""
    for route in previous.get("routes") or []:
        hop = route.get("gw")
        if hop and ipaddress.ip_address(hop) in NEXT_HOP.values():
            yield ipaddress.ip_network(route["dst"]), ipaddress.ip_address(hop)


def _host_faults(record: Record) -> Iterator[str]:
    """The pod's gateway is the host end of its veth, in the slice's namespace."""
    attachment = record.attachment
    path = netns.path_of(slice_ns(record.vni))
    if not netns.exists(path):
        yield f"gateway: the namespace {path.name} of the slice is gone"
        return
    contents = podview.observe(path)
    link = contents.link(attachment.host_interface)
    if link is None or not link.up:
        yield f"gateway: {attachment.host_interface} is {'gone' if link is None else 'down'} in {path.name}"
        return
    reached = {prefix.network_address for prefix, _ in contents.routes_of(link.index) if prefix.num_addresses == 1}
    if missing := set(attachment.addresses) - reached:
        yield f"gateway: no route to {_list(missing)} in {path.name}"
    rates = attachment.bandwidth
    if rates and rates.ingress_bps and podview.qdiscs(path, link.index) <= {"noqueue"}:
        yield f"the rate limit on {attachment.host_interface} is gone"


def _list(addresses: Any) -> str:
    return ", ".join(sorted(map(str, addresses))) or "(none)"
