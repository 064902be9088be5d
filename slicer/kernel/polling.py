"""Waits for sockets with poll(2): select(2) knows no descriptor above 1023, and a node with many slices has more."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class _Pollable(Protocol):
    def fileno(self) -> int: ...


P = TypeVar("P", bound=_Pollable)


class Watched(Generic[P]):
    """Sockets that are waited for again and again; they have to stay open meanwhile."""

    def __init__(self, sources: Iterable[P]) -> None:
        self._by_descriptor = {source.fileno(): source for source in sources}
        self._poll = select.poll()
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)

    def readable(self, wait_s: float) -> list[P]:
        """Those that have something to read; waits at most `wait_s` for the first, also if there is none."""
        return [self._by_descriptor[descriptor] for descriptor, _ in self._poll.poll(math.ceil(wait_s * 1000))]


def readable(sources: Iterable[P], wait_s: float) -> list[P]:
    """The same for `sources` that are waited for once."""
    return Watched(sources).readable(wait_s)
