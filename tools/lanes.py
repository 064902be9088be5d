"""Runs the whole test suite in two lanes side by side, and prints both outputs whole.

    python -m tools.lanes [PYTEST ARGUMENT…]

Most tests wait for processes to start, so two lanes on two cores take little more than half of the time. The suite is
cut into parts, each in a sandbox of its own; a lane that is done with one takes the next. The first lane is shown while
it runs; what the second printed meanwhile follows.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tools.run import finish, say

PARTS = (
    ("tests/netns",),
    ("tests/e2e",),
    ("tests/unit", "tests/contract"),
    ("tests/conformance",),
    ("tests/conformance_dns",),
)
"""The longest first. Every directory of tests stands here or in ELSEWHERE (a test says so); tests/bench is no test."""
ELSEWHERE = ("tests/kubernetes", "tests/kernel")
"""Want programs of real Kubernetes nodes, or a kernel of a distribution: `make setup` installs neither."""
Ended = tuple[Sequence[str], int, float]
"""A part, its exit code, and the seconds that it took."""


def main() -> int:
    """The exit code of the first part whose is not 0."""
    extra = sys.argv[1:]
    start = time.monotonic()
    waiting: deque[Sequence[str]] = deque(PARTS)
    with tempfile.TemporaryFile() as later, ThreadPoolExecutor(2) as pool:
        lanes = [pool.submit(_lane, waiting, extra, output) for output in (None, later)]
        ended = [part for lane in lanes for part in lane.result()]
        later.seek(0)
        shutil.copyfileobj(later, sys.stdout.buffer)
    for part, code, took_s in ended:
        say(f"{' '.join(part)}: {'passed' if code == 0 else f'failed ({code})'} after {took_s:.0f} s")
    say(f"tests took {time.monotonic() - start:.0f} s")
    return next((code for _, code, _ in ended if code), 0)


def _lane(waiting: deque[Sequence[str]], extra: Sequence[str], output: IO[bytes] | None) -> list[Ended]:
    """Run parts until none waits."""
    ended: list[Ended] = []
    while True:
        try:
            part = waiting.popleft()
        except IndexError:
            return ended
        start = time.monotonic()
        ended.append((part, _run(part, extra, output), time.monotonic() - start))


def _run(part: Sequence[str], extra: Sequence[str], output: IO[bytes] | None) -> int:
    python = str(Path(sys.executable))
    pytest = [python, "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{Path(part[0]).name}", *extra, *part]
    say("running " + " ".join(pytest[1:]))
    words = [python, "-m", "tools.sandbox", *pytest]
    return subprocess.run(words, stdout=output, stderr=subprocess.STDOUT if output else None, check=False).returncode


if __name__ == "__main__":
    finish(main)
