"""Runs a command on a machine of its own, whose kernel is a distribution's and has WireGuard.

    python -m tools.guest COMMAND…

The machine sees this one's programs and this clone, and may change both for itself: nothing of it is kept. Needs no
virtualisation by the processor, so that it works inside virtual machines and most containers, ten to thirty times
slower than here. The exit code is the command's; FAILED if the machine did not live to tell it.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.guest.machine import Outcome, run
from tools.kernel import need_kernel, need_virtiofsd
from tools.pins import read_pins
from tools.run import ToolError, finish, say

FAILED = 98
LIMIT_S = float(os.environ.get("GUEST_LIMIT_S", "1800"))
"""A machine that hangs is ended after so long."""
COMPLAINT = re.compile(r"WARNING: |BUG: |Oops|Kernel panic|Call Trace|hung_task|stall")
LINES = 60
_CLONE_NEWNS = 0x20000


def main() -> int:
    """The command's exit code, or FAILED; ToolError where something is missing."""
    if not sys.argv[1:]:
        raise ToolError("give the command to run: python -m tools.guest COMMAND…")
    kernel, virtiofsd = need_kernel(), need_virtiofsd(read_pins())
    _leave_mounts_alone()
    started = time.monotonic()
    say(f"booting {kernel.release}")
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(("mount", "-t", "tmpfs", "tmpfs", name), check=True)
        try:
            outcome = run(kernel, virtiofsd, sys.argv[1:], work=Path(name), limit_s=LIMIT_S)
        finally:
            subprocess.run(("umount", "--lazy", name), check=True)
    say(f"the machine ran for {time.monotonic() - started:.0f} s")
    for line in explain(outcome):
        say(line)
    return FAILED if outcome.code is None else outcome.code


def explain(outcome: Outcome) -> list[str]:
    """What the kernel complained of; all of its last words if the command told no exit code."""
    lines = outcome.log.replace("\r", "").splitlines()
    if outcome.code is not None:
        return [f"the kernel says: {line}" for line in lines if COMPLAINT.search(line)]
    end = "ended before the command did" if outcome.in_time else f"did not end within {LIMIT_S:.0f} s"
    return [f"the machine {end}; the kernel's last words:", *lines[-LINES:]]


def _leave_mounts_alone() -> None:
    """What is mounted from here on, the machine it is on never sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise ToolError(f"this root may not make namespaces: {os.strerror(ctypes.get_errno())}")
    subprocess.run(("mount", "--make-rprivate", "/"), check=True)


if __name__ == "__main__":
    finish(main)
