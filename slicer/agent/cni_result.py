"""Writes the Result of an ADD in the form of each CNI version. Pure; the one place that knows the differences.

0.3.0, 0.3.1, 0.4.0   each of `ips` says "version": "4" or "6"
1.0.0                 no version in `ips`
1.1.0                 interfaces say their mtu
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from slicer.model.attachments import Attachment
from slicer.model.names import Prefix
from slicer.plan.attach import HOST_MAC
from slicer.plan.dataplane_slice import NEXT_HOP


def render_result(
    attachment: Attachment, prefixes: tuple[Prefix, ...], *, version: str, previous: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The Result; in a chain, the previous plugins' with ours added to it."""
    result: dict[str, Any] = {**(previous or {}), "cniVersion": version}
    interfaces = list(result.get("interfaces") or [])
    result["interfaces"] = [*interfaces, *_interfaces(attachment, version)]
    result["ips"] = [*(result.get("ips") or []), *_ips(attachment, version, len(interfaces) + 1)]
    result["routes"] = [*(result.get("routes") or []), *_routes(attachment, prefixes)]
    result["dns"] = result.get("dns") or {}
    return result


def render_error(code: int, message: str, details: str, version: str) -> dict[str, Any]:
    """The error object of all versions."""
    return {"cniVersion": version, "code": code, "msg": message, **({"details": details} if details else {})}


def to_stdout(document: Mapping[str, Any]) -> bytes:
    """One JSON document and the end of the line."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _interfaces(attachment: Attachment, version: str) -> list[dict[str, Any]]:
    mtu = {"mtu": attachment.mtu} if version == "1.1.0" else {}
    return [
        {"name": attachment.host_interface, "mac": HOST_MAC, **mtu},
        {"name": attachment.interface, "mac": attachment.mac, **mtu, "sandbox": attachment.netns},
    ]


def _ips(attachment: Attachment, version: str, index: int) -> list[dict[str, Any]]:
    return [
        {
            **({"version": str(address.version)} if version < "1" else {}),
            "address": str(ipaddress.ip_network(address)),
            "gateway": str(NEXT_HOP[address.version]),
            "interface": index,
        }
        for address in attachment.addresses
    ]


def _routes(attachment: Attachment, prefixes: tuple[Prefix, ...]) -> list[dict[str, Any]]:
    versions = {address.version for address in attachment.addresses}
    return [{"dst": str(p), "gw": str(NEXT_HOP[p.version])} for p in prefixes if p.version in versions]
