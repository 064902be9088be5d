"""Names and addresses as they may be written: one place for each rule of spelling.

Checked once, when a value is made (`__post_init__` of the dataclasses calls these); nobody checks again.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NewType

from slicer.model.errors import InvalidError

SliceName = NewType("SliceName", str)
ClusterName = NewType("ClusterName", str)
NodeName = NewType("NodeName", str)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""RFC 1123 label: slices, clusters, namespaces, Services, ports."""
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
"""RFC 1123 subdomain: pods and nodes, as Kubernetes names them."""
CONTAINER_ID_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$"
"""CNI specification, CNI_CONTAINERID."""
CONTAINER_ID_MAX = 200
"""Characters; the specification has no limit, but file names made of it have (255 bytes); runtimes use 64."""
ZONE_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
"""The value of a Kubernetes label, which is where zones mostly come from."""
MAC_PATTERN = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"
KEY_PATTERN = r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"
"""A WireGuard public key: 32 bytes in base64."""

LABEL_RULE = "is not a DNS label (a-z, 0-9 and '-', at most 63 characters)"
SUBDOMAIN_RULE = "is not a DNS name (a-z, 0-9, '-' and '.', at most 253 characters)"
PREFIX_RULE = "is not a prefix like 10.7.0.0/16 or fd07::/48"
HOST_BITS_RULE = "has host bits set"
ADDRESS_RULE = "is not an IPv4 or IPv6 address"
INTERFACE_RULE = "must have 1 to 15 characters, no '/', ':' or space, and not be all or default"
"""How refusals end, here and where the Kubernetes API server refuses by itself (the CRDs are made with these)."""

_NO_INTERFACES = frozenset({".", "..", "all", "default"})
"""The last two are directories of /proc/sys/net/ipv4/conf: the kernel takes no interface of that name."""
_LABEL = re.compile(LABEL_PATTERN.replace("$", r"\Z"))
_SUBDOMAIN = re.compile(SUBDOMAIN_PATTERN.replace("$", r"\Z"))
_CONTAINER_ID = re.compile(CONTAINER_ID_PATTERN.replace("$", r"\Z"))
_ZONE = re.compile(ZONE_PATTERN.replace("$", r"\Z"))
_MAC = re.compile(MAC_PATTERN.replace("$", r"\Z"))
_KEY = re.compile(KEY_PATTERN.replace("$", r"\Z"))


def check_label(what: str, text: str) -> str:
    """`text` if it is a DNS label of at most 63 characters; InvalidError naming `what` otherwise."""
    if not _LABEL.match(text):
        raise InvalidError(f"{what} {text!r} {LABEL_RULE}")
    return text


def check_subdomain(what: str, text: str) -> str:
    """`text` if it is a DNS subdomain of at most 253 characters; InvalidError naming `what` otherwise."""
    if not _SUBDOMAIN.match(text):
        raise InvalidError(f"{what} {text!r} {SUBDOMAIN_RULE}")
    return text


def check_container_id(text: str) -> str:
    """`text` if the CNI specification allows it as CNI_CONTAINERID."""
    if not _CONTAINER_ID.match(text):
        raise InvalidError(f"container id {text!r} may hold only letters, digits, '_', '.' and '-'")
    if len(text) > CONTAINER_ID_MAX:
        raise InvalidError(f"container id {text!r} has more than {CONTAINER_ID_MAX} characters")
    return text


def check_interface_name(text: str) -> str:
    """`text` if Linux and the CNI specification take it as an interface name (1 to 15 bytes)."""
    bad = not 1 <= len(text.encode()) <= 15 or text in _NO_INTERFACES or any(c in "/:" or c.isspace() for c in text)
    if bad:
        raise InvalidError(f"interface name {text!r} {INTERFACE_RULE}")
    return text


def check_zone(text: str) -> str:
    """`text` if it can name a zone."""
    if not _ZONE.match(text):
        raise InvalidError(f"zone {text!r} may hold only letters, digits, '-', '_' and '.', at most 63 characters")
    return text


def check_mac(text: str) -> str:
    """`text` in lower case if it is a unicast MAC address."""
    mac = text.lower()
    if not _MAC.match(mac) or int(mac[:2], 16) & 1:
        raise InvalidError(f"MAC address {text!r} is not a unicast address like 02:00:0a:16:00:05")
    return mac


def check_public_key(text: str) -> str:
    """`text` if it is a WireGuard key in base64. Never called with a private key: the text enters the message."""
    if not _KEY.match(text):
        raise InvalidError(f"public key {text!r} is not 32 bytes in base64")
    return text


def check_range(what: str, value: int, low: int, high: int) -> int:
    """`value` if low <= value <= high; InvalidError naming `what` otherwise."""
    if not low <= value <= high:
        raise InvalidError(f"{what} {value} {range_rule(low, high)}")
    return value


def range_rule(low: int, high: int) -> str:
    """How the refusal of a number outside [low, high] ends."""
    return f"is not between {low} and {high}"


def parse_prefix(what: str, text: str) -> Prefix:
    """The prefix that `text` writes (host bits must be zero)."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidError(f"{what} {text!r}: {error}") from None


def parse_address(what: str, text: str) -> Address:
    """The address that `text` writes, without a prefix length."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidError(f"{what} {text!r} {ADDRESS_RULE}") from None
