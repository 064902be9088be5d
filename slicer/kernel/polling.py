"""Waits for sockets with poll(2): select(2) knows no descriptor above 1023, and a node with many slices has more."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Pollable(Protocol):
    def fileno(self) -> int: ...


P = TypeVar("P", bound=_Pollable)


def readable(sources: Iterable[P], wait_s: float) -> list[P]:
    """Those of `sources` that have something to read; waits at most `wait_s` for the first, also if there is none."""
    by_descriptor = {source.fileno(): source for source in sources}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return [by_descriptor[descriptor] for descriptor, _ in poll.poll(math.ceil(wait_s * 1000))]
