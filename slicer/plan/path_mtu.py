"""How large a packet may be to get through one tunnel, found out by probes of rising size. Pure.

After RFC 8899 (packetization layer path MTU discovery for datagrams), sections 5.2 and 5.3: nothing is believed but an
answer. ICMP errors of the underlay, which firewalls eat, play no part. Each end measures its own direction: a probe is
as large as the question, its answer is small. All sizes are bytes of the packet inside the tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FLOOR = 1280
"""What every link of IPv6 carries (RFC 8200, 5); below, nothing is searched."""
GRAIN = 4
"""As exact as is worth a probe."""
TRIES = 3
"""Lost in a row until a size counts as too large: one is lost for other reasons."""
CONFIRM_S = 1.0
"""How often a size that got through is asked again: a path can shrink."""
RAISE_S = 60.0
"""How often more is tried: a path can grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMtu:
    """What is known of one tunnel. Times are seconds of any clock that only goes forward."""

    top: int
    """MTU of the device: more is never sent."""
    found: int | None = None
    """The largest packet that gets through, as far as known; None before anything was found out."""
    low: int = 0
    """In a search: the largest size that got through, 0 for none."""
    high: int = 0
    """In a search: the smallest size that did not; more than `top` before any; 0 where nothing is searched."""
    misses: int = 0
    """Probes of the present size that were lost in a row."""
    again_at: float = 0.0
    """When more than `found` is tried again."""

    @property
    def size(self) -> int:
        """The size to ask now."""
        if not self.high:
            return self.found or self.top
        if self.high > self.top:
            return self.top
        return (self.low + self.high) // 2 if self.low else min(FLOOR, self.top)

    @property
    def is_urgent(self) -> bool:
        """Whether the next probe is to follow at once: a search is on, or a size that got through was lost."""
        return bool(self.high or self.misses)

    def look(self, now: float) -> PathMtu:
        """Another probe is about to be sent: perhaps more is to be tried."""
        if not self.high and self.found is not None and self.found < self.top and now >= self.again_at:
            return replace(self, low=self.found, high=self.top + 1, misses=0)
        return self

    def passed(self, size: int, now: float) -> PathMtu:
        """A probe of `size` was answered."""
        if not self.high:
            return replace(self, misses=0) if size == self.found else self
        return _ended(replace(self, low=max(self.low, size), misses=0), now)

    def lost(self, size: int, now: float) -> PathMtu:
        """A probe of `size`, the present one, was not answered though others were."""
        if self.misses + 1 < TRIES:
            return replace(self, misses=self.misses + 1)
        if self.high:
            # Until the search is over packets get through that surely do; while it is about more, as large as before.
            found = self.found if self.found is not None else min(FLOOR, self.top)
            return _ended(replace(self, found=found, high=size, misses=0), now)
        return _ended(replace(self, found=min(FLOOR, self.top), low=0, high=size, misses=0), now)


def _ended(known: PathMtu, now: float) -> PathMtu:
    """After a search: what it found. Where not even FLOOR gets through, it stays at that."""
    if known.low < known.top and known.high - known.low > GRAIN and known.high > FLOOR:
        return known
    found = known.low or min(FLOOR, known.top)
    return replace(known, found=found, low=0, high=0, again_at=now + RAISE_S)


def fresh(top: int) -> PathMtu:
    """A tunnel of which nothing is known: the largest size is tried first, and mostly that is all."""
    return PathMtu(top=top, high=top + 1)
