"""The table of `slicectl history`: what the minutes of each way come to, and a picture of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.cli import columns as col
from slicer.cli.kinds import Column, Kind, Resource
from slicer.cli.quantities import format_rtt
from slicer.plan.history import MINUTE_S, median

PICTURE_WIDTH = 30
"""Characters: with it most tables fit a terminal. A character is as many minutes as it must."""
BLOCKS = "▁▂▃▄▅▆▇█"
UNKNOWN, DOWN = "·", "x"
Minute = dict[str, Any]


def history_kind(since_s: float) -> Kind:
    """The kind of what `/v1/tunnel-history` lists, shown for the last `since_s` seconds."""
    cells = (
        ("FROM", col.tunnel_from),
        ("TO", col.tunnel_to),
        ("SET", col.spec("tunnel_set")),
        ("MINUTES", col.count("spec", "minutes")),
        ("ROUND TRIP", lambda one, _: format_rtt(median(_known(minutes_in(one), "rtt_us")))),
        ("WORST P99", lambda one, _: format_rtt(max(_known(minutes_in(one), "rtt_p99_us"), default=None))),
        ("WORST LOSS", lambda one, _: _percent(max(_known(minutes_in(one), "loss_percent"), default=None))),
        ("NOT UP", lambda one, _: str(sum(up < 100 for up in _known(minutes_in(one), "up_percent")))),
        ("P99", lambda one, now: picture(minutes_in(one), now, since_s)),
    )
    return Kind(
        plural="histories",
        singular="history",
        collection="tunnel-history",
        identity=("cluster", "node", "remote_cluster", "remote_node", "tunnel_set", "index", "lane"),
        columns=(
            *(Column(title=title, cell=cell) for title, cell in cells),
            Column(title="INDEX", cell=col.spec("index"), wide=True),
            Column(title="LANE", cell=col.spec("lane"), wide=True),
        ),
    )


def minutes_in(resource: Resource) -> list[Minute]:
    """The minutes of one way."""
    return list(resource["spec"]["minutes"])


def latest(resources: Sequence[Resource], now: float, since_s: float) -> list[Resource]:
    """The resources with those minutes only that reach into the last `since_s` seconds; without any it is left out."""
    cut = [one | {"spec": one["spec"] | {"minutes": _since(minutes_in(one), now - since_s)}} for one in resources]
    return [one for one in cut if minutes_in(one)]


def picture(minutes: Sequence[Minute], now: float, since_s: float) -> str:
    """The worst p99 over time, now on the right: blocks from 0 to the worst of all; `·` unknown, `x` not up at all.

    Rows of one table have the same times below each other.
    """
    last = int(now) // MINUTE_S
    count = max(1, -(-int(since_s) // MINUTE_S))
    each = -(-count // PICTURE_WIDTH)
    width = -(-count // each)
    parts: list[list[Minute]] = [[] for _ in range(width)]
    for minute in minutes:
        # A hub whose clock is ahead of ours: its newest minutes belong to the last character.
        place = width - 1 - max(0, last - minute["start_s"] // MINUTE_S) // each
        parts[max(0, place)].append(minute)
    top = max(_known(minutes, "rtt_p99_us"), default=0)
    return "".join(_character(part, top) for part in parts)


def _character(minutes: Sequence[Minute], top: int) -> str:
    if any(minute["up_percent"] == 0 for minute in minutes):
        return DOWN
    worst = max(_known(minutes, "rtt_p99_us"), default=None)
    if worst is None:
        return UNKNOWN
    return BLOCKS[(worst * len(BLOCKS) - 1) // top] if worst > 0 else BLOCKS[0]


def _known(minutes: Sequence[Minute], field: str) -> list[int]:
    return [minute[field] for minute in minutes if minute[field] is not None]


def _since(minutes: Sequence[Minute], start: float) -> list[Minute]:
    return [minute for minute in minutes if minute["start_s"] + MINUTE_S > start]


def _percent(value: int | None) -> str:
    return "-" if value is None else f"{value} %"
