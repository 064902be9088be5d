"""Kept answers: what tells them apart, how they turn, how much is kept, and when they die."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import pytest

from slicer.model.documents import Document
from slicer_dns import answering
from slicer_dns.answering import Desk
from slicer_dns.answers import Answer, Record, Type
from tests.unit.dns.world import (
    BLUE,
    NOBODY,
    RED,
    ask,
    attachment,
    desk,
    endpoint,
    endpoints,
    export,
    slice_,
)

WEB = "web.shop.svc.red.slice.local."


def kept(at: Desk, packet: bytes, asker: str = RED) -> bytes:
    """The next kept answer, as the UDP loop takes it; KeyError if there is none."""
    return packet[:2] + next(at.hot[asker][packet[2:]])


def spread(near: int, far: int) -> list[Document]:
    """A service with hosts in the own cluster and in another."""
    return [
        slice_("red", "10.11.0.0/16"),
        attachment("red", "me", primary=RED, address="10.11.200.1"),
        export("red", "shop/web"),
        endpoints("red", "shop/web", "a", *(endpoint(f"p-{n}", f"10.11.1.{n}") for n in range(near))),
        endpoints("red", "shop/web", "b", *(endpoint(f"p-{n}", f"10.11.2.{n}") for n in range(far))),
    ]


def test_second_time_comes_from_kept_bytes() -> None:
    """The answer to the same bytes is kept, whatever the ID, and equals the one that was worked out."""
    at = desk()
    query = dns.message.make_query(f"web-1.a.{WEB}", "A").to_wire()
    first = at.answer_udp(query, RED)
    again = kept(at, b"\x12\x34" + query[2:])

    assert first is not None
    assert again == b"\x12\x34" + first[2:]


def test_edns_flags_and_case_are_kept_apart() -> None:
    """EDNS, its DO bit, RD and letter case make other answers: none is given for another's question."""
    at = desk()
    queries = [
        dns.message.make_query(WEB, "A", use_edns=False, flags=0),
        dns.message.make_query(WEB, "A", use_edns=False),
        dns.message.make_query(WEB, "A", use_edns=0),
        dns.message.make_query(WEB, "A", use_edns=0, want_dnssec=True),
        dns.message.make_query(WEB.upper(), "A", use_edns=0),
    ]
    worked_out = [at.answer_udp(query.to_wire(), RED) for query in queries]
    answers = [dns.message.from_wire(kept(at, query.to_wire())) for query in queries]

    assert all(worked_out)
    assert all(query.is_response(answer) for query, answer in zip(queries, answers, strict=True))
    assert [answer.edns for answer in answers] == [-1, -1, 0, 0, 0]
    assert [bool(answer.ednsflags & dns.flags.DO) for answer in answers] == [False, False, False, True, False]
    assert str(answers[-1].question[0].name) == WEB.upper()


def test_askers_of_other_slices_find_nothing_kept() -> None:
    """What is kept for the askers of one set of slices is not there for another's."""
    at = desk()
    query = dns.message.make_query(WEB, "A").to_wire()
    at.answer_udp(query, RED)
    at.answer_udp(dns.message.make_query("slice.local.", "SOA").to_wire(), BLUE)

    with pytest.raises(KeyError):
        kept(at, query, BLUE)


def test_resolver_and_pod_with_the_same_slices_are_kept_apart() -> None:
    """Equal bytes have one answer for a trusted resolver, which speaks for others, and another for a pod."""
    at = desk(trusted=(f"{NOBODY}/32",))
    option = dns.message.make_query(WEB, "A", options=[dns.edns.ECSOption(BLUE, 32)])
    from_pod = ask(at, WEB, asker=RED, options=option.options)
    from_resolver = ask(at, WEB, asker=NOBODY, options=option.options)

    assert (from_pod.rcode(), from_pod.options) == (dns.rcode.NOERROR, ())
    assert (from_resolver.rcode(), len(from_resolver.options)) == (dns.rcode.NXDOMAIN, 1)


@pytest.mark.parametrize(("near", "far"), [(1, 1), (2, 3), (3, 0), (0, 4), (1, 12), (5, 7), (30, 30)])
def test_own_cluster_first_and_everyone_has_a_turn(near: int, far: int) -> None:
    """All hosts are answered, the own cluster's before the others; in each group the first place goes round."""
    at = desk(spread(near, far))
    query = dns.message.make_query(WEB, "A", use_edns=0, payload=1232).to_wire()
    first = at.answer_udp(query, RED)
    assert first is not None
    replies = [first] + [kept(at, query) for _ in range(11)]
    orders = [_in_wire_order(reply, near + far) for reply in replies]
    leaders = {order[0] for order in orders}, {order[near] for order in orders if far}

    for order in orders:
        assert sorted(order) == sorted([f"10.11.1.{n}" for n in range(near)] + [f"10.11.2.{n}" for n in range(far)])
        assert all(address.startswith("10.11.1.") for address in order[:near])
    assert len(leaders[0]) == min(near or far, 12)
    assert len(leaders[1]) == min(far, 12)


def _in_wire_order(reply: bytes, count: int) -> list[str]:
    """The addresses of an answer whose owners are pointers to the question, in the order of the wire."""
    at = 12 + reply[12:].index(b"\0") + 5
    return [".".join(map(str, reply[at + 16 * n + 12 : at + 16 * n + 16])) for n in range(count)]


def test_srv_records_turn_as_hosts_do() -> None:
    """SRV records of the own cluster come first as well."""
    at = desk(spread(2, 2))
    reply = at.answer_udp(dns.message.make_query(WEB, "SRV").to_wire(), RED)
    assert reply is not None
    targets = [reply.index(label) for label in (b"\x03p-0\x01a", b"\x03p-1\x01a", b"\x03p-0\x01b", b"\x03p-1\x01b")]

    assert max(targets[:2]) < min(targets[2:])


def test_turns_are_even() -> None:
    """Over the turns of an answer each record of a small group leads equally often."""
    records = tuple(Record(("x",), Type.TXT, 5, str(n)) for n in range(5))
    answer = Answer(records=records, local=2)
    turned = [answer.turned(turn) for turn in range(answer.turns())]

    assert answer.turns() == 6
    assert [order[0].data for order in turned] == ["0", "1"] * 3
    assert [order[2].data for order in turned] == ["2", "3", "4"] * 2


def test_kept_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bound is reached all kept answers go, and answering goes on."""
    monkeypatch.setattr(answering, "KEPT_BYTES", 20_000)
    at = desk()
    most = 0
    for number in range(500):
        answer = ask(at, f"n{number}.shop.svc.red.slice.local.")
        most = max(most, len(at.hot[RED]))

        assert answer.rcode() == dns.rcode.NXDOMAIN
    assert 5 < most < 50


def test_long_questions_are_not_kept() -> None:
    """Questions that carry padding are answered and forgotten."""
    at = desk()
    padded = dns.message.make_query(WEB, "A", use_edns=0, pad=600).to_wire()
    reply = at.answer_udp(padded, RED)

    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.NOERROR
    assert at.hot[RED] == {}


def test_many_sources_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged source addresses do not fill the memory."""
    monkeypatch.setattr(answering, "HOSTS_LIMIT", 10)
    at = desk()
    for number in range(100):
        ask(at, WEB, asker=f"192.0.2.{number}")

    assert len(at.hot) <= 10


def test_refusals_are_not_kept() -> None:
    """Names outside our zones are worked out each time: nobody fills the memory with the whole world's names."""
    at = desk()
    ask(at, "example.com.")

    assert at.hot[RED] == {}


def test_counts_tell_what_was_done() -> None:
    """Each packet is counted once, with the code of its answer."""
    at = desk()
    ask(at, WEB)
    ask(at, "example.com.")
    at.answer_udp(b"", RED)
    at.answer_udp(struct.pack("!HHHHHH", 1, 0, 0, 0, 0, 0), RED)
    codes = at._counts.by_rcode

    assert (at._counts.requests, at._counts.ignored) == (4, 1)
    assert {code: number for code, number in codes.items() if number} == {"NOERROR": 1, "REFUSED": 1, "FORMERR": 1}
