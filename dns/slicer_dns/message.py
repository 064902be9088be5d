"""Answers as bytes, packed with dnslib; size limits and truncation."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import dnslib

from slicer_dns.answers import Answer, Rcode, Record, Soa, Srv, Type
from slicer_dns.names import Labels
from slicer_dns.requests import CLASS_IN, CLIENT_SUBNET, HEADER, OPCODE, QR, RD, TC, UDP_PAYLOAD, Edns, Request

AA = 0x0400
TCP_LIMIT = 65535
POINTER_LIMIT = 0x4000
"""RFC 1035, 4.1.4: a pointer's OFFSET has 14 bits."""


def udp_limit(edns: Edns | None) -> int:
    """Bytes that the asker takes in one datagram, at most what we send in one.

    RFC 1035, 4.2.1: "Messages carried by UDP are restricted to 512 bytes". RFC 6891, 6.2.3: "Values lower than 512
    MUST be treated as equal to 512."
    """
    return 512 if edns is None else max(512, min(edns.payload, UDP_PAYLOAD))


def write_error(packet: bytes, rcode: Rcode) -> bytes:
    """The answer to a request that could not be read: nothing but a header, with the id and opcode as they came."""
    id_, flags = struct.unpack_from("!HH", packet)
    return HEADER.pack(id_, QR | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0)


def write_answer(request: Request, answer: Answer, turn: int, limit: int, scope: int | None = None) -> bytes:
    """The whole answer, in at most `limit` bytes, with the records in the order of `turn`.

    `scope`: SCOPE PREFIX-LENGTH of the client subnet that was used; None if none was.
    """
    records = answer.turned(turn)
    opt = _write_opt(request.edns, answer.rcode, scope)
    for sections in ((records, answer.authority, answer.additional), (records, answer.authority, ())):
        message = _write(request, answer.rcode, sections, opt, 0)
        if len(message) <= limit:
            # RFC 2181, 9: "The TC bit should not be set merely because some extra information could have been
            # included".
            return message
    # RFC 2181, 9: TC is set "when an RRSet that is required as a part of the response could not be … included".
    return _write(request, answer.rcode, ((), (), ()), opt, TC)


def _write(
    request: Request, rcode: Rcode, sections: tuple[tuple[Record, ...], ...], opt: bytes, truncated: int
) -> bytes:
    # AA: we are an authority for every name that we answer at all. RA stays 0: we recurse for nobody.
    # RFC 1035, 4.1.1: RD "may be set in a query and is copied into the response".
    authoritative = AA if rcode in (Rcode.NOERROR, Rcode.NXDOMAIN) else 0
    flags = QR | authoritative | truncated | request.flags & RD | rcode & 0xF
    counts = (len(sections[0]), len(sections[1]), len(sections[2]) + bool(opt))
    buffer = dnslib.DNSBuffer()
    buffer.append(HEADER.pack(request.id, flags, 1, *counts))
    buffer.append(request.question)
    _remember(buffer, request.labels)
    asked = request.name()
    for section in sections:
        for record in section:
            _write_record(buffer, record, request.labels if record.owner == asked else _bytes(record.owner))
    buffer.append(opt)
    return bytes(buffer.data)


def _remember(buffer: Any, labels: tuple[bytes, ...]) -> None:
    """Lets later names point into the question, whose bytes were copied as they came."""
    at = HEADER.size
    for index, label in enumerate(labels):
        buffer.names[labels[index:]] = at
        at += 1 + len(label)


def _write_record(buffer: Any, record: Record, owner: Iterable[bytes]) -> None:
    data = _data(record)
    dnslib.RR(dnslib.DNSLabel(tuple(owner)), int(record.type), CLASS_IN, record.ttl_s, data).pack(buffer)
    if buffer.offset > POINTER_LIMIT:
        # dnslib would make pointers to names further on, which do not fit.
        buffer.names = {name: at for name, at in buffer.names.items() if at < POINTER_LIMIT}


def _data(record: Record) -> Any:
    match record.type, record.data:
        case (Type.A, address):
            return dnslib.A(tuple(address.packed))  # type: ignore[union-attr]
        case (Type.AAAA, address):
            return dnslib.AAAA(tuple(address.packed))  # type: ignore[union-attr]
        case (_, Srv() as srv):
            return dnslib.SRV(srv.priority, srv.weight, srv.port, _label(srv.target))
        case (_, Soa() as soa):
            times = (soa.serial, soa.refresh_s, soa.retry_s, soa.expire_s, soa.minimum_s)
            return dnslib.SOA(_label(soa.primary), _label(soa.mailbox), times)
        case (Type.HINFO, str() as cpu):
            return dnslib.RD(bytes((len(cpu),)) + cpu.encode() + b"\0")
        case (_, str() as text):
            return dnslib.TXT(text)
        case (Type.NS, name):
            return dnslib.NS(_label(name))  # type: ignore[arg-type]
        case (_, name):
            return dnslib.PTR(_label(name))  # type: ignore[arg-type]


def _label(name: Labels) -> Any:
    return dnslib.DNSLabel(_bytes(name))


def _bytes(name: Labels) -> tuple[bytes, ...]:
    return tuple(label.encode("latin-1") for label in name)


def _write_opt(edns: Edns | None, rcode: Rcode, scope: int | None) -> bytes:
    """The OPT record of the answer; nothing if the request had none.

    RFC 6891, 6.1.1: "If an OPT record is present in a received request, compliant responders MUST include an OPT
    record in their respective responses." RFC 3225, 3: "the DO bit of the query MUST be copied in the response."
    """
    if edns is None:
        return b""
    options = b""
    if edns.subnet is not None and scope is not None:
        # RFC 7871, 7.2.1: FAMILY, SOURCE PREFIX-LENGTH and ADDRESS "MUST match those in the query".
        kept = (edns.subnet.source_length + 7) // 8
        address = edns.subnet.address.packed[:kept]
        family = 1 if edns.subnet.address.version == 4 else 2
        options = struct.pack("!HHHBB", CLIENT_SUBNET, 4 + kept, family, edns.subnet.source_length, scope) + address
    ttl = rcode >> 4 << 24 | edns.dnssec_ok << 15
    return b"\0" + struct.pack("!HHIH", Type.OPT, UDP_PAYLOAD, ttl, len(options)) + options
