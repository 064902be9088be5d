"""From packet to packet: who asks, what is answered, and the answers kept as bytes. No sockets.

One `Desk` a serving loop: loops share the zones (immutable) and nothing else. A new snapshot means a new desk, so kept
answers die with the snapshot that they came from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, repeat

from slicer.model.names import Address, Prefix
from slicer.plan.zones import NOBODY
from slicer_dns.answers import Answer, Rcode, Type
from slicer_dns.lookup import REFUSED, Zones, answer
from slicer_dns.message import TCP_LIMIT, udp_limit, write_answer, write_error
from slicer_dns.requests import CLASS_IN, Request, RequestError, expects_answer, read_request

KEPT_BYTES = 8 << 20
"""Bytes of questions and answers that one desk keeps; when they are full all are thrown away."""
KEPT_QUESTION = 512
"""Longest question that is worth keeping: longer ones carry padding or cookies and rarely come again."""
HOSTS_LIMIT = 16384
"""Askers' addresses remembered; more than a node has pods, and bounded when sources are forged."""
ENTRY_BYTES = 400
"""About what Python needs for one kept answer beside its bytes."""
TURNING_BYTES = 2500
"""The same while some of an answer's orders are not written yet: the question, and what writes them."""
RECORD_BYTES = 150
"""About what one record needs while some of an answer's orders are not written yet."""

Kept = dict[bytes, Iterator[bytes]]
"""Question after its ID → answers after the ID, for ever, one turn after the other."""


@dataclass(slots=True)
class Counts:
    """What one serving loop has done since it started. Written by its loop only."""

    requests: int = 0
    """Messages over TCP, and datagrams that kept bytes did not answer."""
    kept: int = 0
    """Datagrams that kept bytes answered."""
    ignored: int = 0
    failed: int = 0
    """Answers that the kernel would not send."""
    by_rcode: dict[str, int] = field(default_factory=lambda: {rcode.name: 0 for rcode in Rcode})
    """Answers that were worked out (not kept ones), by code."""


class Desk:
    """Answers packets from one state of the zones."""

    __slots__ = ("_counts", "_kept_bytes", "_rooms", "_trusted", "_turn", "hot", "zones")

    def __init__(self, zones: Zones, trusted: tuple[Prefix, ...], counts: Counts) -> None:
        self.zones = zones
        self._trusted = trusted
        self._counts = counts
        self._rooms: dict[tuple[bool, frozenset[str]], Kept] = {}
        self.hot: dict[str, Kept] = {}
        """Source address as text → what is kept for its kind of asker. The loop looks here first, by itself."""
        self._kept_bytes = 0
        self._turn = 0

    def give_up(self, packet: bytes) -> bytes | None:
        """The answer when working one out failed through a fault of ours; None if nobody waits for one."""
        self._counts.failed += 1
        return write_error(packet, Rcode.SERVFAIL) if expects_answer(packet) else None

    def answer_udp(self, packet: bytes, host: str) -> bytes | None:
        """The answer to a datagram from `host`; None if nobody waits for one."""
        self._counts.requests += 1
        if not expects_answer(packet):
            self._counts.ignored += 1
            return None
        room = self.hot.get(host)
        if room is None:
            room = self._admit(host)
        try:
            request, slices, scope = self._read(packet, host)
        except RequestError as error:
            return self._refuse(packet, error)
        said = self._decide(request, slices)
        limit = udp_limit(request.edns)
        if said is REFUSED or len(packet) > KEPT_QUESTION:
            return write_answer(request, said, 0, limit, scope)
        replies, size = self._replies(request, said, limit, scope)
        return packet[:2] + self._store(room, packet[2:], replies, size)

    def _replies(self, request: Request, said: Answer, limit: int, scope: int | None) -> tuple[Iterator[bytes], int]:
        """The answers after the ID, for ever; and about how many bytes they take beside their own."""
        if said.turns() == 1:
            return repeat(self._keep(write_answer(request, said, 0, limit, scope)[2:])), ENTRY_BYTES
        # Each order is written when its turn comes for the first time.
        turns = (self._keep(write_answer(request, said, turn, limit, scope)[2:]) for turn in range(said.turns()))
        return cycle(turns), TURNING_BYTES + RECORD_BYTES * (len(said.records) + len(said.additional))

    def answer_tcp(self, packet: bytes, host: str) -> bytes | None:
        """The answer to a message from `host` over TCP; None if nobody waits for one."""
        self._counts.requests += 1
        if not expects_answer(packet):
            self._counts.ignored += 1
            return None
        try:
            request, slices, scope = self._read(packet, host)
        except RequestError as error:
            return self._refuse(packet, error)
        self._turn += 1
        return write_answer(request, self._decide(request, slices), self._turn, TCP_LIMIT, scope)

    def _read(self, packet: bytes, host: str) -> tuple[Request, frozenset[str], int | None]:
        """The request, the slices of whoever asks, and the scope to tell a resolver that asks for somebody."""
        request = read_request(packet)
        trusted, slices = self._kind(host)
        if not trusted or request.edns is None or request.edns.subnet is None:
            return request, slices, None
        subnet = request.edns.subnet
        asker = subnet.whole()
        return request, self._slices_of(asker) if asker else NOBODY, subnet.source_length

    def _decide(self, request: Request, slices: frozenset[str]) -> Answer:
        said = self._judge(request, slices)
        self._counts.by_rcode[said.rcode.name] += 1
        return said

    def _judge(self, request: Request, slices: frozenset[str]) -> Answer:
        # RFC 6891, 6.1.3: "If a responder does not implement the VERSION level of the request, then it MUST respond
        # with RCODE=BADVERS."
        if request.edns is not None and request.edns.version != 0:
            return Answer(rcode=Rcode.BADVERS)
        # RFC 6891, 6.1.1: OPT is a pseudo-RR: nobody can ask for one.
        if request.type == Type.OPT:
            return Answer(rcode=Rcode.FORMERR)
        if request.class_ != CLASS_IN:
            return REFUSED
        return answer(self.zones, slices, request.name(), request.type)

    def _refuse(self, packet: bytes, error: RequestError) -> bytes:
        self._counts.by_rcode[error.rcode.name] += 1
        return write_error(packet, error.rcode)

    def _kind(self, host: str) -> tuple[bool, frozenset[str]]:
        """Whether a resolver's word on its askers is taken from `host`, and the slices of `host` itself."""
        address = ipaddress.ip_address(host.partition("%")[0])
        return self._is_trusted(address), self._slices_of(address)

    def _is_trusted(self, address: Address) -> bool:
        """The cluster's DNS as its member knows it now, or what the command line says."""
        known = self.zones.snapshot.resolvers if self.zones.snapshot else ()
        return address in known or any(address in prefix for prefix in self._trusted)

    def _slices_of(self, address: Address) -> frozenset[str]:
        return self.zones.snapshot.slices_of(address) if self.zones.snapshot else NOBODY

    def _admit(self, host: str) -> Kept:
        """What is kept for askers like `host`: equal slices and equal trust get equal answers to equal bytes."""
        if len(self.hot) >= HOSTS_LIMIT:
            self.hot.clear()
        room = self.hot[host] = self._rooms.setdefault(self._kind(host), {})
        return room

    def _keep(self, reply: bytes) -> bytes:
        self._kept_bytes += len(reply)
        return reply

    def _store(self, room: Kept, question: bytes, replies: Iterator[bytes], size: int) -> bytes:
        self._kept_bytes += len(question) + size
        if self._kept_bytes > KEPT_BYTES:
            for each in self._rooms.values():
                each.clear()
            self._kept_bytes = len(question) + size
        room[question] = replies
        return next(replies)
