"""The agent's end of the shim: a unix socket, a thread for each call that runs, an answer whatever happens.

The protocol is in ARCHITECTURE.md ("Shim protocol"). Only root may speak here (mode 0600): the caller names namespaces.
"""

from __future__ import annotations

import os
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slicer.agent import log
from slicer.agent.cni_request import CniError, Request, code_of, parse_request, version_in
from slicer.agent.cni_result import render_error, to_stdout
from slicer.model.errors import SlicerError

RECEIVE_TIMEOUT_S = 30.0
"""A shim sends at once; whoever does not is not one."""
SPARE = 8
"""Threads that are kept for the next burst of calls: to start one costs more than to wake one."""
RETRY_S = 0.1
"""How soon calls are taken again after the kernel could not hand one over."""
INPUT_BYTES_MAX = 4 << 20
"""A network configuration has a few kilobytes; GC lists every attachment of a node."""

Handler = Callable[[Request], bytes]
"""Does one call; the bytes are for stdout. Raises CniError or SlicerError."""


class CniServer:
    """Answers calls from the moment it is made until `close`."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self._handle = handle
        self._path = path
        self._socket = _listen(path)
        self._busy = self._free = 0
        """Threads that serve a call, and that wait for one."""
        self._closing = threading.Event()
        self._idle = threading.Condition()
        with self._idle:
            self._add_thread()

    def close(self) -> None:
        """Take no more calls; those that are running are waited for (a few seconds)."""
        self._closing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0, timeout=10.0)

    def _add_thread(self) -> None:
        """Under `_idle`, for which the new thread waits before it counts itself busy."""
        threading.Thread(target=self._work, name="cni", daemon=True).start()
        self._free += 1

    def _work(self) -> None:
        """Take calls and serve them; there is always another thread that takes the next call meanwhile."""
        while connection := self._accept():
            with self._idle:
                self._busy += 1
                self._free -= 1
                if not self._free:
                    self._relieve()
            self._serve(connection)
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()
                if self._free >= SPARE:
                    return
                self._free += 1

    def _relieve(self) -> None:
        """Without another thread the next call waits until this one is served."""
        try:
            self._add_thread()
        except RuntimeError as error:
            log.event("cni.thread_failed", error=error)  # too many processes, no memory: it passes

    def _accept(self) -> socket.socket | None:
        """The next call; None when there will be none."""
        while True:
            try:
                return self._socket.accept()[0]
            except OSError as error:
                if self._closing.wait(RETRY_S):
                    return None
                log.event("cni.accept_failed", error=error)  # too many open files, no memory: it passes

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(RECEIVE_TIMEOUT_S)
                data = _receive(connection)
                if not data:
                    return  # somebody only looked whether we are here
                environment, stdin = split_input(data)
                code, stdout = answer(environment, stdin, self._handle)
                connection.sendall(b"%d" % code + stdout)
        except (OSError, ValueError) as error:
            log.event("cni.connection_failed", error=error)


def answer(environment: dict[str, str], stdin: bytes, handle: Handler) -> tuple[int, bytes]:
    """(exit code, stdout) of one call; never raises."""
    try:
        return 0, handle(parse_request(environment, stdin))
    except CniError as error:
        code, message, details = error.code, error.message, error.details
    except SlicerError as error:
        code, message, details = code_of(error), error.message, error.reason
    except OSError as error:
        code, message, details = 5, f"the kernel or the disk refused: {error}", ""
    except Exception as error:
        log.event("cni.failed", error=repr(error), trace=traceback.format_exc())
        code, message, details = 999, "the Slicer agent failed; its log has the reason", type(error).__name__
    command, name = environment.get("CNI_COMMAND"), environment.get("CNI_IFNAME")
    container = environment.get("CNI_CONTAINERID")
    log.event("cni.refused", command=command, container=container, interface=name, code=code, error=message)
    return 1, to_stdout(render_error(code, message, details, version_in(stdin)))


def split_input(data: bytes) -> tuple[dict[str, str], bytes]:
    """The environment and stdin in what a shim sent; ValueError when it was cut off."""
    environment: dict[str, str] = {}
    while True:
        pair, end, data = data.partition(b"\0")
        if not end:
            raise ValueError("the shim ended before it had sent its environment")
        if not pair:
            return environment, data
        name, _, value = pair.partition(b"=")
        environment[os.fsdecode(name)] = os.fsdecode(value)


def _receive(connection: socket.socket) -> bytes:
    pieces, size = [], 0
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > INPUT_BYTES_MAX:
            raise ValueError(f"more than {INPUT_BYTES_MAX} bytes from a shim")
    return b"".join(pieces)


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of an agent that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    listener.listen(512)
    return listener
