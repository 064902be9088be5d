"""Inside a pod: an echo over UDP and TCP, or flows to one.

    python -m tests.bench.failover_worker echo|flows ADDRESS FLOWS SPACING

Says one line of JSON when it is ready and one for each line that it reads: `look` or `end`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
PORT = 7007
BUFFER_BYTES = 4 << 20
"""Of each socket: with the usual 200 KiB a process that is held up for 70 ms would lose packets itself."""


def main() -> None:
    """Does its role until the input ends: who started it can only close that, and kill what stands between them."""
    role, address, flows, spacing_s = sys.argv[1:]
    if role == "echo":
        _echo(address)
    else:
        _flows(address, int(flows), float(spacing_s))


def _listen(answer: Callable[[str], None]) -> None:
    """Answer each line, in a thread; the end of the input ends everything."""

    def listen() -> None:
        for line in sys.stdin:
            answer(line.strip())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _echo(address: str) -> None:
    listener = socket.create_server((address, PORT))
    threading.Thread(target=_echo_streams, args=(listener,), daemon=True).start()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    server.bind((address, PORT))
    _listen(lambda _question: None)
    _say("ready")
    while True:
        data, sender = server.recvfrom(2048)
        with suppress(OSError):
            server.sendto(data, sender)


def _echo_streams(listener: socket.socket) -> None:
    while True:
        stream, _ = listener.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_echo_stream, args=(stream,), daemon=True).start()


def _echo_stream(stream: socket.socket) -> None:
    with stream, suppress(OSError):
        while data := stream.recv(65536):
            stream.sendall(data)


class Stream:
    """A TCP stream that sends a few bytes at a time and keeps when bytes came back."""

    def __init__(self, address: str, spacing_s: float) -> None:
        self.heard_at: list[float] = []
        self.broken = False
        self._spacing_s = spacing_s
        self._stream = socket.create_connection((address, PORT))
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for loop in (self._send, self._hear):
            threading.Thread(target=loop, daemon=True).start()

    def _send(self) -> None:
        try:
            while True:
                self._stream.sendall(bytes(200))
                time.sleep(self._spacing_s)
        except OSError:
            self.broken = True

    def _hear(self) -> None:
        try:
            while self._stream.recv(65536):
                self.heard_at.append(time.monotonic())
        except OSError:
            pass
        self.broken = True


def _flows(address: str, number: int, spacing_s: float) -> None:
    sockets = [_connected(address) for _ in range(number)]
    sent_at: list[float] = []
    heard_at: dict[socket.socket, dict[int, float]] = {one: {} for one in sockets}
    stream = Stream(address, spacing_s)
    _listen(lambda question: _answer(question, sent_at, heard_at, stream))
    _say("ready")
    due = time.monotonic()
    while True:
        ready, _, _ = select.select(sockets, [], [], max(0.0, due - time.monotonic()))
        now = time.monotonic()
        for one in ready:
            with suppress(OSError):  # an ICMP error: nothing came back
                heard_at[one][int.from_bytes(one.recv(2048)[:8], "big")] = now
        if now >= due:
            due = max(due + spacing_s, now)
            packet = len(sent_at).to_bytes(8, "big") + bytes(56)
            sent_at.append(now)
            for one in sockets:
                with suppress(OSError):
                    one.send(packet)


def _connected(address: str) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    one.connect((address, PORT))
    one.setblocking(False)
    return one


def _answer(
    question: str, sent_at: list[float], heard_at: dict[socket.socket, dict[int, float]], stream: Stream
) -> None:
    found = [times.copy() for times in heard_at.values()]
    if question == "end":
        lost_at = [[at for number, at in enumerate(sent_at.copy()) if number not in times] for times in found]
        came = [sorted(times.values()) for times in found]
        tcp = {"tcp_at": stream.heard_at.copy(), "tcp_broken": stream.broken}
        _say({"heard_at": came, "lost_at": lost_at, **tcp})
    else:
        _say({"now": time.monotonic(), "counts": [len(times) for times in found]})


if __name__ == "__main__":
    main()
