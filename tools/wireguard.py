"""Takes care of WireGuard: the kernel's where there is one, else the newest wireguard-go that can be had."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from tools import apt, gomodule
from tools.pins import Pins
from tools.run import TOOLS, ToolError, replace_file, say, works

PROGRAM = TOOLS / "bin/wireguard-go"
ORIGIN = TOOLS / "bin/wireguard-go.origin"
"""Two lines: where PROGRAM came from, and what could be had when it was chosen (`_circumstances`)."""

SLOW = """
  **********************************************************************************************
  WARNING: this wireguard-go is Debian's of 2022, about FIVE TIMES SLOWER than today's.
  Everything works, but no benchmark means anything. Cure: install Go 1.23 or newer, or use a
  kernel with WireGuard, then run `make clean setup`.
  **********************************************************************************************"""


def kernel_has_wireguard() -> bool:
    """Whether the kernel makes a WireGuard link: tried for real, in a network namespace that ends with the attempt."""
    return works(("unshare", "--net", "ip", "link", "add", "w0", "type", "wireguard"))


def provide(pins: Pins) -> None:
    """Leaves a WireGuard that works: the kernel's, or PROGRAM. ToolError if there is none to be had."""
    if kernel_has_wireguard():
        say("WireGuard: the kernel has it")
        return
    _need_tun()
    if PROGRAM.exists() and ORIGIN.exists() and ORIGIN.read_text().splitlines()[1:] == [_circumstances(pins)]:
        say(f"WireGuard: {PROGRAM.relative_to(TOOLS.parent)} is there")
        return
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    say("WireGuard: not in this kernel, so wireguard-go")
    origin = _from_go(pins) or _from_debian("bookworm-backports") or _from_debian("")
    if origin is None:
        raise ToolError("no wireguard-go: Go cannot build it and apt has no package; install Go 1.23 or newer")
    ORIGIN.write_text(f"{origin}\n{_circumstances(pins)}\n")
    say(f"WireGuard: wireguard-go from {origin}")


def _circumstances(pins: Pins) -> str:
    """While this stays the same, another attempt would lead to the same program."""
    go = shutil.which("go")
    version = (
        subprocess.run((go, "version"), capture_output=True, text=True, check=False).stdout.strip() if go else "no Go"
    )
    return f"{pins.wireguard_go}, {version}"


def _from_go(pins: Pins) -> str | None:
    built = gomodule.build(pins.wireguard_go, "", "wireguard-go")
    if built is None:
        return None
    replace_file(PROGRAM, built)
    return pins.wireguard_go


def _from_debian(suite: str) -> str | None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return None
    try:
        apt.extract("wireguard-go", "usr/bin/wireguard-go", PROGRAM, suite=suite)
    except (subprocess.CalledProcessError, OSError, ValueError):
        return None
    if not suite:
        say(SLOW)
    return f"Debian's package ({suite or 'the configured release'})"


def _need_tun() -> None:
    device = Path("/dev/net/tun")
    if not device.exists() or not stat.S_ISCHR(device.stat().st_mode):
        raise ToolError(
            "this kernel has no WireGuard and there is no /dev/net/tun for wireguard-go; "
            "run `modprobe tun`, or in a container add `--device /dev/net/tun`"
        )
