"""Whatever bytes come: never an exception, never silence where an answer is due, never an answer that is not one."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
from hypothesis import given
from hypothesis import strategies as st

from slicer_dns.answering import Desk
from slicer_dns.requests import expects_answer
from tests.unit.dns.world import RED, desk

NAMES = (
    "web.shop.svc.red.slice.local.",
    "_http._tcp.web.shop.svc.red.slice.local.",
    "WEB-1.a.web.shop.svc.slice.local.",
    "1.1.11.10.in-addr.arpa.",
    "x.y.example.",
)
GOOD = tuple(
    dns.message.make_query(name, type_, use_edns=edns, options=options).to_wire()
    for name in NAMES
    for type_ in ("A", "SRV", "PTR", "ANY")
    for edns, options in ((False, None), (0, None), (0, [dns.edns.ECSOption(RED, 32)]))
)
AT = desk(trusted=("127.0.0.0/8",))
SOURCES = st.sampled_from((RED, "127.0.0.1", "2001:db8::1", "fe80::1%eth0"))


def check(at: Desk, packet: bytes, source: str) -> None:
    """Asserts what holds for every packet, over UDP and TCP."""
    for reply in (at.answer_udp(packet, source), at.answer_tcp(packet, source)):
        assert (reply is not None) == expects_answer(packet)
        if reply is not None:
            answer = dns.message.from_wire(reply)
            assert reply[:2] == packet[:2]
            assert answer.flags & dns.flags.QR
            assert answer.opcode() == (packet[2] >> 3 & 15)
            assert at._counts.failed == 0


@given(packet=st.binary(max_size=80), source=SOURCES)
def test_any_bytes(packet: bytes, source: str) -> None:
    """Random bytes are answered with a code or ignored."""
    check(AT, packet, source)


@given(header=st.binary(min_size=8, max_size=8), body=st.binary(max_size=300), source=SOURCES)
def test_any_bytes_after_a_query_header(header: bytes, body: bytes, source: str) -> None:
    """Random bytes behind a header that says `standard query` are answered."""
    check(AT, b"\xab\xcd\0\0" + header + body, source)


@given(
    packet=st.sampled_from(GOOD),
    changes=st.lists(st.tuples(st.integers(2, 120), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 120),
    more=st.binary(max_size=8),
    source=SOURCES,
)
def test_changed_packets(packet: bytes, changes: list[tuple[int, int]], cut: int, more: bytes, source: str) -> None:
    """Good questions with some bytes changed, cut or added are answered."""
    damaged = bytearray(packet)
    for at, value in changes:
        if at < len(damaged):
            damaged[at] = value
    check(AT, bytes(damaged[: max(0, len(damaged) - cut % 3)] + more * (cut % 2)), source)


@given(packet=st.sampled_from(GOOD), cut=st.integers(0, 120), source=SOURCES)
def test_every_beginning_of_a_packet(packet: bytes, cut: int, source: str) -> None:
    """A question that is cut anywhere behind its header is malformed, not lost."""
    check(AT, packet[:cut], source)


def test_pointers_do_not_exhaust_the_stack() -> None:
    """A message full of pointers is walked, not followed."""
    head = dns.message.make_query(NAMES[0], "A", use_edns=False).to_wire()
    pointers = b"".join((0xC000 | 12 + 2 * n).to_bytes(2, "big") for n in range(8000))
    check(AT, head[:10] + b"\xff\xff" + head[12:] + pointers, RED)


def test_many_records_are_walked_once() -> None:
    """A message of 65 535 bytes of empty records is read in one pass."""
    head = dns.message.make_query(NAMES[0], "A", use_edns=False).to_wire()
    count = (65535 - len(head)) // 11
    records = b"\0\0\1\0\1\0\0\0\0\0\0" * count
    packet = head[:10] + count.to_bytes(2, "big") + head[12:] + records
    reply = AT.answer_tcp(packet, RED)

    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.NOERROR
