"""Network namespaces by name and by path: make, remove, list, enter.

Everything ours carries the prefix `s-` (slices) or `t-` (tunnel sets), or is `m-nodes`, the mesh; nothing else is ever
listed or removed.
Entering is per *thread* (setns(2) with CLONE_NEWNET); never await or hand over work while inside.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slicer.kernel import host

DIRECTORY = Path("/run/netns")
_PREFIXES = ("s-", "t-")
_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str) -> Path:
    """Where the named namespace is mounted, as iproute2 does it."""
    return DIRECTORY / name


def create(name: str) -> None:
    """Make the namespace `name` with its loopback down; nothing happens if it exists.

    The empty file of a creation that was killed half way is not a namespace: it is replaced.
    """
    path = path_of(name)
    if exists(path):
        return
    _prepare_directory()
    path.touch(mode=0o444)
    error: list[BaseException] = []

    def make() -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET), f"unshare for {name}")
            host.enter()
            _mount("/proc/thread-self/ns/net", str(path), _MS_BIND)
        except BaseException as raised:  # handed to the caller's thread
            error.append(raised)

    # A thread of its own: it leaves the process's namespace and ends there.
    thread = threading.Thread(target=make, name=f"netns-{name}")
    thread.start()
    thread.join()
    if error:
        path.unlink(missing_ok=True)
        raise error[0]


def delete(name: str) -> None:
    """Remove the namespace `name`; nothing happens if it is gone. The kernel reaps its links in the background."""
    path = path_of(name)
    host.do(lambda: _unmount(path))
    path.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Whether `path` is a live namespace (on nsfs), not only a file."""
    with suppress(OSError):
        return path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    return False


def is_network(path: Path | str) -> bool:
    """Whether `path` is a namespace of the network kind: nsfs holds the others, too (ioctl_nsfs(2), NS_GET_NSTYPE)."""
    try:
        with open(path, "rb") as file:
            return fcntl.ioctl(file, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def is_ours(path: Path | str) -> bool:
    """Whether `path` names a namespace of a slice, a tunnel set or the mesh."""
    real = Path(os.path.realpath(path))
    return real.parent == Path(os.path.realpath(DIRECTORY)) and _is_our_name(real.name)


def names() -> list[str]:
    """Our namespaces, sorted."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(p.name for p in DIRECTORY.iterdir() if _is_our_name(p.name) and exists(p))


def _is_our_name(name: str) -> bool:
    from slicer.plan.mesh import MESH_NS  # what only makes a namespace and ends does without the model

    return name.startswith(_PREFIXES) or name == MESH_NS


@contextmanager
def entered(path: Path | str) -> Iterator[None]:
    """Run the calling thread inside the namespace at `path`; back in its own afterwards, whatever happened."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(path, "rb") as target:
        _check(_libc.setns(target.fileno(), _CLONE_NEWNET), f"setns {path}")
        try:
            yield
        finally:
            _check(_libc.setns(home.fileno(), _CLONE_NEWNET), "setns back")


def socket_in(path: Path | str, family: int, kind: int, proto: int = 0) -> socket.socket:
    """A socket that lives in the namespace at `path`; usable from any thread."""
    with entered(path):
        return socket.socket(family, kind, proto)


def _prepare_directory() -> None:
    if DIRECTORY.is_dir():
        return
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    _mount(str(DIRECTORY), str(DIRECTORY), _MS_BIND | _MS_REC)
    _mount("none", str(DIRECTORY), _MS_SHARED | _MS_REC)


def _unmount(path: Path) -> None:
    if _libc.umount2(str(path).encode(), _MNT_DETACH) != 0:
        code = ctypes.get_errno()
        if code not in {2, 22}:  # ENOENT: gone; EINVAL: a file that never became a mount
            raise OSError(code, os.strerror(code), str(path))


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), b"none", flags, None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} ({what})")
