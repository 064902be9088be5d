"""`make setup-kernel`: what `make test-kernel` boots: QEMU by apt, and a Debian kernel that has WireGuard.

    python -m tools.kernel [--again]      `--again` downloads the newest kernel though there is one

The kernel is unpacked, never installed, and kept in the cache of built programs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools import apt
from tools.debian_root import download, open_archives
from tools.gomodule import cache_directory
from tools.pins import Pins, plan_packages, read_pins
from tools.run import ToolError, finish, run, say

CURED = "run `make setup-kernel`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel package, unpacked into `root`, with the index of its modules."""

    root: Path
    release: str
    """As `uname -r` tells it: `6.1.0-56-cloud-amd64`."""

    @property
    def image(self) -> Path:
        return self.root / f"boot/vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.root / f"lib/modules/{self.release}"


def main() -> int:
    """Installs packages and downloads the kernel, where they are missing; ToolError with the cure otherwise."""
    parser = argparse.ArgumentParser(description="Installs what the tests on a distribution's kernel need.")
    parser.add_argument("--again", action="store_true", help="download the newest kernel though there is one")
    again = parser.parse_args().again
    if os.uname().machine != "x86_64":
        raise ToolError(f"the tests on a distribution's kernel know x86_64 only, and this is {os.uname().machine}")
    pins = read_pins()
    _packages(pins)
    if again or find_kernel() is None:
        _provide(pins.kernel_image)
    say(f"kernel: {need_kernel().release}")
    return 0


def find_kernel() -> Kernel | None:
    """The kernel in the cache."""
    releases = sorted((_place() / "lib/modules").glob("*/modules.dep"))
    return Kernel(root=_place(), release=releases[0].parent.name) if releases else None


def need_kernel() -> Kernel:
    """The kernel in the cache; ToolError if there is none."""
    kernel = find_kernel()
    if kernel is None:
        raise ToolError(f"there is no kernel in {_place()}: {CURED}")
    return kernel


def need_virtiofsd(pins: Pins) -> Path:
    """The program that shares directories with the machine; ToolError if it is nowhere."""
    found = [Path(path) for path in pins.virtiofsd if os.access(path, os.X_OK)]
    if not found:
        raise ToolError(f"none of {' '.join(pins.virtiofsd)} is there: {CURED}")
    return found[0]


def _place() -> Path:
    return cache_directory() / "kernel"


def _packages(pins: Pins) -> None:
    apt.install(plan_packages(pins.kernel_commands, shutil.which))
    if not any(os.access(path, os.X_OK) for path in pins.virtiofsd):
        apt.install(("virtiofsd",))  # a package of its own since Debian 13


def _provide(package: str) -> None:
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        work = Path(name)
        options = open_archives(work)
        (named,) = download(work, options, (package,))
        real = _field(named, "Depends").split()[0]
        named.unlink()
        (archive,) = download(work, options, (real,))
        fresh = work / "kernel"
        run(("dpkg-deb", "-x", archive, fresh))
        run(("depmod", "-b", fresh, real.removeprefix("linux-image-")))
        shutil.rmtree(_place(), ignore_errors=True)
        fresh.replace(_place())


def _field(archive: Path, name: str) -> str:
    done = subprocess.run(("dpkg-deb", "-f", archive, name), capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    finish(main)
