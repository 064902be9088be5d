"""What labels mean: a table of names, and the two ways between addresses and reverse names."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.errors import InvalidError
from slicer.model.slices import Slice
from slicer.plan.zones import Pointer, dashed, host_label
from slicer_dns.names import Kind, ReverseName, SliceLocalName, fits, host_labels, parse_name, reverse_apex
from tests.unit.dns.world import endpoint

IN_DOMAIN = {
    "slice.local": SliceLocalName(kind=Kind.APEX),
    "svc.slice.local": SliceLocalName(kind=Kind.SVC),
    "dns.slice.local": SliceLocalName(kind=Kind.DNS),
    "ns.dns.slice.local": SliceLocalName(kind=Kind.NAMESERVER),
    "dns-version.slice.local": SliceLocalName(kind=Kind.VERSION),
    "x.dns-version.slice.local": SliceLocalName(kind=Kind.NOTHING),
    "ns.svc.slice.local": SliceLocalName(kind=Kind.NAMESPACE, namespace="ns"),
    "web.ns.svc.slice.local": SliceLocalName(kind=Kind.SERVICE, namespace="ns", service="web"),
    "svc.svc.svc.slice.local": SliceLocalName(kind=Kind.SERVICE, namespace="svc", service="svc"),
    "red.slice.local": SliceLocalName(kind=Kind.APEX, slice="red"),
    "slice.slice.local": SliceLocalName(kind=Kind.APEX, slice="slice"),
    "svc.red.slice.local": SliceLocalName(kind=Kind.SVC, slice="red"),
    "web.ns.svc.red.slice.local": SliceLocalName(kind=Kind.SERVICE, slice="red", namespace="ns", service="web"),
    "_tcp.web.ns.svc.red.slice.local": SliceLocalName(
        kind=Kind.PROTOCOL, slice="red", namespace="ns", service="web", protocol="tcp"
    ),
    "_http._tcp.web.ns.svc.red.slice.local": SliceLocalName(
        kind=Kind.PORT, slice="red", namespace="ns", service="web", port="http", protocol="tcp"
    ),
    "p.c.web.ns.svc.red.slice.local": SliceLocalName(
        kind=Kind.HOST, slice="red", namespace="ns", service="web", cluster="c", host="p"
    ),
    "c.web.ns.svc.red.slice.local": SliceLocalName(kind=Kind.NOTHING, slice="red"),
    "x.p.c.web.ns.svc.red.slice.local": SliceLocalName(kind=Kind.NOTHING, slice="red"),
    "pod.red.slice.local": SliceLocalName(kind=Kind.NOTHING, slice="red"),
    "a.b.pod.red.slice.local": SliceLocalName(kind=Kind.NOTHING, slice="red"),
}
REVERSE = {
    "in-addr.arpa": ("0.0.0.0/0", False),
    "10.in-addr.arpa": ("10.0.0.0/8", False),
    "4.3.2.1.in-addr.arpa": ("1.2.3.4/32", False),
    "5.4.3.2.1.in-addr.arpa": ("1.2.3.4/32", True),
    "x.3.2.1.in-addr.arpa": ("1.2.3.0/24", True),
    "4.x.2.1.in-addr.arpa": ("1.2.0.0/16", True),
    "256.2.1.in-addr.arpa": ("1.2.0.0/16", True),
    "01.2.1.in-addr.arpa": ("1.2.0.0/16", True),
    "\xb2.2.1.in-addr.arpa": ("1.2.0.0/16", True),
    "d.f.ip6.arpa": ("fd00::/8", False),
    "10.d.f.ip6.arpa": ("fd00::/8", True),
    "g.d.f.ip6.arpa": ("fd00::/8", True),
}


@pytest.mark.parametrize("name", IN_DOMAIN)
def test_names_in_the_domain(name: str) -> None:
    """Each form of name under slice.local is told apart by its labels alone."""
    assert parse_name(tuple(name.split("."))) == IN_DOMAIN[name]


@pytest.mark.parametrize("name", REVERSE)
def test_reverse_names(name: str) -> None:
    """A reverse name stands for the prefix that its valid digits write; labels beyond them stand for nothing."""
    prefix, beyond = REVERSE[name]

    assert parse_name(tuple(name.split("."))) == ReverseName(prefix=ipaddress.ip_network(prefix), beyond=beyond)


@pytest.mark.parametrize("name", ["local", "slice", "xslice.local", "slice.local.com", "arpa", "addr.arpa"])
def test_other_names_are_not_ours(name: str) -> None:
    """Everything else is outside."""
    assert parse_name(tuple(name.split("."))) is None
    assert parse_name(()) is None


@given(address=st.ip_addresses())
def test_whole_reverse_names_are_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The reverse name that Python gives an address leads back to it."""
    name = parse_name(tuple(address.reverse_pointer.split(".")))

    assert isinstance(name, ReverseName)
    assert name.whole() == address


@given(address=st.ip_addresses(), length=st.integers(0, 128))
def test_reverse_zones_lie_inside_their_prefix(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    """The top of a reverse zone stands for addresses of the slice's prefix only, the asked one among them."""
    prefix = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    top = parse_name(reverse_apex(prefix, address))

    assert isinstance(top, ReverseName)
    assert top.prefix.subnet_of(prefix)  # type: ignore[arg-type]
    assert address in top.prefix


@pytest.mark.parametrize(
    ("pod", "label"), [("web-0", "web-0"), ("a.b", "10-1-2-3"), ("x" * 63, "x" * 63), ("x" * 64, "10-1-2-3")]
)
def test_host_labels(pod: str, label: str) -> None:
    """A pod's own label is its name, or its address where the name is no label."""
    assert host_label(endpoint(pod, "10.1.2.3")) == label


@pytest.mark.parametrize(
    ("address", "label"), [("5678:abcd::1", "5678-abcd--1"), ("::1", "0--1"), ("fd00::", "fd00--0")]
)
def test_dashed_addresses_are_labels(address: str, label: str) -> None:
    """Addresses become labels as CoreDNS writes them, without a dash at either end."""
    assert dashed(ipaddress.ip_address(address)) == label


@pytest.mark.parametrize("name", ["svc", "dns", "dns-version"])
def test_labels_with_a_meaning_are_no_slices(name: str) -> None:
    """A slice cannot have a name that means something else under slice.local."""
    with pytest.raises(InvalidError, match=name):
        Slice(name=name, prefixes=(ipaddress.ip_network("10.1.0.0/16"),))


def test_names_longer_than_255_bytes_do_not_fit() -> None:
    """The limit counts length bytes and the root (RFC 1035, 2.3.4)."""
    assert fits(("x" * 63, "x" * 63, "x" * 63, "x" * 61))
    assert not fits(("x" * 63, "x" * 63, "x" * 63, "x" * 62))
    assert host_labels("red", Pointer(host="p", cluster="c", service="s", namespace="n"))[-3:] == (
        "red",
        "slice",
        "local",
    )
