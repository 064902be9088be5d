"""Who may know a name: members of its slice. For everybody else the slice is one that does not exist."""

from __future__ import annotations

import ipaddress

import dns.edns
import dns.message
import dns.rcode
import pytest

from slicer.model.attachments import AttachmentState
from slicer.model.clusters import Resolvers
from slicer_dns.answering import Counts, Desk
from slicer_dns.lookup import Zones
from tests.unit.dns.world import BLUE, BOTH, NOBODY, RED, ask, attachment, desk, lines, world

NAMES = [
    ("{}.slice.local.", "SOA"),
    ("{}.slice.local.", "NS"),
    ("{}.slice.local.", "ANY"),
    ("dns-version.{}.slice.local.", "TXT"),
    ("svc.{}.slice.local.", "A"),
    ("shop.svc.{}.slice.local.", "A"),
    ("web.shop.svc.{}.slice.local.", "A"),
    ("web.shop.svc.{}.slice.local.", "AAAA"),
    ("web.shop.svc.{}.slice.local.", "SRV"),
    ("_http._tcp.web.shop.svc.{}.slice.local.", "SRV"),
    ("web-1.a.web.shop.svc.{}.slice.local.", "A"),
    ("ns.dns.{}.slice.local.", "A"),
]


@pytest.mark.parametrize(("name", "type_"), NAMES)
@pytest.mark.parametrize("asker", [NOBODY, BLUE, "10.11.1.1", "2001:db8::1"])
def test_others_hear_what_unknown_slices_hear(name: str, type_: str, asker: str) -> None:
    """The answer about `red` to a stranger differs from that about a slice that never was in the question only."""
    at = desk()
    real = dns.message.make_query(name.format("red"), type_, id=1).to_wire()
    never = dns.message.make_query(name.format("rad"), type_, id=1).to_wire()
    about_real, about_never = at.answer_udp(real, asker), at.answer_udp(never, asker)
    assert about_real is not None
    assert about_never is not None

    assert dns.message.from_wire(about_real).rcode() == dns.rcode.NXDOMAIN
    assert about_real.replace(b"\x03red", b"\x03rad") == about_never


@pytest.mark.parametrize("asker", [NOBODY, "10.11.1.1"])
def test_strangers_hear_refused_for_reverse_names(asker: str) -> None:
    """Addresses of a slice lead nowhere for those outside it, whether a pod holds them or not."""
    held = ask(desk(), "1.1.11.10.in-addr.arpa.", "PTR", asker=asker)
    free = ask(desk(), "9.9.11.10.in-addr.arpa.", "PTR", asker=asker)

    assert (held.rcode(), free.rcode()) == (dns.rcode.REFUSED, dns.rcode.REFUSED)


def test_slices_with_one_prefix_do_not_mix() -> None:
    """The same reverse name leads members of each slice to their own pods."""
    red = ask(desk(), "1.1.11.10.in-addr.arpa.", "PTR", asker=RED)
    blue = ask(desk(), "1.1.11.10.in-addr.arpa.", "PTR", asker=BLUE)

    assert [line.split()[-1] for line in lines(red.answer)] == ["web-1.a.web.shop.svc.red.slice.local."]
    assert [line.split()[-1] for line in lines(blue.answer)] == ["web-1.a.web.shop.svc.blue.slice.local."]


def test_short_form_answers_from_own_slices() -> None:
    """The same short name has another answer for members of another slice."""
    red = ask(desk(), "web.shop.svc.slice.local.", asker=RED)
    blue = ask(desk(), "web.shop.svc.slice.local.", asker=BLUE)

    assert len(lines(red.answer)) == 2
    assert [line.split()[-1] for line in lines(blue.answer)] == ["10.11.1.1"]


def test_slice_addresses_are_askers_too() -> None:
    """A question that comes over the overlay is its pod's: by the slice address, if one pod only holds that."""
    own = ask(desk(), "web.shop.svc.green.slice.local.", asker="10.33.16.3")
    also = ask(desk(), "web.shop.svc.red.slice.local.", asker="10.11.1.3")

    assert own.rcode() == dns.rcode.NOERROR
    assert also.rcode() == dns.rcode.NOERROR


def test_address_of_two_pods_is_nobodys() -> None:
    """10.11.1.1 is held in red and in blue: who asks from it cannot be told apart, so it hears nothing of either."""
    for name in ("red", "blue"):
        answer = ask(desk(), f"web.shop.svc.{name}.slice.local.", asker="10.11.1.1")

        assert answer.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("state", [AttachmentState.PENDING, AttachmentState.DETACHING])
def test_only_attached_pods_are_members(state: AttachmentState) -> None:
    """A pod whose interface is not there yet, or not any more, is no member."""
    values = [*world(), attachment("red", "x", primary="10.244.1.7", address="10.11.1.7", state=state)]
    answer = ask(desk(values), "web.shop.svc.red.slice.local.", asker="10.244.1.7")

    assert answer.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("option", "rcode"),
    [
        (dns.edns.ECSOption(RED, 32), "NOERROR"),
        (dns.edns.ECSOption("fd00:10:244::1", 128), "NOERROR"),
        (dns.edns.ECSOption(BLUE, 32), "NXDOMAIN"),
        (dns.edns.ECSOption(RED, 24), "NXDOMAIN"),
        (dns.edns.ECSOption("0.0.0.0", 0), "NXDOMAIN"),
    ],
)
def test_trusted_resolvers_ask_for_others(option: dns.edns.ECSOption, rcode: str) -> None:
    """The asker is the whole address in a trusted resolver's option; a network is nobody."""
    values = [*world(), attachment("red", "six", primary="fd00:10:244::1", address="10.11.1.66")]
    at = desk(values, trusted=("192.0.2.53/32",))
    answer = ask(at, "web.shop.svc.red.slice.local.", asker="192.0.2.53", options=[option])

    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert answer.options[0].scopelen == option.srclen


def test_the_clusters_own_dns_asks_for_others() -> None:
    """Only from the addresses that the view has now: not from its neighbours, and no more when they are gone."""
    name, option = "web.shop.svc.red.slice.local.", dns.edns.ECSOption(RED, 32)
    known = Resolvers(cluster="a", addresses=(ipaddress.ip_address("10.244.0.5"), ipaddress.ip_address("fd00::5")))
    codes = {
        asker: dns.rcode.to_text(ask(desk([*world(), *values]), name, asker=asker, options=[option]).rcode())
        for values, asker in (
            ([known], "10.244.0.5"),
            ([known], "fd00::5"),
            ([known], "10.244.0.6"),
            ([], "10.244.9.9"),
        )
    }

    assert codes == {"10.244.0.5": "NOERROR", "fd00::5": "NOERROR", "10.244.0.6": "NXDOMAIN", "10.244.9.9": "NXDOMAIN"}


def test_trusted_member_with_an_option_speaks_for_the_option_only() -> None:
    """A resolver that is a member itself does not lend its membership to those that it asks for."""
    at = desk(trusted=(f"{RED}/32",))
    name = "web.shop.svc.red.slice.local."

    assert ask(at, name, asker=RED).rcode() == dns.rcode.NOERROR
    assert ask(at, name, asker=RED, options=[dns.edns.ECSOption(NOBODY, 32)]).rcode() == dns.rcode.NXDOMAIN


def test_untrusted_option_lends_nothing() -> None:
    """A stranger that claims to ask for a member is a stranger."""
    answer = ask(desk(), "web.shop.svc.red.slice.local.", asker=NOBODY, options=[dns.edns.ECSOption(RED, 32)])

    assert answer.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("name", "type_", "rcode"),
    [
        ("web.shop.svc.red.slice.local.", "A", "SERVFAIL"),
        ("none.shop.svc.red.slice.local.", "A", "SERVFAIL"),
        ("slice.local.", "SOA", "SERVFAIL"),
        ("1.1.11.10.in-addr.arpa.", "PTR", "SERVFAIL"),
        ("1.0.0.2.ip6.arpa.", "PTR", "SERVFAIL"),
        ("example.com.", "A", "REFUSED"),
    ],
)
def test_without_a_view_nothing_is_known(name: str, type_: str, rcode: str) -> None:
    """Before the first view no name of ours is said not to exist: SERVFAIL, and no SOA to cache."""
    at = Desk(Zones(snapshot=None, nameservers=(ipaddress.ip_address("10.96.0.53"),)), (), Counts())
    answer = ask(at, name, type_)

    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert (answer.answer, answer.authority) == ([], [])


def test_member_of_two_slices_sees_both() -> None:
    """A pod with two interfaces is a member of both slices, from each of its addresses."""
    for asker in (BOTH, "10.11.1.3", "10.33.16.3"):
        for name in ("red", "green"):
            answer = ask(desk(), f"web.shop.svc.{name}.slice.local.", asker=asker)

            assert answer.rcode() == dns.rcode.NOERROR
