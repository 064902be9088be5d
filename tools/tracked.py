"""The files that git tracks: what a clone has, and so what the checks look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.run import ToolError


def tracked_files(root: Path) -> tuple[str, ...]:
    """Paths relative to `root`, sorted; files deleted in the work tree are left out. ToolError outside a clone."""
    command = ("git", "-c", "core.quotepath=off", "ls-files", "-z")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{root} is not a git clone ({done.stderr.strip()}); the checks look at tracked files")
    return tuple(sorted(name for name in done.stdout.split("\0") if name and (root / name).is_file()))


def read_texts(root: Path, names: tuple[str, ...], *suffixes: str) -> dict[str, str]:
    """Path → text of the files in `names` that end in one of `suffixes`."""
    return {name: (root / name).read_text() for name in names if name.endswith(suffixes)}
