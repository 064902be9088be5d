"""What a node of a test network sends and keeps: flows of datagrams, and the lines of its log."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from collections import deque

from slicer.agent.log import JsonLines
from slicer.kernel import netns

BUFFER_BYTES = 16 << 20
SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; Python has no name for it. Beyond net.core.rmem_max, for who may."""
LATE_S = 3.0
"""How long after the last datagram answers still count."""
GAP_S = 0.2


class Flow:
    """One UDP socket."""

    def __init__(self, ns: str, target: tuple[str, int]) -> None:
        self.socket = netns.socket_in(f"/run/netns/{ns}", socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(target)
        self.socket.setblocking(False)
        self.heard_at: list[float] = []


class Flows:
    """Several flows from one thread, so that a loaded machine delays all of them alike."""

    def __init__(self, ns: str, target: str, port: int, number: int, interval_s: float) -> None:
        self.flows = [Flow(ns, (target, port)) for _ in range(number)]
        self._interval_s = interval_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[list[float]]:
        self._ending.set()
        self._thread.join()
        for flow in self.flows:
            flow.socket.close()
        return [flow.heard_at for flow in self.flows]

    def _run(self) -> None:
        sockets = {flow.socket: flow for flow in self.flows}
        due = time.monotonic()
        while not self._ending.is_set():
            ready, _, _ = select.select(list(sockets), [], [], max(0.0, due - time.monotonic()))
            for one in ready:
                with contextlib.suppress(OSError):  # an ICMP error: nothing came back
                    one.recv(2048)
                    sockets[one].heard_at.append(time.monotonic())
            if time.monotonic() >= due:
                due = max(due + self._interval_s, time.monotonic())
                for one in sockets:
                    with contextlib.suppress(OSError):
                        one.send(bytes(32))


class Kept(logging.Handler):
    """Keeps what is logged, with the monotonic time."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: deque[tuple[float, str]] = deque(maxlen=2000)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((time.monotonic(), self.format(record)))


class Counted:
    """UDP flows of numbered datagrams, all from one thread; buffers are large, so that only the network loses any."""

    def __init__(self, ns: str, target: str, port: int, flows: int, interval_s: float) -> None:
        self.sockets = [netns.socket_in(f"/run/netns/{ns}", socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
        for one in self.sockets:
            one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            one.setblocking(False)
            one.connect((target, port))
        self.number = 0
        self._sent_at: list[float] = []
        self._heard: list[set[int]] = [set() for _ in self.sockets]
        self._interval_s, self._ending = interval_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[int]:
        self._ending.set()
        self._thread.join()
        return [self.number - len(heard) for heard in self._heard]

    def gaps(self) -> list[tuple[float, float, int]]:
        found: list[tuple[float, float, int]] = []
        for number, at in enumerate(self._sent_at, 1):
            if number in self._heard[0]:
                continue
            if found and at - found[-1][1] < GAP_S:
                found[-1] = (found[-1][0], at, found[-1][2] + 1)
            else:
                found.append((at, at, 1))
        return found

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            self._listen(due)
            if time.monotonic() >= due:
                due = max(due + self._interval_s, time.monotonic())
                self.number += 1
                self._sent_at.append(time.monotonic())
                for one in self.sockets:
                    with contextlib.suppress(OSError):
                        one.send(struct.pack("!Q", self.number))
        self._listen(time.monotonic() + LATE_S)

    def _listen(self, until: float) -> None:
        while (left_s := until - time.monotonic()) > 0:
            for one in select.select(self.sockets, [], [], left_s)[0]:
                with contextlib.suppress(OSError):
                    while data := one.recv(64):
                        self._heard[self.sockets.index(one)].add(struct.unpack("!Q", data)[0])
