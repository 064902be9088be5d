"""`python -m slicer.lab.chaos.flow ADDRESS FLOWS SPACING_S`: in a pod, one end of numbered UDP flows, to and fro.

Talks in lines of JSON. Says its ports first. Told where the other end is it begins to send and to listen:

    {"do": "go", "address": "10.22.8.2", "ports": [...], "key": "..."}   nothing
    {"do": "look"}                                                      {"now": s, "heard": [packets of each flow]}
    {"do": "end"}                                                       {"sent_at": [...], "heard": [[[number, at]]]}

A packet of every flow goes out at the same time; some flows send large packets. All times are of the kernel's monotonic
clock, which is one for all machines of a lab, so that each direction is measured by itself. Ends with its input.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any

LARGE_EVERY = 4
"""Every so many flows one sends large packets."""
SMALL_BYTES, LARGE_BYTES = 64, 1360
"""Of payload. The larger one is an IP packet of 1388 bytes, 1408 with IPv6: what a pod on a slice may send (1420)."""
_HEAD = struct.Struct(">8sQ")
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_BUFFER_BYTES = 4 << 20
"""With the usual 200 KiB a process that is held up for a moment would lose packets itself."""
Address = tuple[str, int]


class Flows:
    """This end of all flows."""

    def __init__(self, address: str, number: int, spacing_s: float) -> None:
        self.sockets = [_bound(address) for _ in range(number)]
        self.spacing_s = spacing_s
        self.sent_at: list[float] = []
        self.heard: list[dict[int, float]] = [{} for _ in self.sockets]

    def ports(self) -> list[int]:
        """Where each flow is heard."""
        return [int(one.getsockname()[1]) for one in self.sockets]

    def run(self, peers: list[Address], key: bytes) -> None:
        """Send and hear for ever."""
        flow_of = {one: number for number, one in enumerate(self.sockets)}
        due = time.monotonic()
        while True:
            ready, _, _ = select.select(self.sockets, [], [], max(0.0, due - time.monotonic()))
            now = time.monotonic()
            for one in ready:
                self._hear(one, self.heard[flow_of[one]], key, now)
            if now >= due:
                due = max(due + self.spacing_s, now)
                self._send(peers, key, now)

    def _hear(self, one: socket.socket, heard: dict[int, float], key: bytes, now: float) -> None:
        with suppress(OSError, struct.error):  # an ICMP error, or a stranger's packet
            given, number = _HEAD.unpack_from(one.recv(2048))
            if given == key:
                heard.setdefault(number, now)

    def _send(self, peers: list[Address], key: bytes, now: float) -> None:
        number = len(self.sent_at)
        self.sent_at.append(now)
        head = _HEAD.pack(key, number)
        for flow, (one, peer) in enumerate(zip(self.sockets, peers, strict=True)):
            size = LARGE_BYTES if flow % LARGE_EVERY == 0 else SMALL_BYTES
            with suppress(OSError):  # no way there now: lost, like one on the way
                one.sendto(head.ljust(size, b"\0"), peer)


def main() -> None:
    """Until the input ends."""
    flows = Flows(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    _say({"ports": flows.ports()})
    go = json.loads(sys.stdin.readline() or "null")
    if go is None:
        return
    threading.Thread(target=_answer, args=(flows,), daemon=True).start()
    flows.run([(go["address"], port) for port in go["ports"]], bytes.fromhex(go["key"]))


def _answer(flows: Flows) -> None:
    for line in sys.stdin:
        _say(_answers(flows, json.loads(line)["do"]))
    os._exit(0)


def _answers(flows: Flows, question: str) -> dict[str, Any]:
    if question == "look":
        return {"now": time.monotonic(), "heard": [len(one) for one in flows.heard]}
    return {"sent_at": flows.sent_at.copy(), "heard": [sorted(one.copy().items()) for one in flows.heard]}


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _bound(address: str) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    one.bind((address, 0))
    one.setblocking(False)
    return one


if __name__ == "__main__":
    main()
