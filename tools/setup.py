"""`make setup`: everything that the demo and the tests need, on a new Debian or Ubuntu machine. Asks nothing.

Run by the system's python3 before anything is installed, so it imports the standard library only. Quick when there is
nothing to do. What it changes outside the clone: apt packages, and a cache of built programs in ~/.cache/slicer.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

from tools import apt, gomodule, plugin, wireguard
from tools.pins import Pins, plan_packages, read_pins
from tools.run import ROOT, TOOLS, ToolError, finish, retry, run, say, works

OLDEST_PYTHON = (3, 11)
UV = TOOLS / "uv/bin/uv"
CNI_PLUGINS = ("bridge", "host-local")
"""What the attach benchmark compares with."""
DEBIAN_CNI = Path("/usr/lib/cni")


def main() -> int:
    """Does what is missing, in order; ToolError with the cure otherwise."""
    parser = argparse.ArgumentParser(description="Installs what Slicer's demo and tests need.")
    parser.add_argument("--bench", action="store_true", help="also what only the benchmarks need")
    bench = parser.parse_args().bench
    pins = read_pins()
    _need_python()
    _need_root()
    commands = {**pins.commands, **(pins.bench_commands if bench else {})}
    _packages(commands)
    _uv(pins)
    _environment()
    wireguard.provide(pins)
    plugin.provide()
    if bench:
        _cni_plugins(pins)
    say("setup: done")
    return 0


def _need_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        have = ".".join(map(str, sys.version_info[:3]))
        raise ToolError(f"{sys.executable} is Python {have}; 3.11 or newer is needed: `make PYTHON=python3.11 setup`")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise ToolError("root is needed (network namespaces, packages): run it as root, or with `sudo -E make …`")
    if not works(("unshare", "--net", "--mount", "--pid", "--fork", "true")):
        # Before the packages: in a container without CAP_SYS_ADMIN nothing else would help either.
        raise ToolError("this root may not make namespaces (CAP_SYS_ADMIN); in a container, run it with `--privileged`")


def _packages(commands: dict[str, str]) -> None:
    missing = set(plan_packages(commands, shutil.which))
    if not works((sys.executable, "-c", "import ensurepip, venv")):
        missing.add(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    apt.install(sorted(missing))
    absent = sorted(command for command in commands if not shutil.which(command))
    if absent:
        raise ToolError(f"still missing after the installation: {' '.join(absent)}")


def _uv(pins: Pins) -> None:
    stamp = TOOLS / "uv/version"
    if stamp.exists() and stamp.read_text() == pins.uv and works((UV, "--version")):
        return
    run((sys.executable, "-m", "venv", "--clear", TOOLS / "uv"))
    retry((TOOLS / "uv/bin/pip", "install", "--quiet", f"uv=={pins.uv}"), tries=3, pause_s=5)
    stamp.write_text(pins.uv)


def lock_digest(root: Path) -> str:
    """Names the state of the lock file and of what is built from the sources' layout."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def _environment() -> None:
    stamp = ROOT / ".venv/slicer-setup"
    wanted = f"{lock_digest(ROOT)} {ROOT}"
    if stamp.exists() and stamp.read_text() == wanted and works((ROOT / ".venv/bin/python", "-c", "import slicer")):
        return
    # An environment that is there keeps its interpreter: others may be running in it.
    choice = () if (ROOT / ".venv").exists() else ("--python", sys.executable)
    env = {"UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
    retry((UV, "sync", "--frozen", "--quiet", *choice), tries=3, pause_s=5, env=env)
    stamp.write_text(wanted)


def _cni_plugins(pins: Pins) -> None:
    target = TOOLS / "cni"
    target.mkdir(parents=True, exist_ok=True)
    for name in CNI_PLUGINS:
        kind = "ipam" if name == "host-local" else "main"
        built = gomodule.build(pins.cni_plugins, f"plugins/{kind}/{name}", name)
        if built is None:
            apt.install(() if (DEBIAN_CNI / name).exists() else ("containernetworking-plugins",))
            built = DEBIAN_CNI / name
        link = target / name
        link.unlink(missing_ok=True)
        link.symlink_to(built)
    say(f"CNI plugins to compare with: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    finish(main)
