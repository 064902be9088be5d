"""Rates and durations as people write them. Exact: `1.5G` is 1 500 000 000 bit/s, never a rounded float."""

from __future__ import annotations

import re
from decimal import Decimal

from slicer.model.errors import InvalidError

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(?:bit/s|bps|bit)?\Z")
_RATE_UNITS = {"": 0, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12}
_DURATION = re.compile(r"([0-9]+)(ms|s|m|h|d)?\Z")
_DURATION_MS = {"ms": 1, "s": 1000, None: 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_rate(what: str, text: str) -> int:
    """Bits a second of `20M`, `1.5G`, `800k`, `64000` (SI: k = 1000); InvalidError names `what` and the text."""
    match = _RATE.match(text.strip())
    if not match:
        raise InvalidError(f"{what} {text!r} is not a rate like 800k, 20M or 1.5G (bit/s)")
    rate = Decimal(match[1]).scaleb(_RATE_UNITS[match[2]])
    if rate != rate.to_integral_value():
        raise InvalidError(f"{what} {text!r} is not a whole number of bits a second")
    return int(rate)


def format_rate(bps: int | None) -> str:
    """`20 Mbit/s`; exact whenever three digits after the point are enough, `-` for None."""
    if bps is None:
        return "-"
    for unit, exponent in (("T", 12), ("G", 9), ("M", 6), ("k", 3)):
        if bps >= 10**exponent:
            number = f"{Decimal(bps).scaleb(-exponent):.3f}".rstrip("0").rstrip(".")
            return f"{number} {unit}bit/s"
    return f"{bps} bit/s"


def parse_duration(what: str, text: str) -> float:
    """Seconds of `500ms`, `30s`, `5m`, `1h`, `2d`, or a bare number of seconds."""
    match = _DURATION.match(text.strip())
    if not match:
        raise InvalidError(f"{what} {text!r} is not a duration like 500ms, 30s, 5m, 1h or 2d")
    return int(match[1]) * _DURATION_MS[match[2]] / 1000


def parse_seconds(what: str, text: str) -> int:
    """Like `parse_duration`, but whole seconds only."""
    seconds = parse_duration(what, text)
    if seconds != int(seconds):
        raise InvalidError(f"{what} {text!r} must be whole seconds")
    return int(seconds)


def format_age(seconds: float) -> str:
    """`12s`, `5m`, `3h`, `2d`: the two leading units where the first is small, as kubectl writes ages."""
    whole = max(0, int(seconds))
    for unit, size, below, smaller in (("d", 86400, 3600, "h"), ("h", 3600, 60, "m"), ("m", 60, 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit}{rest}{smaller}" if rest and whole // size < 10 else f"{whole // size}{unit}"
    return f"{whole}s"


def format_bytes(count: int) -> str:
    """`1.2 GB`: SI units, one digit after the point above 1 kB."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def format_rtt(rtt_us: int | None) -> str:
    """`0.43 ms` from microseconds; `-` while nothing came back."""
    if rtt_us is None:
        return "-"
    return f"{rtt_us / 1000:.2f} ms" if rtt_us < 100_000 else f"{rtt_us / 1000:.0f} ms"
