"""What an answer is made of: codes, record types, records. Values only; the wire form is `slicer_dns.message`'s."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from slicer.model.names import Address
from slicer_dns.names import Labels


class Rcode(IntEnum):
    """RFC 1035, 4.1.1; BADVERS from RFC 6891, 9."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Type(IntEnum):
    """The record and question types that are treated by name; all others are known names without data."""

    A = 1
    NS = 2
    SOA = 6
    PTR = 12
    HINFO = 13
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


@dataclass(frozen=True, slots=True)
class Soa:
    """Data of an SOA record; the times are CoreDNS's, the minimum is the zone's ttl."""

    primary: Labels
    mailbox: Labels
    serial: int
    minimum_s: int
    refresh_s: int = 7200
    retry_s: int = 1800
    expire_s: int = 86400


@dataclass(frozen=True, slots=True)
class Srv:
    """Data of an SRV record (RFC 2782)."""

    weight: int
    port: int
    target: Labels
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record of class IN. Data: an address (A, AAAA), a name (NS, PTR), text (TXT, HINFO), Soa or Srv."""

    owner: Labels
    type: Type
    ttl_s: int
    data: Address | Labels | str | Soa | Srv


RRSET_LIMIT = 200
"""Records of one answer: SRV of the longest names still fit the 65 535 bytes of a TCP message. Which ones, turns."""
TURNS_LIMIT = 12
"""Orders of one answer that are made before they come again; enough for an even share of up to 12 pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said to one question. `local`: how many of `records`, from the first, are of the own cluster."""

    rcode: Rcode = Rcode.NOERROR
    records: tuple[Record, ...] = ()
    local: int = 0
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()

    def turns(self) -> int:
        """How many different orders the records are given in."""
        groups = (max(1, self.local), max(1, len(self.records) - self.local))
        return min(math.lcm(*groups), TURNS_LIMIT)

    def turned(self, turn: int) -> tuple[Record, ...]:
        """The records in the order for `turn`: the own cluster's before the others', each group rotated."""
        turns = self.turns()
        near, far = self.records[: self.local], self.records[self.local :]
        return (_rotate(near, turn, turns) + _rotate(far, turn, turns))[:RRSET_LIMIT]


def _rotate(records: tuple[Record, ...], turn: int, turns: int) -> tuple[Record, ...]:
    count = len(records)
    start = turn % count if 0 < count <= turns else turn * count // turns
    return records[start:] + records[:start]
