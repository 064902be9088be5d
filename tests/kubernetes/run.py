"""What `make test-kubernetes` runs: says what is under test, then pytest on everything here (or on what is named).

python -m tests.kubernetes.run [PYTEST ARGUMENT…]
"""

from __future__ import annotations

import subprocess
import sys
import time

from tests.kubernetes.lab.cluster import need_everything
from tools.pins import read_pins
from tools.run import finish, say

HERE = "tests/kubernetes"


def main() -> int:
    """pytest's exit code; ToolError where something is missing."""
    need_everything()
    pins = read_pins()
    for module in (pins.kubernetes, pins.etcd, pins.coredns, pins.multus):
        say(f"  {module}")
    for argv in (("containerd", "--version"), ("runc", "--version"), ("uname", "-sr")):
        say(f"  {subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]}")
    wanted = sys.argv[1:] or [HERE]
    started = time.monotonic()
    # In order: the tests share clusters, and the last ones take Slicer away again.
    order = ("-p", "no:randomly", "-o", "cache_dir=.pytest_cache/kubernetes")
    show = ("-v", "--durations=20", "--durations-min=1")
    code = subprocess.run((sys.executable, "-m", "pytest", *order, *show, *wanted), check=False).returncode
    say(f"tests on Kubernetes took {time.monotonic() - started:.0f} s")
    return code


if __name__ == "__main__":
    finish(main)
