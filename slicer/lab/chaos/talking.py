"""The flows between two pods, seen from outside: starts both ends, asks how they do, and collects what was heard."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from slicer.lab import workloads
from slicer.lab.chaos.choosing import Pod
from slicer.lab.chaos.judging import Direction
from slicer.lab.layout import Layout
from slicer.model.errors import UnavailableError

FLOWS, SPACING_S = 8, 0.02
RUNNING = 5
"""Packets of every flow that must have come before the flows count as running."""
LOOK_S = 0.05
END_S = 5.0


class End:
    """One end: a `flow` that runs in a pod."""

    def __init__(self, layout: Layout, pod: Pod) -> None:
        words = [sys.executable, "-m", "slicer.lab.chaos.flow", pod.address, str(FLOWS), str(SPACING_S)]
        argv = workloads.exec_argv(layout, pod.full_name, words)
        self.pod = pod
        # A session of its own: Ctrl-C is for us, who still have to ask it.
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )
        self.ports: list[int] = self.answer()["ports"]

    def go(self, peer: End, key: str) -> None:
        """Begin to send to the other end."""
        self._tell({"do": "go", "address": peer.pod.address, "ports": peer.ports, "key": key})

    def ask(self, question: str) -> Any:
        """Its answer; UnavailableError if it is gone."""
        self._tell({"do": question})
        return self.answer()

    def answer(self) -> Any:
        """The next thing that it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UnavailableError(f"the flow in pod {self.pod.full_name} ended: {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it: it ends with its input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _tell(self, value: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise UnavailableError(f"the flow in pod {self.pod.full_name} ended") from None


class Flows:
    """Flows between two pods, in both directions."""

    def __init__(self, source: End, target: End) -> None:
        self._ends = (source, target)

    def wait_until_all_run(self, patience_s: float) -> bool:
        """Whether, within that time, packets of every flow came that were sent from now on."""
        before = self._counts()
        deadline = time.monotonic() + patience_s
        while not all(now >= then + RUNNING for now, then in zip(self._counts(), before, strict=True)):
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def directions(self) -> tuple[Direction, Direction]:
        """What was sent and heard until now, there and back."""
        told = [end.ask("end") for end in self._ends]
        return _direction(self._ends, told), _direction(self._ends[::-1], told[::-1])

    def _counts(self) -> list[int]:
        return [count for end in self._ends for count in end.ask("look")["heard"]]


@contextmanager
def flowing(layout: Layout, source: Pod, target: Pod) -> Iterator[Flows]:
    """Flows that run until the block ends."""
    with ExitStack() as stack:
        ends = []
        for pod in (source, target):
            end = End(layout, pod)
            stack.callback(end.close)
            ends.append(end)
        key = secrets.token_hex(8)
        ends[0].go(ends[1], key)
        ends[1].go(ends[0], key)
        yield Flows(*ends)


def _direction(ends: Any, told: Any) -> Direction:
    """The ends were asked one after the other: the second may have heard more than the first had sent."""
    sent = len(told[0]["sent_at"])
    return Direction(
        source=ends[0].pod.cluster,
        target=ends[1].pod.cluster,
        sent_at=tuple(told[0]["sent_at"]),
        heard=tuple(tuple((number, at) for number, at in flow if number < sent) for flow in told[1]["heard"]),
    )
