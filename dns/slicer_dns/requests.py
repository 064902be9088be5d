"""A DNS request as a value, read strictly from any bytes whatever.

Reading is ours: dnslib's reader follows pointers by recursion (a packet of pointers exhausts the stack), takes labels
of more than 63 bytes and refuses binary ones. Writing (`slicer_dns.message`) is dnslib's.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from slicer.model.names import Address
from slicer_dns.answers import Rcode, Type
from slicer_dns.names import Labels

HEADER = struct.Struct("!HHHHHH")
QR, OPCODE, TC, RD = 0x8000, 0x7800, 0x0200, 0x0100
CLASS_IN = 1
CLIENT_SUBNET = 8
"""EDNS option code (RFC 7871, 6)."""
UDP_PAYLOAD = 1232
"""Bytes that we take and send in one datagram with EDNS: unfragmented on any path (the DNS flag day 2020's number)."""


class RequestError(Exception):
    """The bytes are a request, and what it deserves is `rcode` and nothing else."""

    def __init__(self, rcode: Rcode, why: str) -> None:
        super().__init__(why)
        self.rcode = rcode


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSubnet:
    """EDNS client subnet: on whose behalf a resolver asks."""

    address: Address
    source_length: int

    def whole(self) -> Address | None:
        """The one address, if the option names exactly one."""
        return self.address if self.source_length == self.address.max_prefixlen else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edns:
    """What the OPT record of a request says."""

    payload: int
    version: int
    dnssec_ok: bool
    subnet: ClientSubnet | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One well-formed question."""

    id: int
    flags: int
    question: bytes
    """The question section as it came, for the answer: letter case and all."""
    labels: tuple[bytes, ...]
    type: int
    class_: int
    edns: Edns | None = None

    def name(self) -> Labels:
        """The name asked for, in lower case. RFC 4343, 3: only ASCII letters have case; bytes.lower() knows no
        others.
        """
        return tuple(label.lower().decode("latin-1") for label in self.labels)


def expects_answer(packet: bytes) -> bool:
    """Whether anybody waits for an answer to `packet`: it has a whole header, and is no response itself.

    RFC 1035, 4.1.1: QR "specifies whether this message is a query (0), or a response (1)". Answering responses makes
    loops.
    """
    return len(packet) >= HEADER.size and not packet[2] & 0x80


def read_request(packet: bytes) -> Request:
    """The request in `packet`, of which expects_answer() is true; RequestError with the code that it deserves
    instead.
    """
    id_, flags, questions, answers, authorities, additionals = HEADER.unpack_from(packet)
    # RFC 1035, 4.1.1: RCODE 4, "The name server does not support the requested kind of query."
    if flags & OPCODE:
        raise RequestError(Rcode.NOTIMP, f"opcode {(flags & OPCODE) >> 11}")
    # RFC 9619, 4: "A DNS message with OPCODE = 0 MUST NOT include a QDCOUNT parameter whose value is greater than 1 …
    # a DNS server MUST … FORMERR". Without a question there is nothing to answer either.
    if questions != 1:
        raise RequestError(Rcode.FORMERR, f"{questions} questions")
    try:
        labels, at = _read_name(packet, HEADER.size)
        type_, class_ = struct.unpack_from("!HH", packet, at)
        question = packet[HEADER.size : at + 4]
        edns = _read_records(packet, at + 4, answers + authorities, additionals)
    except (struct.error, IndexError) as error:
        raise RequestError(Rcode.FORMERR, "message ends too early") from error
    return Request(id=id_, flags=flags, question=question, labels=labels, type=type_, class_=class_, edns=edns)


def _read_name(packet: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """The labels of the first name of a message, and where it ends.

    RFC 1035, 4.1.4: a pointer leads to "a prior occurance of the same name"; before the first name there is none.
    """
    labels: list[bytes] = []
    start = at
    while length := packet[at]:
        if length > 63:
            raise RequestError(Rcode.FORMERR, f"label length byte {length:#x} in the question")
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    # RFC 1035, 2.3.4: "names 255 octets or less".
    if at + 1 - start > 255:
        raise RequestError(Rcode.FORMERR, "name longer than 255 bytes")
    return tuple(labels), at + 1


def _read_records(packet: bytes, at: int, before: int, additionals: int) -> Edns | None:
    """The OPT record, the only one in a query that means anything to us; every other must only be well-formed."""
    edns = None
    for number in range(before + additionals):
        owner = at
        at = _skip_name(packet, at)
        type_, class_, ttl, length = struct.unpack_from("!HHIH", packet, at)
        data = packet[at + 10 : at + 10 + length]
        at += 10 + length
        if len(data) != length:
            raise RequestError(Rcode.FORMERR, "record data end too early")
        if type_ == Type.OPT and number >= before:
            # RFC 6891, 6.1.1: "If a query message with more than one OPT RR is received, a FORMERR (RCODE=1) MUST be
            # returned." 6.1.2: NAME "MUST be 0 (root domain)".
            if edns is not None or packet[owner] != 0:
                raise RequestError(Rcode.FORMERR, "second OPT record, or one that is not at the root")
            edns = _read_opt(class_, ttl, data)
    if at != len(packet):
        raise RequestError(Rcode.FORMERR, f"{len(packet) - at} bytes after the message")
    return edns


def _skip_name(packet: bytes, at: int) -> int:
    """Where the name at `at` ends; pointers need not be followed for that."""
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise RequestError(Rcode.FORMERR, f"label length byte {length:#x}")
        at += 1 + length
    return at + 1


def _read_opt(class_: int, ttl: int, data: bytes) -> Edns:
    version = ttl >> 16 & 0xFF
    # What the options of a later version look like is not known, and needs not be: the answer is BADVERS.
    subnet = _read_options(data) if version == 0 else None
    return Edns(payload=class_, version=version, dnssec_ok=bool(ttl & 0x8000), subnet=subnet)


def _read_options(data: bytes) -> ClientSubnet | None:
    """The client subnet option. RFC 6891, 6.1.2: "Any OPTION-CODE values not understood … MUST be ignored"."""
    at, subnet, seen = 0, None, False
    while at < len(data):
        code, length = struct.unpack_from("!HH", data, at)
        option = data[at + 4 : at + 4 + length]
        at += 4 + length
        if len(option) != length:
            raise RequestError(Rcode.FORMERR, "EDNS option ends too early")
        if code == CLIENT_SUBNET:
            # A resolver that overwrites the first one only would pass on the asker's own claim in the second.
            if seen:
                raise RequestError(Rcode.FORMERR, "two client subnet options")
            seen = True
            subnet = _read_subnet(option)
    return subnet


def _read_subnet(option: bytes) -> ClientSubnet | None:
    """RFC 7871, 6 and 7.1.2: malformed is FORMERR; a family that is neither 1 nor 2 says nothing that we understand."""
    family, source, scope = struct.unpack_from("!HBB", option)
    if family not in (1, 2):
        return None
    width = 32 if family == 1 else 128
    address = option[4:]
    # "SCOPE PREFIX-LENGTH … In queries, it MUST be set to 0"; ADDRESS is "truncated to the number of bits indicated by
    # the SOURCE PREFIX-LENGTH field, padding with 0 bits to pad to the end of the last octet needed".
    spare = -source % 8
    if scope or source > width or len(address) != (source + 7) // 8 or (address and address[-1] & ((1 << spare) - 1)):
        raise RequestError(Rcode.FORMERR, "malformed client subnet option")
    padded = address.ljust(width // 8, b"\0")
    whole = ipaddress.IPv4Address(padded) if family == 1 else ipaddress.IPv6Address(padded)
    return ClientSubnet(address=whole, source_length=source)
