"""Whether gateways and tunnels live: the probes' messages, what their answers mean, and who probes whom. Pure.

Two kinds of targets. Every node probes the gateways of its own cluster, over VXLAN of one slice of the tunnel set: that
is the way its packets take (device, forwarding entry, underlay), and the slice's packet filter keeps pods out. Every
gateway probes the far end of each of its tunnels, by addresses that exist for this only (`probe_address`).

An answer says more than "alive": which remote clusters the gateway reaches, and whether its own cluster hears it. A
gateway that is alive but cut off on one side is left by both sides. `slicer.plan.probes` is something else: it measures
the whole path of a slice, end to end, for people to see; nothing is decided by it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from itertools import pairwise
from typing import TypeVar

from slicer.model.errors import InvalidError
from slicer.model.names import check_range

PROBE_PREFIX = ipaddress.IPv6Network("fd73:6c69:6365::/48")
"""Addresses inside tunnels; no slice may overlap it. A unique local prefix (RFC 4193) with "slice" as its global id."""
PROBE_PORT = 8383
"""UDP, only in our own namespaces."""
SIZED = 1 << 31
"""In a probe's sequence number: it asks for a size, which is the rest of the number (`slicer.plan.path_mtu`)."""
DAMPING_S = 60.0
"""A target that went down repeatedly in this time needs twice as many answers each time before it counts as up."""
_DOUBLINGS = 3
WINDOW = 100
"""Statistics speak of so many probes: the last ten seconds at 100 ms."""
_OF_LATE = 8
"""Answers. Fewer would take one that waited on a busy machine for a long path; more would miss that a path grew."""
_ALL = (1 << WINDOW) - 1
_LATE = 1
"""A single probe without an answer may be late, not lost: it does not begin the count of answers anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often is probed, and when a target goes down and up."""

    interval_s: float = 0.1
    losses: int = 3
    good: int = 3

    def __post_init__(self) -> None:
        if not 0.01 <= self.interval_s <= 10:
            raise InvalidError(f"probe interval {self.interval_s} s is outside 0.01..10")
        check_range("probe losses", self.losses, 1, 100)
        check_range("good probes", self.good, 1, 100)

    def is_late(self, late_s: float) -> bool:
        """Whether a probe that goes out so much too late says that the prober itself is held up."""
        return late_s > self.interval_s / 2

    @property
    def silence_s(self) -> float:
        """Without a probe for this long a gateway says that its cluster does not hear it."""
        return (self.losses + 0.5) * self.interval_s


class Kind(IntEnum):
    """What a message is."""

    PROBE = 1
    REPLY = 2
    """Has the sequence and the time of the probe that it answers."""
    NEWS = 3
    """What a reply would say, unasked, because it changed."""
    BROKEN = 4
    """The tunnels in `broken` have ended at the sender's side, or somebody told it so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """A tunnel as both of its ends name it, within a tunnel set."""

    near: bytes
    """Digest of the cluster that speaks of it."""
    near_slot: int
    far: bytes
    far_slot: int
    generation: int = 0
    """Of its keys: while they rotate there are two tunnels between two gateways."""
    lane: int = 0
    """Of parallel tunnels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One datagram."""

    kind: Kind
    sequence: int = 0
    sent_ns: int = 0
    """The prober's own clock; it comes back in the reply and means nothing to anybody else."""
    heard_inside: bool = True
    """Some node of the sender's own cluster probes it successfully; True where there is none that could."""
    reached: frozenset[bytes] = frozenset()
    """Digests of the remote clusters that the sender reaches through its own tunnels."""
    lost: frozenset[bytes] = frozenset()
    """Digests of those to which all its tunnels, which once passed probes, are down: not only far, but gone."""
    broken: tuple[Ends, ...] = ()
    """With Kind.BROKEN only."""


T = TypeVar("T")
_MAGIC, _VERSION = b"SL", 1
_HEAD = struct.Struct("!2sBBBBBBIQ")
_KINDS = frozenset(Kind)
_INSIDE = 1
_DIGEST = 4
_ENDS = struct.Struct("!4sH4sHI")
_SLOT_BITS = 12
HEADERS = 48
"""Bytes: IPv6 and UDP, as probes travel inside tunnels."""
CLUSTERS_MAX = 255
BROKEN_MAX = 64
"""Tunnels in one datagram: 1024 bytes of it."""


@cache
def digest(cluster: str) -> bytes:
    """What stands for a cluster in a message."""
    return hashlib.sha256(cluster.encode()).digest()[:_DIGEST]


def encode(message: Message) -> bytes:
    """The datagram: 20 bytes, 4 for each cluster, 16 for each tunnel; InvalidError for more than it can carry."""
    check_range("clusters reached", len(message.reached), 0, CLUSTERS_MAX)
    check_range("clusters lost", len(message.lost), 0, CLUSTERS_MAX)
    check_range("broken tunnels", len(message.broken), 0, BROKEN_MAX)
    flags = _INSIDE if message.heard_inside else 0
    counts = (len(message.reached), len(message.broken), len(message.lost))
    head = _HEAD.pack(_MAGIC, _VERSION, message.kind, flags, *counts, message.sequence, message.sent_ns)
    ends = map(_packed, message.broken)
    return b"".join((head, *sorted(message.reached), *sorted(message.lost), *ends))


def encode_sized(message: Message, size: int) -> bytes:
    """The datagram, made as long as it takes for a packet of `size` bytes inside the tunnel."""
    return encode(replace(message, sequence=SIZED | size)).ljust(size - HEADERS, b"\0")


def decode(data: bytes) -> Message | None:
    """The message; None for anything that is not one. Bytes after it are left to later versions."""
    if len(data) < _HEAD.size:
        return None
    magic, version, kind, flags, count, tunnels, losts, sequence, sent_ns = _HEAD.unpack_from(data)
    first = _HEAD.size + count * _DIGEST
    middle = first + losts * _DIGEST
    end = middle + tunnels * _ENDS.size
    if magic != _MAGIC or version != _VERSION or kind not in _KINDS or len(data) < end:
        return None
    return Message(
        kind=Kind(kind),
        sequence=sequence,
        sent_ns=sent_ns,
        heard_inside=bool(flags & _INSIDE),
        reached=frozenset(data[i : i + _DIGEST] for i in range(_HEAD.size, first, _DIGEST)),
        lost=frozenset(data[i : i + _DIGEST] for i in range(first, middle, _DIGEST)),
        broken=tuple(_ends(data, i) for i in range(middle, end, _ENDS.size)),
    )


def _packed(ends: Ends) -> bytes:
    """The lane stands in front of the far slot, which has 12 bits: who knows of no lanes takes it for nobody's."""
    return _ENDS.pack(ends.near, ends.near_slot, ends.far, ends.lane << _SLOT_BITS | ends.far_slot, ends.generation)


def _ends(data: bytes, offset: int) -> Ends:
    near, near_slot, far, place, generation = _ENDS.unpack_from(data, offset)
    lane, far_slot = divmod(place, 1 << _SLOT_BITS)
    return Ends(near=near, near_slot=near_slot, far=far, far_slot=far_slot, generation=generation, lane=lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is known of one target. Times are seconds of any clock that only goes forward."""

    up: bool
    """At first an assumption: True for what was there when the prober started, False for what came later."""
    lived: bool = False
    """An earlier prober of this node has known it up, and then down."""
    proved: bool = False
    """It was up by its own answers once: an assumption is never announced to others."""
    unanswered: int = 0
    """Probes sent since the last answer."""
    excused: int = 0
    """Of these, those that do not count, because the prober itself was late."""
    answered: int = 0
    """Answers in a row."""
    sent: int = 0
    """All probes so far: the sequence number of the last one."""
    fates: int = 0
    """The last WINDOW probes, a bit each, the newest lowest: 1 for an answer."""
    rtts_s: tuple[float, ...] = ()
    """Round trips of the last WINDOW answers, the newest last."""
    downs: tuple[float, ...] = ()
    """When it went down, the last DAMPING_S only."""
    heard_inside: bool = True
    reached: frozenset[bytes] = frozenset()
    lost: frozenset[bytes] = frozenset()

    @property
    def answered_ever(self) -> bool:
        """Whether anything is known of it but the assumption."""
        return bool(self.rtts_s)

    def under_way(self, pace: Pace) -> int:
        """Probes that may still be answered, by the shortest round trip of late: the others tell of busy machines."""
        return int(min(self.rtts_s[-_OF_LATE:], default=0.0) / pace.interval_s)

    def is_silent(self, pace: Pace, probes: int) -> bool:
        """Whether none of the last so many probes was answered, but for those that may still be under way."""
        return not self.fates >> self.under_way(pace) & ((1 << probes) - 1)

    def is_clean(self, pace: Pace, probes: int) -> bool:
        """Whether each of the last so many probes was answered, but for those that may still be under way."""
        wanted = (1 << probes) - 1
        return self.fates >> self.under_way(pace) + 1 & wanted == wanted

    def sending(self, pace: Pace, now: float, late_s: float = 0.0) -> Line:
        """Another probe is about to go out, `late_s` later than it should: the moment to judge the earlier ones.

        Counted in probes, not in time: a prober that was held up has sent nothing, and so blames nobody. Where it was
        held up for half an interval, so was perhaps all that its last probe needed: then that is no loss either, but
        not more often in a row than losses are needed, or a busy node would never notice anything.
        """
        held_up = pace.is_late(late_s) and self.unanswered > self.excused
        excused = self.excused + 1 if held_up and self.excused < pace.losses else self.excused
        missing = self.unanswered - excused - self.under_way(pace)
        judged = self.cut(now) if missing >= pace.losses else self
        return replace(
            judged,
            unanswered=self.unanswered + 1,
            excused=excused,
            answered=0 if missing > _LATE else judged.answered,
            sent=self.sent + 1,
            fates=self.fates << 1 & _ALL,
        )

    def heard(self, pace: Pace, message: Message, rtt_s: float) -> Line:
        """A probe was answered."""
        answered = self.answered + 1
        up = self.up or answered >= self._needed(pace)
        return replace(
            self.told(message),
            up=up,
            proved=up and (self.proved or answered >= pace.good),
            unanswered=0,
            excused=0,
            answered=answered,
            fates=(self.fates | 1 << min(max(self.sent - message.sequence, 0), WINDOW)) & _ALL,
            rtts_s=(*self.rtts_s, rtt_s)[-WINDOW:],
        )

    def told(self, message: Message) -> Line:
        """The other side said what it sees, asked or not."""
        return replace(self, heard_inside=message.heard_inside, reached=message.reached, lost=message.lost)

    def cut(self, now: float) -> Line:
        """It is down: too many losses, or its device is gone. Nothing new if it was down already."""
        recent = tuple(at for at in self.downs if now - at < DAMPING_S)
        downs = (*recent, now) if self.up else recent
        return replace(self, up=False, proved=False, answered=0, downs=downs)

    def _needed(self, pace: Pace) -> int:
        return int(pace.good * 2 ** min(max(len(self.downs) - 1, 0), _DOUBLINGS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the last WINDOW probes of a line say of its path; None while there was no answer or no probe."""

    rtt_us: int | None = None
    """Median."""
    rtt_p99_us: int | None = None
    jitter_us: int | None = None
    """Mean difference between round trips that follow each other (after RFC 3550, 6.4.1, without its smoothing)."""
    loss_percent: int | None = None


def statistics(line: Line, pace: Pace) -> Statistics:
    """Of one line, rounded to what is worth telling."""
    young = line.under_way(pace) + 1
    count = min(line.sent, WINDOW) - young
    lost = count - (line.fates >> young).bit_count()
    loss_percent = round(100 * max(lost, 0) / count) if count > 0 else None
    if not line.rtts_s:
        return Statistics(loss_percent=loss_percent)
    ranked = sorted(line.rtts_s)
    steps = [abs(after - before) for before, after in pairwise(line.rtts_s)]
    return Statistics(
        rtt_us=_us(ranked[len(ranked) // 2]),
        rtt_p99_us=_us(ranked[len(ranked) * 99 // 100]),
        jitter_us=_us(sum(steps) / len(steps)) if steps else 0,
        loss_percent=loss_percent,
    )


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def choose(members: Iterable[T], good: Iterable[T], alive: Iterable[T], avoided: Iterable[T]) -> frozenset[T]:
    """Which of `members` to avoid, given those that are good, those that at least answer, and those avoided so far.

    Never all: without a good one the living ones do, and when all are silent nothing changes (fail static).
    """
    everyone = frozenset(members)
    keep = everyone & frozenset(good) or everyone & frozenset(alive) or everyone - frozenset(avoided) or everyone
    return everyone - keep
