"""Runs the whole test suite in lanes side by side, and prints all outputs whole.

    python -m tools.lanes [PYTEST ARGUMENT…]

Most tests wait for processes and for packets, so one lane more than there are processors keeps all of these busy. The
suite is cut into parts, each in a sandbox of its own; a lane that is done with one takes the next. The first lane is
shown while it runs; what the others printed meanwhile follows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from tools.run import finish, say

PARTS = (
    ("tests/e2e/test_[a-d]*.py",),
    ("tests/e2e/test_[e-z]*.py",),
    ("tests/unit",),
    ("tests/netns",),
    ("tests/contract",),
    ("tests/conformance",),
    ("tests/conformance_dns",),
)
"""Directories, or patterns of files; what takes long comes first. Every test stands in one of them, or in ELSEWHERE (a
test says so); tests/bench is no test."""
ELSEWHERE = ("tests/kubernetes", "tests/kernel")
"""Want programs of real Kubernetes nodes, or a kernel of a distribution: `make setup` installs neither."""
Ended = tuple[Sequence[str], int, float]
"""A part, its exit code, and the seconds that it took."""


def main() -> int:
    """The exit code of the first part whose is not 0."""
    extra = sys.argv[1:]
    start = time.monotonic()
    waiting: deque[tuple[int, Sequence[str]]] = deque(enumerate(PARTS))
    number = min(len(PARTS), len(os.sched_getaffinity(0)) + 1)
    with ExitStack() as files, ThreadPoolExecutor(number) as pool:
        later = [files.enter_context(tempfile.TemporaryFile()) for _ in range(number - 1)]
        lanes = [pool.submit(_lane, waiting, extra, output) for output in (None, *later)]
        ended = [part for lane in lanes for part in lane.result()]
        for output in later:
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
    for part, code, took_s in ended:
        say(f"{' '.join(part)}: {'passed' if code == 0 else f'failed ({code})'} after {took_s:.0f} s")
    say(f"tests took {time.monotonic() - start:.0f} s")
    return next((code for _, code, _ in ended if code), 0)


def find_files(part: Sequence[str]) -> list[str]:
    """What pytest is told: directories as they are, the files of patterns by name."""
    return [name for pattern in part for name in sorted(map(str, Path().glob(pattern)))]


def _lane(waiting: deque[tuple[int, Sequence[str]]], extra: Sequence[str], output: IO[bytes] | None) -> list[Ended]:
    """Run parts until none waits."""
    ended: list[Ended] = []
    while True:
        try:
            number, part = waiting.popleft()
        except IndexError:
            return ended
        start = time.monotonic()
        ended.append((part, _run(number, part, extra, output), time.monotonic() - start))


def _run(number: int, part: Sequence[str], extra: Sequence[str], output: IO[bytes] | None) -> int:
    python = str(Path(sys.executable))
    pytest = [python, "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{number}", *extra, *find_files(part)]
    say("running " + " ".join(pytest[1:]))
    words = [python, "-m", "tools.sandbox", *pytest]
    return subprocess.run(words, stdout=output, stderr=subprocess.STDOUT if output else None, check=False).returncode


if __name__ == "__main__":
    finish(main)
