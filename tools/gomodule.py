"""Programs from Go modules: built once for a machine, kept in a cache outside the clone."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.run import run, say


def cache_directory() -> Path:
    """Where built programs are kept; losing it costs only the time to build them again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "slicer"


def cached(module: str, program: str) -> Path:
    """Where `program` of `module` (`path@version`) is kept."""
    _, _, version = module.partition("@")
    return cache_directory() / f"{program}-{version}-{platform.machine()}"


def build(module: str, package: str, program: str) -> Path | None:
    """The program of `package` ("" = the module itself), cached or freshly built; None where Go cannot build it."""
    kept = cached(module, program)
    if kept.exists():
        return kept
    if shutil.which("go") is None:
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as work:
        try:
            _install(module, package, Path(work))
        except subprocess.CalledProcessError:
            say(f"  Go could not build {module}")
            return None
        (built,) = Path(work).iterdir()
        built.replace(kept)
    return kept


def _install(module: str, package: str, target: Path) -> None:
    path, _, version = module.partition("@")
    what = f"{path}/{package}@{version}" if package else module
    run(("go", "install", "-trimpath", "-ldflags=-s -w", what), env={"GOBIN": str(target), "CGO_ENABLED": "0"})
