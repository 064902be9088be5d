"""Folds samples of tunnels into one entry a minute for the last three hours. Pure: time comes in as an argument.

Caller: `slicer_controller.history`, every ten seconds. Finished minutes are packed: a controller that sees thousands of
tunnels keeps each of them in 5 kB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct

from slicer.model.attachments import TunnelHealth
from slicer.model.history import TunnelHistory, TunnelMinute, TunnelWay

MINUTE_S = 60
MINUTES_MAX = 180
WAYS_MAX = 5_000
"""Of more ways those are kept that were sampled last: 40 MB, whatever is reported."""
SAMPLES_MAX = 12
"""Of one minute: twice what there should be; a clock that stands still makes no more."""
_ROW = Struct("<qiiiii")
"""The fields of a TunnelMinute in their order."""
_UNKNOWN, _MOST = -1, (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is known of one way."""

    rows: bytes = b""
    """Its finished minutes, oldest first."""
    samples: tuple[TunnelHealth, ...] = ()
    """Of the minute that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of all ways."""

    start_s: int = 0
    """Of the minute that runs."""
    lines: Mapping[TunnelWay, Line] = field(default_factory=dict)


def fold(history: History, now_s: float, tunnels: Iterable[TunnelHealth]) -> History:
    """The history with one more sample of each way.

    Entries older than three hours go, and those that lie ahead of `now_s`: the clock was set back.
    """
    start_s = int(now_s) // MINUTE_S * MINUTE_S
    lines = dict((history if start_s == history.start_s else _turned(history, start_s)).lines)
    for way, tunnel in _sampled(tunnels).items():
        line = lines.get(way, Line())
        lines[way] = Line(rows=line.rows, samples=(*line.samples, tunnel)[-SAMPLES_MAX:])
    return History(start_s=start_s, lines=_bounded(lines))


def minutes_of(history: History, way: TunnelWay) -> TunnelHistory:
    """The minutes of one way, with the one that runs; KeyError for a way that is not known."""
    line = history.lines[way]
    minutes = (*_unpacked(line.rows), *([_folded(history.start_s, line.samples)] if line.samples else ()))
    return TunnelHistory(
        cluster=way.cluster,
        node=way.node,
        remote_cluster=way.remote_cluster,
        remote_node=way.remote_node,
        tunnel_set=way.tunnel_set,
        index=way.index,
        lane=way.lane,
        minutes=minutes,
    )


def way_of(tunnel: TunnelHealth) -> TunnelWay:
    """The way whose present this is: all that names the tunnel but the generation of its keys."""
    return TunnelWay(
        cluster=tunnel.cluster,
        node=tunnel.node,
        remote_cluster=tunnel.remote_cluster,
        remote_node=tunnel.remote_node,
        tunnel_set=tunnel.tunnel_set,
        index=tunnel.index,
        lane=tunnel.lane,
    )


def median(values: Iterable[int]) -> int | None:
    """The middle one, the lower of two; None of none."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def _sampled(tunnels: Iterable[TunnelHealth]) -> dict[TunnelWay, TunnelHealth]:
    """One tunnel for each way: of several generations the newest that is up, else the newest."""
    found: dict[TunnelWay, TunnelHealth] = {}
    for tunnel in sorted(tunnels, key=lambda one: (one.up is True, one.generation)):
        found[way_of(tunnel)] = tunnel
    return found


def _turned(history: History, start_s: int) -> History:
    """The history at the beginning of another minute."""
    rows = {
        way: _kept(line.rows + _packed(history.start_s, line.samples), start_s) for way, line in history.lines.items()
    }
    return History(start_s=start_s, lines={way: Line(rows=one) for way, one in rows.items() if one})


def _kept(rows: bytes, start_s: int) -> bytes:
    """The rows of the minutes that lie before `start_s`, and not too long before."""
    while rows and _start(rows, 0) <= start_s - MINUTES_MAX * MINUTE_S:
        rows = rows[_ROW.size :]
    while rows and _start(rows, len(rows) - _ROW.size) >= start_s:
        rows = rows[: -_ROW.size]
    return rows


def _start(rows: bytes, offset: int) -> int:
    start_s: int = _ROW.unpack_from(rows, offset)[0]
    return start_s


def _bounded(lines: dict[TunnelWay, Line]) -> dict[TunnelWay, Line]:
    if len(lines) <= WAYS_MAX:
        return lines
    newest = sorted(lines, key=lambda way: (not lines[way].samples, way))
    return {way: lines[way] for way in newest[:WAYS_MAX]}


def _folded(start_s: int, samples: Sequence[TunnelHealth]) -> TunnelMinute:
    known = [sample.up for sample in samples if sample.up is not None]
    jitter = [sample.jitter_us for sample in samples if sample.jitter_us is not None]
    return TunnelMinute(
        start_s=start_s,
        up_percent=100 * sum(known) // len(known) if known else None,
        rtt_us=median(sample.rtt_us for sample in samples if sample.rtt_us is not None),
        rtt_p99_us=max((sample.rtt_p99_us for sample in samples if sample.rtt_p99_us is not None), default=None),
        loss_percent=max((sample.loss_percent for sample in samples if sample.loss_percent is not None), default=None),
        jitter_us=sum(jitter) // len(jitter) if jitter else None,
    )


def _packed(start_s: int, samples: Sequence[TunnelHealth]) -> bytes:
    if not samples:
        return b""
    minute = _folded(start_s, samples)
    figures = (minute.up_percent, minute.rtt_us, minute.rtt_p99_us, minute.loss_percent, minute.jitter_us)
    # What a report says is its author's word: a figure beyond all sense must not end the history of the others.
    return _ROW.pack(start_s, *(_UNKNOWN if one is None else max(0, min(one, _MOST)) for one in figures))


def _unpacked(rows: bytes) -> Iterator[TunnelMinute]:
    for start_s, *figures in _ROW.iter_unpack(rows):
        up, rtt, p99, loss, jitter = (None if one == _UNKNOWN else one for one in figures)
        yield TunnelMinute(
            start_s=start_s, up_percent=up, rtt_us=rtt, rtt_p99_us=p99, loss_percent=loss, jitter_us=jitter
        )
