"""On what a benchmark ran: the machine, its kernel, the versions of what was compared."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tools.run import ROOT, TOOLS


def describe() -> dict[str, str | int | float]:
    """Processor, memory, kernel, Python and the origin of wireguard-go."""
    return {
        "processor": _cpu_field("model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "wireguard": wireguard_origin(),
    }


def wireguard_origin() -> str:
    """Where wireguard-go came from, or `kernel`."""
    origin = TOOLS / "bin/wireguard-go.origin"
    return origin.read_text().splitlines()[0] if origin.exists() else "kernel"


def load() -> float:
    """Processes that wanted a core in the last minute: above a half of one, figures suffer."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """Short hash of the clone's commit; with `+` when tracked files differ from it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/benchmarks") else "")


def now() -> str:
    """The time, UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _git(*words: str) -> str:
    done = subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _cpu_field(name: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
