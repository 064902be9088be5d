"""Runs a command that makes network namespaces, so that nothing of it stays on the machine, and says what it forgot.

    python -m tools.sandbox COMMAND…

The command gets a network, mount, PID and IPC namespace of its own: an empty /run, its own /proc and /sys, loopback as
its only link. When it ends, whatever still lives in there is a leak of the command: it is listed, the exit code becomes
LEAKED, and the end of the PID namespace kills it. A killed sandbox takes everything inside along.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.run import ToolError, finish, say

LEAKED = 99
INSIDE = "--inside-the-sandbox"
"""First argument of the second start, by _enter."""
GRACE_S = float(os.environ.get("SANDBOX_GRACE_S", "5"))
"""How long a process that was told to stop may take before it counts as left over."""
KERNEL_LINKS = frozenset(
    {"lo", "tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip6tnl0", "ip_vti0", "ip6_vti0", "ip6gre0"}
)
"""Links that some kernels make in every new network namespace."""


def main() -> int:
    """Enters the namespaces (outside) or does the work (inside); the command's exit code, or LEAKED."""
    command = sys.argv[1:]
    if not command:
        raise ToolError("give the command to run: python -m tools.sandbox COMMAND…")
    if command[0] != INSIDE:
        _enter(command)
    _prepare()
    code = _run(command[1:])
    leaks = _wait_until_clean()
    for leak in leaks:
        say(f"left behind: {leak}")
    return code or (LEAKED if leaks else 0)


def _enter(command: Sequence[str]) -> None:
    flags = ("--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
    words = ["unshare", *flags, sys.executable, "-m", "tools.sandbox", INSIDE, *command]
    try:
        os.execvp("unshare", words)
    except OSError as error:
        raise ToolError(f"cannot run unshare: {error}; run `make setup`") from None


def _prepare() -> None:
    # /sys shows the network namespace of whoever mounted it; /run holds netns names, sockets and the lab's state.
    for step in (
        ("mount", "-t", "sysfs", "sysfs", "/sys"),
        ("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"),
        ("ip", "link", "set", "lo", "up"),
    ):
        subprocess.run(step, check=True)
    Path("/run/netns").mkdir()
    Path("/run/lock").mkdir()


def _run(command: Sequence[str]) -> int:
    # This is PID 1: orphans become its children and it must bury them.
    # An interrupt is for the command, which cleans up and ends; it has it from the terminal as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # noqa: PLW1509
    except OSError as error:
        raise ToolError(f"cannot run {command[0]}: {error.strerror}") from None
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) % 256


def _wait_until_clean() -> list[str]:
    end = time.monotonic() + GRACE_S
    while (leaks := _leaks()) and time.monotonic() < end:
        time.sleep(0.05)
    return leaks


def _leaks() -> list[str]:
    _bury()
    links = sorted({path.name for path in Path("/sys/class/net").iterdir()} - KERNEL_LINKS)
    names = sorted(path.name for path in Path("/run/netns").iterdir())
    return [*_processes(), *(f"link {name}" for name in links), *(f"network namespace {name}" for name in names)]


def _processes() -> list[str]:
    pids = sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [f"process {pid}: {words[:160]}" for pid in pids if pid != 1 and (words := _command_line(pid))]


def _command_line(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return ""
    # It has no command line while it executes another program, nor once it is dead and waits to be buried.
    return " ".join(text.split()) or ("" if rest.split()[0] in {"Z", "X"} else name)


def _bury() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    finish(main)
