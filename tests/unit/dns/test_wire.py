"""The message format's rules: flags, sizes, EDNS, and what is refused with which code."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from slicer.model.documents import Document
from slicer_dns.answers import RRSET_LIMIT
from slicer_dns.message import TCP_LIMIT
from slicer_dns.requests import UDP_PAYLOAD
from tests.unit.dns.world import NOBODY, RED, ask, attachment, desk, endpoint, endpoints, export, lines, slice_

WEB = "web.shop.svc.red.slice.local."


def raw(flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0), body: bytes | None = None) -> bytes:
    """A message by hand; the body is a question for WEB unless given."""
    question = dns.message.make_query(WEB, "A").to_wire()[12:] if body is None else body
    return struct.pack("!HHHHHH", 0xBEEF, flags, *counts) + question


def opt(payload: int = 4096, ttl: int = 0, data: bytes = b"", owner: bytes = b"\0") -> bytes:
    """An OPT record by hand."""
    return owner + struct.pack("!HHIH", 41, payload, ttl, len(data)) + data


def rcode_of(packet: bytes, asker: str = RED) -> str:
    """The code that a packet gets; also checks id and QR."""
    reply = desk().answer_udp(packet, asker)
    assert reply is not None
    answer = dns.message.from_wire(reply)
    assert answer.id == int.from_bytes(packet[:2], "big")
    assert answer.flags & dns.flags.QR
    return dns.rcode.to_text(answer.rcode())


def big(hosts: int, name: str = "p") -> list[Document]:
    """A slice with one service of many hosts."""
    found = [endpoint(f"{name}-{n}", f"10.11.{n // 250}.{n % 250 + 1}") for n in range(hosts)]
    return [
        slice_("red", "10.11.0.0/16"),
        attachment("red", "me", primary=RED, address="10.11.200.1"),
        export("red", "shop/web"),
        endpoints("red", "shop/web", "a", *found),
    ]


def test_answers_are_authoritative_and_not_recursive() -> None:
    """AA is set, RA is not, RD comes back as it was sent (RFC 1035, 4.1.1)."""
    answer = ask(desk(), WEB)

    assert answer.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD


def test_unknown_flags_are_cleared() -> None:
    """Z, AD and CD do not come back: they would say something that we do not mean."""
    reply = desk().answer_udp(raw(flags=0x0070), RED)

    assert reply is not None
    assert reply[2:4] == b"\x84\x00"


def test_refused_is_not_authoritative() -> None:
    """A name outside our zones is REFUSED without AA."""
    answer = ask(desk(), "example.com.")

    assert (answer.rcode(), bool(answer.flags & dns.flags.AA)) == (dns.rcode.REFUSED, False)


def test_letter_case_comes_back() -> None:
    """Question and owner names have the letters as they were sent (RFC 4343); the name found is the same."""
    answer = ask(desk(), "wEb.SHOP.svc.Red.Slice.LOCAL.")

    assert str(answer.question[0].name) == "wEb.SHOP.svc.Red.Slice.LOCAL."
    assert {str(rrset.name) for rrset in answer.answer} == {"wEb.SHOP.svc.Red.Slice.LOCAL."}
    assert len(lines(answer.answer)) == 2


def test_only_ascii_letters_have_case() -> None:
    """A label that only a Unicode lower() would make ours is another name (RFC 4343, 3)."""
    body = b"\x03WE\xc2" + dns.message.make_query(WEB, "A").to_wire()[16:]

    assert rcode_of(raw(body=body)) == "NXDOMAIN"


def test_names_are_compressed() -> None:
    """Owners are pointers to the question, not copies of it (RFC 1035, 4.1.4)."""
    reply = desk().answer_udp(raw(), RED)

    assert reply is not None
    assert reply.count(b"\x03web\x04shop") == 1


def test_big_answers_are_truncated_without_edns() -> None:
    """What does not fit 512 bytes is not sent in part: TC, no records (RFC 1035, 4.2.1)."""
    answer = ask(desk(big(40)), WEB, use_edns=False)

    assert answer.flags & dns.flags.TC
    assert answer.answer == []


def test_edns_size_decides() -> None:
    """The asker's EDNS size is used, up to ours; TC answers keep their OPT record (RFC 6891, 6.2.3 and 7)."""
    fits = ask(desk(big(40)), WEB, use_edns=0, payload=1232)
    small = ask(desk(big(40)), WEB, use_edns=0, payload=100)
    huge = ask(desk(big(200)), WEB, use_edns=0, payload=65535)

    assert (len(fits.answer[0]), bool(fits.flags & dns.flags.TC)) == (40, False)
    assert (small.answer, bool(small.flags & dns.flags.TC), small.edns) == ([], True, 0)
    assert (huge.answer, bool(huge.flags & dns.flags.TC)) == ([], True)


def test_additional_records_are_dropped_without_tc() -> None:
    """Addresses beside SRV records are extra information: dropping them truncates nothing (RFC 2181, 9)."""
    answer = ask(desk(big(8)), f"_http._tcp.{WEB}", "SRV", use_edns=0, payload=600)

    assert len(answer.answer[0]) == 8
    assert (answer.additional, bool(answer.flags & dns.flags.TC)) == ([], False)


@pytest.mark.parametrize("type_", ["A", "SRV"])
def test_tcp_answers_are_whole_and_bounded(type_: str) -> None:
    """Over TCP at most RRSET_LIMIT records come, of more hosts others each time, and dnspython reads all of them."""
    at = desk(big(600))
    query = dns.message.make_query(WEB if type_ == "A" else f"_http._tcp.{WEB}", type_)
    replies = [at.answer_tcp(query.to_wire(), RED) for _ in range(12)]
    answers = [dns.message.from_wire(reply) for reply in replies if reply is not None]
    seen = {str(item) for answer in answers for item in answer.answer[0]}

    assert all(len(reply) <= TCP_LIMIT for reply in replies if reply is not None)
    assert [len(answer.answer[0]) for answer in answers] == [RRSET_LIMIT] * 12
    assert len(seen) == 600


def test_long_srv_answers_are_readable() -> None:
    """Pointers stay within the 14 bits that they have: every name in a long answer decodes to one of ours."""
    at = desk(big(200, "a-pod-with-a-long-name"))
    reply = at.answer_tcp(dns.message.make_query(f"_http._tcp.{WEB}", "SRV").to_wire(), RED)
    assert reply is not None
    answer = dns.message.from_wire(reply)

    assert len(reply) > 16384
    assert {str(rrset.name) for rrset in answer.additional} == {str(item.target) for item in answer.answer[0]}


def test_opt_is_answered_with_opt() -> None:
    """A request with OPT gets OPT with our size and its DO bit, one without none (RFC 6891, 6.1.1; RFC 3225, 3)."""
    with_do = ask(desk(), WEB, use_edns=0, want_dnssec=True)
    without = ask(desk(), WEB, use_edns=False)

    assert (with_do.edns, with_do.payload, with_do.ednsflags) == (0, UDP_PAYLOAD, dns.flags.DO)
    assert without.edns == -1


def test_unknown_options_are_ignored() -> None:
    """Options that we do not know change nothing and do not come back (RFC 6891, 6.1.2)."""
    option = dns.edns.GenericOption(65001, b"whatever")
    answer = ask(desk(), WEB, use_edns=0, options=[option])

    assert (answer.rcode(), answer.options) == (dns.rcode.NOERROR, ())


def test_later_edns_versions_get_badvers() -> None:
    """RFC 6891, 6.1.3: BADVERS, with the version that we have, and no records."""
    answer = ask(desk(), WEB, use_edns=1)

    assert (answer.rcode(), answer.edns, answer.answer) == (dns.rcode.BADVERS, 0, [])


def test_subnet_option_comes_back_from_trusted_resolvers_only() -> None:
    """The client subnet is believed from, and answered to, trusted sources; elsewhere it is an unknown option."""
    subnet = dns.edns.ECSOption(RED, 32)
    trusted = ask(desk(trusted=(f"{NOBODY}/32",)), WEB, asker=NOBODY, options=[subnet])
    stranger = ask(desk(), WEB, asker=NOBODY, options=[subnet])

    assert len(lines(trusted.answer)) == 2
    assert trusted.options == (dns.edns.ECSOption(RED, 32, 32),)
    assert (stranger.rcode(), stranger.options) == (dns.rcode.NXDOMAIN, ())


CODES = {
    "no question": (raw(counts=(0, 0, 0, 0), body=b""), "FORMERR"),
    "two questions": (raw(counts=(2, 0, 0, 0)), "FORMERR"),
    "question missing": (raw(body=b""), "FORMERR"),
    "name without end": (raw(body=b"\x03web"), "FORMERR"),
    "type and class missing": (raw(body=b"\x03web\0"), "FORMERR"),
    "pointer in the question": (raw(body=b"\xc0\x0c\0\1\0\1"), "FORMERR"),
    "label of 64 bytes": (raw(body=b"\x40" + b"x" * 64 + b"\0\0\1\0\1"), "FORMERR"),
    "name of 256 bytes": (raw(body=(b"\x3f" + b"x" * 63) * 4 + b"\0\0\1\0\1"), "FORMERR"),
    "bytes after the message": (raw() + b"\0", "FORMERR"),
    "record missing": (raw(counts=(1, 0, 0, 1)), "FORMERR"),
    "record cut": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\1\0\2xx")[:-1], "FORMERR"),
    "option cut": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\1\0\3xx"), "FORMERR"),
    "two OPT": (raw(counts=(1, 0, 0, 2)) + opt() + opt(), "FORMERR"),
    "OPT not at the root": (raw(counts=(1, 0, 0, 1)) + opt(owner=b"\1x\0"), "FORMERR"),
    "OPT asked for": (raw(body=b"\0\0\x29\0\1"), "FORMERR"),
    "subnet longer than an address": (
        raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\x08\0\x09\0\1\x28\0" + b"\1" * 5),
        "FORMERR",
    ),
    "subnet with a scope": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\x08\0\x08\0\1\x20\x20" + b"\1" * 4), "FORMERR"),
    "subnet with spare bits": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\x08\0\x05\0\1\x04\0\xff"), "FORMERR"),
    "two subnets": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\x08\0\x08\0\1\x20\0\x0a\xf4\1\1" * 2), "FORMERR"),
    "subnet cut": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\x08\0\x03\0\1\x20"), "FORMERR"),
    "subnet of another family": (raw(counts=(1, 0, 0, 1)) + opt(data=b"\0\x08\0\x05\0\3\x08\0\xff"), "NOERROR"),
    "record with a pointer": (raw(counts=(1, 0, 0, 1)) + opt(owner=b"\xc0\x0c")[:-2] + b"\0\0", "FORMERR"),
    "other record beside": (raw(counts=(1, 0, 0, 1)) + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\0", "NOERROR"),
    "inverse query": (raw(flags=1 << 11), "NOTIMP"),
    "status": (raw(flags=2 << 11), "NOTIMP"),
    "notify": (raw(flags=4 << 11), "NOTIMP"),
    "update": (raw(flags=5 << 11), "NOTIMP"),
    "opcode 15": (raw(flags=15 << 11), "NOTIMP"),
    "class CHAOS": (raw(body=raw()[12:-2] + b"\0\3"), "REFUSED"),
    "class ANY": (raw(body=raw()[12:-2] + b"\0\xff"), "REFUSED"),
    "zone transfer": (raw(body=raw()[12:-4] + b"\0\xfc\0\1"), "REFUSED"),
    "incremental transfer": (raw(body=raw()[12:-4] + b"\0\xfb\0\1"), "REFUSED"),
}


@pytest.mark.parametrize("what", CODES)
def test_codes(what: str) -> None:
    """Every request that is no good question gets the code that says why."""
    packet, code = CODES[what]

    assert rcode_of(packet) == code


@pytest.mark.parametrize("packet", [b"", b"\0" * 11, raw(flags=0x8000), raw(flags=0x8000)[:12]])
def test_silence(packet: bytes) -> None:
    """Fragments of a header and responses are not answered: answering responses makes loops."""
    at = desk()

    assert at.answer_udp(packet, RED) is None
    assert at.answer_tcp(packet, RED) is None


@pytest.mark.parametrize("name", [WEB, "red.slice.local.", "dns-version.red.slice.local."])
def test_any_is_minimal(name: str) -> None:
    """ANY gets one HINFO record that says so (RFC 8482, 4.2)."""
    answer = ask(desk(), name, "ANY")

    assert lines(answer.answer) == [f'{name} 5 IN HINFO "RFC8482" ""']


def test_any_for_nothing_stays_nothing() -> None:
    """ANY does not make names: NXDOMAIN and no data as for any type."""
    unknown = ask(desk(), "none.shop.svc.red.slice.local.", "ANY")
    empty = ask(desk(), "shop.svc.red.slice.local.", "ANY")

    assert (unknown.rcode(), unknown.answer) == (dns.rcode.NXDOMAIN, [])
    assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])


def test_faults_of_ours_are_servfail() -> None:
    """When working out an answer fails, who waits gets SERVFAIL, and responses still get nothing."""
    at = desk()

    assert at.give_up(raw(flags=0x0100)) == struct.pack("!HHHHHH", 0xBEEF, 0x8102, 0, 0, 0, 0)
    assert at.give_up(raw(flags=0x8000)) is None
