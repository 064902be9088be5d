"""Runs the whole test suite in two lanes side by side, each in a sandbox of its own, and prints both outputs whole.

    python -m tools.lanes [PYTEST ARGUMENT…]

Most tests wait for processes to start, so two lanes on two cores take little more than half of the time. The first lane
is shown while it runs; what the second printed meanwhile follows.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tools.run import finish, say

LANES = (
    ("tests/netns", "tests/e2e"),
    ("tests/conformance", "tests/unit", "tests/contract", "tests/conformance_dns"),
)
"""Every directory of tests stands here or in ELSEWHERE (a test says so); tests/bench measures and is no test."""
ELSEWHERE = ("tests/kubernetes", "tests/kernel")
"""Want programs of real Kubernetes nodes, or a kernel of a distribution: `make setup` installs neither."""


def main() -> int:
    """The first lane's exit code that is not 0."""
    extra = sys.argv[1:]
    start = time.monotonic()
    with tempfile.TemporaryFile() as later:
        first, second = _start(LANES[0], extra, None), _start(LANES[1], extra, later)
        codes = [first.wait(), second.wait()]
        later.seek(0)
        shutil.copyfileobj(later, sys.stdout.buffer)
    for lane, code in zip(LANES, codes, strict=True):
        say(f"{' '.join(lane)}: {'passed' if code == 0 else f'failed ({code})'}")
    say(f"tests took {time.monotonic() - start:.0f} s")
    return next((code for code in codes if code), 0)


def _start(lane: Sequence[str], extra: Sequence[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    python = str(Path(sys.executable))
    pytest = [python, "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{Path(lane[0]).name}", *extra, *lane]
    say("running " + " ".join(pytest[1:]))
    return subprocess.Popen(
        [python, "-m", "tools.sandbox", *pytest], stdout=output, stderr=subprocess.STDOUT if output else None
    )


if __name__ == "__main__":
    finish(main)
