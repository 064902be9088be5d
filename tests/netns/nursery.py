"""Where the nodes of test networks come from: a process that has imported all that a node needs, and forks.

    test --- one socket, two pipes a node --- nursery --- keeper: new network and mount namespace, and the next
                                                             +--- node: process 1 of a new PID namespace

Importing is most of a node's start, and on an emulated machine most of a test. A node is no copy of the test's own
process: that one has threads, open files and settings of pytest. Each process ends with the one above it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Nursery:
    """The test's side; the process is started with the first node and ends with the test's."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None

    def bear(self, stdin: int, stdout: int) -> int:
        """A new node that reads and writes these; process id of its keeper, which is in the node's namespaces."""
        if self._line is None:
            self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            atexit.register(self._line.close)
            with theirs:
                number = theirs.fileno()
                subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number], stdin=subprocess.DEVNULL)
        socket.send_fds(self._line, [b"one more"], [stdin, stdout])
        told = self._line.recv(64)
        assert told.isdigit(), f"no node was born: {told.decode() or 'the nursery has ended'}"
        return int(told)


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Whether the process behind this handle has ended, or ends soon."""
    return bool(select.select([pidfd], [], [], seconds)[0])


def serve(line: socket.socket, live: Callable[[], None]) -> None:
    """Fork a keeper for each pair of files that comes, until nobody is there to ask."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the keepers
    while True:
        _, files, _, _ = socket.recv_fds(line, 16, 2)
        if not files:
            return
        ready, told = os.pipe()
        keeper = os.fork()
        if not keeper:
            _never_return(partial(_keep, files, told, live))
        os.close(told)
        words = _read_all(ready)
        line.send(words or str(keeper).encode())
        for file in files:
            os.close(file)


def _keep(files: Sequence[int], told: int, live: Callable[[], None]) -> None:
    """Make the namespaces, say so by closing `told`, and stay until the node has ended.

    The first child after this is process 1 of the PID namespace, so that no command may be run on the way.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        _check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        _check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID))
        _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    except OSError as error:
        os.write(told, str(error).encode())
        raise
    node = os.fork()
    if not node:
        _never_return(partial(_be_born, files, told, live))
    os.close(told)
    os.closerange(0, 2)
    os.closerange(3, 65536)
    os.waitpid(node, 0)


def _be_born(files: Sequence[int], told: int, live: Callable[[], None]) -> None:
    _check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.closerange(3, 65536)
    _check(libc.mount(b"proc", b"/proc", b"proc", 0, None))
    random.seed()
    live()


def _never_return(what: Callable[[], None]) -> None:
    """Run it; whatever happens, the copy of the nursery's program ends here."""
    code = 1
    try:
        what()
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _read_all(pipe: int) -> bytes:
    with open(pipe, "rb") as file:
        return file.read()


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import node_process

    serve(socket.socket(fileno=int(sys.argv[1])), node_process.main)
