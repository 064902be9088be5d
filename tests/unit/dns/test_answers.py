"""Question, expected records, expected code: in zone-file text, decoded by dnspython."""

from __future__ import annotations

from dataclasses import dataclass

import dns.rcode
import pytest

from slicer_dns.answering import Desk
from tests.unit.dns.world import (
    BOTH,
    NOBODY,
    RED,
    ask,
    attachment,
    desk,
    endpoint,
    endpoints,
    export,
    lines,
    slice_,
    text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question. `soa` names the zone whose SOA the authority section must hold; empty for no authority."""

    name: str
    type: str = "A"
    asker: str = RED
    rcode: str = "NOERROR"
    answer: str = ""
    additional: str = ""
    soa: str = ""
    ttl_s: int = 5

    def __str__(self) -> str:
        return f"{self.name} {self.type} from {self.asker}"


def soa(zone: str, ttl_s: int, home: str = "") -> str:
    """The SOA record of a zone."""
    home = home or zone
    return f"{zone} {ttl_s} IN SOA ns.dns.{home} hostmaster.{home} 7 7200 1800 86400 {ttl_s}"


R = "red.slice.local."
WEB = f"web.shop.svc.{R}"

SERVICES = [
    Case(name=WEB, answer=f"{WEB} 5 IN A 10.11.1.1\n{WEB} 5 IN A 10.11.2.7"),
    Case(name=WEB, type="AAAA", answer=f"{WEB} 5 IN AAAA fd00:11::101\n{WEB} 5 IN AAAA fd00:11::207"),
    Case(name=WEB, type="TXT", soa=R),
    Case(name=WEB, type="MX", soa=R),
    Case(name=WEB, type="TYPE65", soa=R),
    Case(name=WEB, type="NS", soa=R),
    Case(name=WEB, type="SOA", soa=R),
    Case(name=f"db.shop.svc.{R}", answer=f"db.shop.svc.{R} 5 IN A 10.11.1.8"),
    Case(name=f"resolver.ops.svc.{R}", type="AAAA", soa=R),
    Case(name=f"only-b.shop.svc.{R}", answer=f"only-b.shop.svc.{R} 5 IN A 10.11.2.10"),
    Case(name=f"empty.shop.svc.{R}", rcode="NXDOMAIN", soa=R),
    Case(name=f"none.shop.svc.{R}", rcode="NXDOMAIN", soa=R),
    Case(name=f"web.ops.svc.{R}", rcode="NXDOMAIN", soa=R),
    Case(name=f"*.shop.svc.{R}", rcode="NXDOMAIN", soa=R),
    Case(
        name="web.shop.svc.green.slice.local.",
        asker=BOTH,
        answer="web.shop.svc.green.slice.local. 30 IN A 10.33.17.4",
    ),
    Case(name="web.shop.svc.green.slice.local.", type="AAAA", asker=BOTH, soa="green.slice.local.", ttl_s=30),
]
PODS = [
    Case(name=f"web-1.a.{WEB}", answer=f"web-1.a.{WEB} 5 IN A 10.11.1.1"),
    Case(name=f"web-7.b.{WEB}", type="AAAA", answer=f"web-7.b.{WEB} 5 IN AAAA fd00:11::207"),
    Case(name=f"web-1.a.{WEB}", type="SRV", soa=R),
    Case(name=f"10-11-1-8.a.db.shop.svc.{R}", answer=f"10-11-1-8.a.db.shop.svc.{R} 5 IN A 10.11.1.8"),
    Case(name=f"db-1.b.db.shop.svc.{R}", soa=R),
    Case(name=f"web-1.b.{WEB}", rcode="NXDOMAIN", soa=R),
    Case(name=f"web-2.a.{WEB}", rcode="NXDOMAIN", soa=R),
    Case(name=f"o-1.a.only-b.shop.svc.{R}", rcode="NXDOMAIN", soa=R),
    Case(name=f"x.web-1.a.{WEB}", rcode="NXDOMAIN", soa=R),
    Case(name=f"a.{WEB}", rcode="NXDOMAIN", soa=R),
    Case(name=f"b.{WEB}", rcode="NXDOMAIN", soa=R),
    Case(name=f"web-1.{WEB}", rcode="NXDOMAIN", soa=R),
]
SRV = [
    Case(
        name=f"_http._tcp.{WEB}",
        type="SRV",
        answer=f"""
            _http._tcp.{WEB} 5 IN SRV 0 50 80 web-1.a.{WEB}
            _http._tcp.{WEB} 5 IN SRV 0 50 80 web-7.b.{WEB}
        """,
        additional=f"""
            web-1.a.{WEB} 5 IN A 10.11.1.1
            web-1.a.{WEB} 5 IN AAAA fd00:11::101
            web-7.b.{WEB} 5 IN A 10.11.2.7
            web-7.b.{WEB} 5 IN AAAA fd00:11::207
        """,
    ),
    Case(
        name=WEB,
        type="SRV",
        answer=f"""
            {WEB} 5 IN SRV 0 25 80 web-1.a.{WEB}
            {WEB} 5 IN SRV 0 25 9090 web-1.a.{WEB}
            {WEB} 5 IN SRV 0 25 80 web-7.b.{WEB}
            {WEB} 5 IN SRV 0 25 9090 web-7.b.{WEB}
        """,
        additional=f"""
            web-1.a.{WEB} 5 IN A 10.11.1.1
            web-1.a.{WEB} 5 IN AAAA fd00:11::101
            web-7.b.{WEB} 5 IN A 10.11.2.7
            web-7.b.{WEB} 5 IN AAAA fd00:11::207
        """,
    ),
    Case(
        name=f"resolver.ops.svc.{R}",
        type="SRV",
        answer=f"resolver.ops.svc.{R} 5 IN SRV 0 100 53 r-1.b.resolver.ops.svc.{R}",
        additional=f"r-1.b.resolver.ops.svc.{R} 5 IN A 10.11.2.9",
    ),
    Case(
        name=f"_dns._udp.resolver.ops.svc.{R}",
        type="SRV",
        answer=f"_dns._udp.resolver.ops.svc.{R} 5 IN SRV 0 100 53 r-1.b.resolver.ops.svc.{R}",
        additional=f"r-1.b.resolver.ops.svc.{R} 5 IN A 10.11.2.9",
    ),
    Case(name=f"_dns._tcp.resolver.ops.svc.{R}", type="SRV", rcode="NXDOMAIN", soa=R),
    Case(name=f"_http._udp.{WEB}", type="SRV", rcode="NXDOMAIN", soa=R),
    Case(name=f"_http._tcp.{WEB}", type="A", soa=R),
    Case(name=f"_tcp.{WEB}", type="SRV", soa=R),
    Case(name=f"_udp.{WEB}", type="SRV", rcode="NXDOMAIN", soa=R),
    Case(name=f"http._tcp.{WEB}", type="SRV", rcode="NXDOMAIN", soa=R),
    Case(name=f"_._tcp.db.shop.svc.{R}", type="SRV", rcode="NXDOMAIN", soa=R),
    Case(name=f"only-b.shop.svc.{R}", type="SRV", soa=R),
    Case(name=f"_http._tcp.empty.shop.svc.{R}", type="SRV", rcode="NXDOMAIN", soa=R),
]
SHORT = [
    Case(
        name="web.shop.svc.slice.local.",
        answer="web.shop.svc.slice.local. 5 IN A 10.11.1.1\nweb.shop.svc.slice.local. 5 IN A 10.11.2.7",
    ),
    Case(name="web.shop.svc.slice.local.", asker=BOTH, answer="web.shop.svc.slice.local. 30 IN A 10.33.17.4"),
    Case(name="only-b.shop.svc.slice.local.", asker=BOTH, answer="only-b.shop.svc.slice.local. 5 IN A 10.11.2.10"),
    Case(name="only-green.shop.svc.slice.local.", rcode="NXDOMAIN", soa="slice.local."),
    Case(name="web.shop.svc.slice.local.", asker=NOBODY, rcode="NXDOMAIN", soa="slice.local."),
    Case(name="web-7.b.web.shop.svc.slice.local.", answer="web-7.b.web.shop.svc.slice.local. 5 IN A 10.11.2.7"),
    Case(name="b.web.shop.svc.slice.local.", rcode="NXDOMAIN", soa="slice.local."),
    Case(
        name="_metrics._tcp.web.shop.svc.slice.local.",
        type="SRV",
        asker=BOTH,
        answer="_metrics._tcp.web.shop.svc.slice.local. 30 IN SRV 0 100 9090 green-1.b.web.shop.svc.slice.local.",
        additional="green-1.b.web.shop.svc.slice.local. 30 IN A 10.33.17.4",
    ),
    Case(name="shop.svc.slice.local.", soa="slice.local."),
    Case(name="ops.svc.slice.local.", asker=NOBODY, rcode="NXDOMAIN", soa="slice.local."),
]
TOPS = [
    Case(name="slice.local.", type="SOA", asker=NOBODY, answer=soa("slice.local.", 5)),
    Case(
        name="slice.local.",
        type="NS",
        asker=NOBODY,
        answer="slice.local. 5 IN NS ns.dns.slice.local.",
        additional="ns.dns.slice.local. 5 IN A 10.96.0.53",
    ),
    Case(name="slice.local.", asker=NOBODY, soa="slice.local."),
    Case(name="svc.slice.local.", asker=NOBODY, soa="slice.local."),
    Case(name="dns.slice.local.", asker=NOBODY, soa="slice.local."),
    Case(name="x.dns.slice.local.", asker=NOBODY, rcode="NXDOMAIN", soa="slice.local."),
    Case(
        name="dns-version.slice.local.",
        type="TXT",
        asker=NOBODY,
        answer='dns-version.slice.local. 28800 IN TXT "1.0.0"',
    ),
    Case(name=R, type="SOA", answer=soa(R, 5)),
    Case(name=R, type="NS", answer=f"{R} 5 IN NS ns.dns.{R}", additional=f"ns.dns.{R} 5 IN A 10.96.0.53"),
    Case(name=f"ns.dns.{R}", answer=f"ns.dns.{R} 5 IN A 10.96.0.53"),
    Case(name=f"ns.dns.{R}", type="AAAA", soa=R),
    Case(name=f"dns-version.{R}", type="TXT", answer=f'dns-version.{R} 28800 IN TXT "1.0.0"'),
    Case(name=f"svc.{R}", soa=R),
    Case(name=f"shop.svc.{R}", soa=R),
    Case(name=f"none.svc.{R}", rcode="NXDOMAIN", soa=R),
    Case(name=f"shop.{R}", rcode="NXDOMAIN", soa=R),
    Case(name=f"shop.pod.{R}", rcode="NXDOMAIN", soa=R),
    Case(name="green.slice.local.", type="SOA", asker=BOTH, answer=soa("green.slice.local.", 30)),
    Case(name="local.", asker=BOTH, rcode="REFUSED"),
    Case(name=".", type="NS", rcode="REFUSED"),
    Case(name="example.com.", rcode="REFUSED"),
    Case(name="myslice.local.", rcode="REFUSED"),
]
REV = "11.10.in-addr.arpa."
REVERSE = [
    Case(
        name=f"1.1.{REV}",
        type="PTR",
        answer=f"1.1.{REV} 5 IN PTR web-1.a.{WEB}",
    ),
    Case(name=f"7.2.{REV}", type="PTR", answer=f"7.2.{REV} 5 IN PTR web-7.b.{WEB}"),
    Case(name=f"7.2.{REV}", type="A", soa=REV),
    Case(name=f"8.1.{REV}", type="PTR", answer=f"8.1.{REV} 5 IN PTR 10-11-1-8.a.db.shop.svc.{R}"),
    Case(name=f"9.9.{REV}", type="PTR", rcode="NXDOMAIN", soa=REV),
    Case(name=f"2.1.{REV}", type="PTR", rcode="NXDOMAIN", soa=REV),
    Case(name=f"1.{REV}", type="PTR", soa=REV),
    Case(name=f"200.{REV}", type="PTR", rcode="NXDOMAIN", soa=REV),
    Case(name=f"x.1.1.{REV}", type="PTR", rcode="NXDOMAIN", soa=REV),
    Case(name=f"01.1.{REV}", type="PTR", rcode="NXDOMAIN", soa=REV),
    Case(name=f"256.1.{REV}", type="PTR", rcode="NXDOMAIN", soa=REV),
    Case(name=REV, type="SOA", answer=soa(REV, 5, "slice.local.")),
    Case(name=REV, type="NS", answer=f"{REV} 5 IN NS ns.dns.{R}"),
    Case(name="10.in-addr.arpa.", type="PTR", rcode="REFUSED"),
    Case(name="8.8.8.8.in-addr.arpa.", type="PTR", rcode="REFUSED"),
    Case(name="in-addr.arpa.", type="SOA", rcode="REFUSED"),
    Case(name="4.17.33.10.in-addr.arpa.", type="PTR", rcode="REFUSED"),
    Case(
        name="4.17.33.10.in-addr.arpa.",
        type="PTR",
        asker=BOTH,
        answer="""
            4.17.33.10.in-addr.arpa. 30 IN PTR green-1.b.only-green.shop.svc.green.slice.local.
            4.17.33.10.in-addr.arpa. 30 IN PTR green-1.b.web.shop.svc.green.slice.local.
        """,
    ),
    Case(
        name="5.17.33.10.in-addr.arpa.",
        type="PTR",
        asker=BOTH,
        rcode="NXDOMAIN",
        soa="17.33.10.in-addr.arpa.",
        ttl_s=30,
    ),
    Case(name="5.32.33.10.in-addr.arpa.", type="PTR", asker=BOTH, rcode="REFUSED"),
    Case(name=f"1.1.{REV}", type="PTR", asker=NOBODY, rcode="REFUSED"),
    Case(
        name="1.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.1.0.0.0.0.d.f.ip6.arpa.",
        type="PTR",
        rcode="NOERROR",
        answer=f"1.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.1.0.0.0.0.d.f.ip6.arpa. 5 IN PTR web-1.a.{WEB}",
    ),
    Case(name="0.0.0.0.0.0.0.0.1.1.0.0.0.0.d.f.ip6.arpa.", type="PTR", soa="0.0.0.0.1.1.0.0.0.0.d.f.ip6.arpa."),
    Case(
        name="8.0.0.0.0.0.0.0.1.1.0.0.0.0.d.f.ip6.arpa.",
        type="PTR",
        rcode="NXDOMAIN",
        soa="0.0.0.0.1.1.0.0.0.0.d.f.ip6.arpa.",
    ),
    Case(name="1.0.0.2.ip6.arpa.", type="PTR", rcode="REFUSED"),
]


def check(at: Desk, case: Case) -> None:
    """Asserts the whole answer, section by section."""
    answer = ask(at, case.name, case.type, asker=case.asker)
    home = "slice.local." if case.soa.endswith(".arpa.") else ""
    authority = [soa(case.soa, case.ttl_s, home)] if case.soa else []

    assert dns.rcode.to_text(answer.rcode()) == case.rcode
    assert lines(answer.answer) == text(case.answer)
    assert lines(answer.authority) == authority
    assert lines(answer.additional) == text(case.additional)


@pytest.mark.parametrize("case", SERVICES, ids=str)
def test_services(case: Case) -> None:
    """A service's name has the addresses of its ready pods; without ready pods it does not exist."""
    check(desk(), case)


@pytest.mark.parametrize("case", PODS, ids=str)
def test_pods(case: Case) -> None:
    """A pod has a name below its cluster and service; the cluster's name alone must not exist (KEP-1645)."""
    check(desk(), case)


@pytest.mark.parametrize("case", SRV, ids=str)
def test_srv(case: Case) -> None:
    """Named ports have SRV records, hosts x ports, weights split evenly, with the hosts' addresses beside them."""
    check(desk(), case)


@pytest.mark.parametrize("case", SHORT, ids=str)
def test_form_without_a_slice(case: Case) -> None:
    """Without a slice's name the first of the asker's slices, by name, that exports the service answers."""
    check(desk(), case)


@pytest.mark.parametrize("case", TOPS, ids=str)
def test_tops_and_empty_non_terminals(case: Case) -> None:
    """Tops have SOA, NS and a version; names that only hold others exist without data; other domains are refused."""
    check(desk(), case)


@pytest.mark.parametrize("case", REVERSE, ids=str)
def test_reverse(case: Case) -> None:
    """Addresses in the prefixes of the asker's slices lead back to pods; all others are somebody else's."""
    check(desk(), case)


def test_pod_in_two_services_has_two_pointers() -> None:
    """An address behind two services of a slice has a PTR record for each."""
    answer = ask(desk(), "4.17.33.10.in-addr.arpa.", "PTR", asker=BOTH)

    assert len(lines(answer.answer)) == 2


def test_names_that_are_too_long_are_left_out() -> None:
    """A pod whose full name would pass 255 bytes counts as an address, and has neither SRV nor PTR records."""
    long = "x" * 63
    at = desk(
        [
            slice_(long, "10.11.0.0/16"),
            attachment(long, "me", primary=RED, address="10.11.1.1"),
            export(long, f"{long}/{long}"),
            endpoints(long, f"{long}/{long}", "a", endpoint(long, "10.11.1.2")),
        ]
    )
    name = f"{long}.{long}.svc.{long}.slice.local."

    assert lines(ask(at, name).answer) == [f"{name} 5 IN A 10.11.1.2"]
    assert ask(at, name, "SRV").rcode() == dns.rcode.NOERROR
    assert lines(ask(at, name, "SRV").answer) == []
    assert ask(at, "2.1.11.10.in-addr.arpa.", "PTR").rcode() == dns.rcode.NOERROR
