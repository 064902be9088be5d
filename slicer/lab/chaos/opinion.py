"""What the hub says of a slice's objectives while an experiment runs: asked again and again, kept with its time."""

from __future__ import annotations

import threading
import time
from typing import Self

from slicer.lab import rest
from slicer.lab.chaos.choosing import Json, Stage
from slicer.lab.chaos.judging import Opinion
from slicer.lab.layout import Layout, Role
from slicer.model.errors import SlicerError

PERIOD_S = 0.5
SILENT = "no answer"
"""The hub could not be asked."""
MET = "Met"


class Listener:
    """Asks the hub until the block ends; not at all where the slice has no objectives."""

    def __init__(self, layout: Layout, stage: Stage) -> None:
        self._layout, self._stage = layout, stage
        self._pair = sorted((stage.source.cluster, stage.target.cluster))
        self._heard: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        if self._stage.objectives is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def wait_until_met(self, patience_s: float) -> bool:
        """Whether the hub says, within that time and from now on, that the objectives are met; true without any."""
        if self._stage.objectives is None:
            return True
        asked_at = time.monotonic()
        while not any(word == MET for at, word in self._heard if at > asked_at):
            if time.monotonic() > asked_at + patience_s:
                return False
            time.sleep(PERIOD_S / 5)
        return True

    def opinion(self, fault_at: float, repair_at: float) -> Opinion:
        """What it said until now."""
        heard = self._heard.copy()
        before = [word for at, word in heard if at < fault_at]
        during = [word for at, word in heard if fault_at <= at < repair_at]
        after = [word for at, word in heard if at >= repair_at]
        return Opinion(
            before=before[-1] if before else "",
            during=tuple(dict.fromkeys(during)),
            after=after[-1] if after else "",
        )

    def _listen(self) -> None:
        while not self._stop.wait(PERIOD_S if self._heard else 0):
            asked_at = time.monotonic()
            self._heard.append((asked_at, self._ask()))

    def _ask(self) -> str:
        try:
            with rest.opened(self._layout, self._layout.machine(Role.HUB.value)) as api:
                return self._word(api.get("slices", self._stage.slice))
        except SlicerError:
            return SILENT

    def _word(self, found: Json) -> str:
        pairs = found["status"]["objectives"]
        return next((str(pair["state"]) for pair in pairs if pair["clusters"] == self._pair), "")
