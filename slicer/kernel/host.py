"""The host's mount namespace, for an agent that runs in a container.

What the agent makes must outlive its container: the names of network namespaces are mounts, and a container's mounts
end with it. The kubelet lets the host's mounts into a container, but not the other way unless the container is
privileged; so the agent goes over to the host for the moment of a mount. `use` is called once, at the start; without
it everything happens where the process is. Needs CAP_SYS_ADMIN, CAP_SYS_CHROOT and, to look at process 1,
CAP_SYS_PTRACE.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from slicer.model.errors import DeniedError

_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_MS_REMOUNT, _MS_BIND = 0x20, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)
_namespace: list[Path] = []
"""The host's mount namespace; empty where this process is on the host itself."""


def use(namespace: Path) -> None:
    """From now on mounts are made in `namespace` (/proc/1/ns/mnt), and /proc/sys can be written here.

    Container runtimes mount /proc/sys read-only; what lies in it belongs to network namespaces that are ours.
    DeniedError names the right that is missing: now, not at the first pod.
    """
    try:
        with open(namespace, "rb"):
            _namespace[:] = [namespace]
        do(lambda: None)
    except OSError as error:
        wanted = "hostPID and the capabilities SYS_ADMIN, SYS_CHROOT and SYS_PTRACE"
        raise DeniedError(
            f"the host's mounts ({namespace}) cannot be entered: {error}; the agent needs {wanted}"
        ) from None
    if _is_read_only("/proc/sys"):
        _check(_libc.mount(None, b"/proc/sys", None, _MS_REMOUNT | _MS_BIND, None), "remount /proc/sys")


def do(what: Callable[[], None]) -> None:
    """Run `what` where the host's mounts are; its exception comes back. Other threads stay where they are."""
    if not _namespace:
        what()
        return
    raised: list[BaseException] = []

    def go() -> None:
        try:
            enter()
            what()
        except BaseException as error:  # handed to the caller's thread
            raised.append(error)

    # A thread of its own: it cannot come back, because it leaves the directory that all threads share.
    thread = threading.Thread(target=go, name="host-mounts")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def enter() -> None:
    """Take the calling thread to the host's mounts, for the rest of its life; nothing where there is no container."""
    if not _namespace:
        return
    with open(_namespace[0], "rb") as target:
        _check(_libc.unshare(_CLONE_FS), "unshare the working directory")
        _check(_libc.setns(target.fileno(), _CLONE_NEWNS), f"setns {_namespace[0]}")


def outliving(argv: list[str]) -> list[str]:
    """The command line that starts `argv` as a process of the host: its end is not the container's."""
    if not _namespace:
        return argv
    return [sys.executable, "-IS", str(Path(__file__).with_name("outlive.py")), str(_namespace[0].parent), *argv]


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} ({what})")
