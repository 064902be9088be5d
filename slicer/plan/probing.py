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
from typing import TypeVar

from slicer.model.errors import InvalidError
from slicer.model.names import check_range

PROBE_PREFIX = ipaddress.IPv6Network("fd73:6c69:6365::/48")
"""Addresses inside tunnels; no slice may overlap it. A unique local prefix (RFC 4193) with "slice" as its global id."""
PROBE_PORT = 8383
"""UDP, only in our own namespaces."""
DAMPING_S = 60.0
"""A target that went down repeatedly in this time needs twice as many answers each time before it counts as up."""
_DOUBLINGS = 3
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


T = TypeVar("T")
_MAGIC, _VERSION = b"SL", 1
_HEAD = struct.Struct("!2sBBBBHIQ")
_INSIDE = 1
_DIGEST = 4
CLUSTERS_MAX = 255


def digest(cluster: str) -> bytes:
    """What stands for a cluster in a message."""
    return hashlib.sha256(cluster.encode()).digest()[:_DIGEST]


def encode(message: Message) -> bytes:
    """The datagram: 20 bytes and 4 for each cluster; InvalidError for more clusters than it can carry."""
    check_range("clusters reached", len(message.reached), 0, CLUSTERS_MAX)
    flags = _INSIDE if message.heard_inside else 0
    count = len(message.reached)
    head = _HEAD.pack(_MAGIC, _VERSION, message.kind, flags, count, 0, message.sequence, message.sent_ns)
    return head + b"".join(sorted(message.reached))


def decode(data: bytes) -> Message | None:
    """The message; None for anything that is not one. Bytes after it are left to later versions."""
    if len(data) < _HEAD.size:
        return None
    magic, version, kind, flags, count, _, sequence, sent_ns = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + count * _DIGEST]
    if magic != _MAGIC or version != _VERSION or kind not in set(Kind) or len(body) != count * _DIGEST:
        return None
    return Message(
        kind=Kind(kind),
        sequence=sequence,
        sent_ns=sent_ns,
        heard_inside=bool(flags & _INSIDE),
        reached=frozenset(body[i : i + _DIGEST] for i in range(0, len(body), _DIGEST)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is known of one target. Times are seconds of any clock that only goes forward."""

    up: bool
    """At first an assumption: True for what was there when the prober started, False for what came later."""
    proved: bool = False
    """It was up by its own answers once: an assumption is never announced to others."""
    unanswered: int = 0
    """Probes sent since the last answer."""
    answered: int = 0
    """Answers in a row."""
    rtt_s: float | None = None
    """Smoothed as TCP does (RFC 6298): seven eighths old, one eighth new."""
    downs: tuple[float, ...] = ()
    """When it went down, the last DAMPING_S only."""
    heard_inside: bool = True
    reached: frozenset[bytes] = frozenset()

    @property
    def answered_ever(self) -> bool:
        """Whether anything is known of it but the assumption."""
        return self.rtt_s is not None

    def sending(self, pace: Pace, now: float) -> Line:
        """Another probe is about to go out: the moment to judge the earlier ones.

        Counted in probes, not in time: a prober that was held up has sent nothing, and so blames nobody. On a long path
        as many probes as are under way are not missing yet.
        """
        missing = self.unanswered - int((self.rtt_s or 0.0) / pace.interval_s)
        judged = self.cut(now) if missing >= pace.losses else self
        return replace(judged, unanswered=self.unanswered + 1, answered=0 if missing > _LATE else judged.answered)

    def heard(self, pace: Pace, message: Message, rtt_s: float) -> Line:
        """A probe was answered."""
        answered = self.answered + 1
        up = self.up or answered >= self._needed(pace)
        rtt = rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) / 8
        proved = up and (self.proved or answered >= pace.good)
        return replace(self.told(message), up=up, proved=proved, unanswered=0, answered=answered, rtt_s=rtt)

    def told(self, message: Message) -> Line:
        """The other side said what it sees, asked or not."""
        return replace(self, heard_inside=message.heard_inside, reached=message.reached)

    def cut(self, now: float) -> Line:
        """It is down: too many losses, or its device is gone. Nothing new if it was down already."""
        recent = tuple(at for at in self.downs if now - at < DAMPING_S)
        downs = (*recent, now) if self.up else recent
        return replace(self, up=False, proved=False, answered=0, downs=downs)

    def _needed(self, pace: Pace) -> int:
        return int(pace.good * 2 ** min(max(len(self.downs) - 1, 0), _DOUBLINGS))


def choose(members: Iterable[T], good: Iterable[T], alive: Iterable[T], avoided: Iterable[T]) -> frozenset[T]:
    """Which of `members` to avoid, given those that are good, those that at least answer, and those avoided so far.

    Never all: without a good one the living ones do, and when all are silent nothing changes (fail static).
    """
    everyone = frozenset(members)
    keep = everyone & frozenset(good) or everyone & frozenset(alive) or everyone - frozenset(avoided) or everyone
    return everyone - keep
