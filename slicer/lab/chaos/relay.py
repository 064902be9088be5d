"""`python -m slicer.lab.chaos.relay ONE OTHER DELAY_MS`: passes frames between two interfaces, WireGuard's later.

Everything else passes at once: the way between clusters gets longer, not that inside a cluster. Frames are passed as
the kernel gives them, with the header that says what of checksums and segmentation is still to be done
(PACKET_VNET_HDR), so that large frames and unfinished checksums arrive as they would by cable. It ends when one of the
interfaces does, or on SIGTERM.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from slicer.lab.chaos.faults import WIREGUARD_PORTS

_ETH_P_ALL = 3
_SOL_PACKET = 263  # include/linux/socket.h
_PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 15, 23  # linux/if_packet.h
_FRAME_BYTES = 1 << 17
"""More than a frame that is still to be segmented can have."""
_QUEUE_BYTES = 8 << 20
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h

_VNET_HEADER = 10  # struct virtio_net_hdr
_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17
_SHORTEST = 14 + 20 + 8
"""Bytes of an Ethernet frame with an empty datagram."""
_FIRST, _LAST = (int(port) for port in WIREGUARD_PORTS.split("-"))
Held = deque[tuple[float, bytes]]


def main() -> None:
    """Relay until one end is gone."""
    one, other = _opened(sys.argv[1]), _opened(sys.argv[2])
    print("ready", flush=True)
    try:
        relay(one, other, int(sys.argv[3]) / 1000)
    except OSError as error:
        print(f"ended: {error}", flush=True)


def relay(one: socket.socket, other: socket.socket, delay_s: float) -> None:
    """Pass frames for ever; OSError when an interface is gone."""
    held: dict[socket.socket, Held] = {one: deque(), other: deque()}
    peer = {one: other, other: one}
    while True:
        ready, _, _ = select.select([one, other], [], [], _patience_s(held.values()))
        now = time.monotonic()
        for end in ready:
            frame = end.recv(_FRAME_BYTES)
            if is_between_clusters(frame[_VNET_HEADER:]):
                held[peer[end]].append((now + delay_s, frame))
            else:
                _send(peer[end], frame)
        for end, frames in held.items():
            while frames and frames[0][0] <= now:
                _send(end, frames.popleft()[1])


def is_between_clusters(frame: bytes) -> bool:
    """Whether an Ethernet frame holds a UDP datagram to or from a tunnel's port (later fragments of one: no)."""
    if len(frame) < _SHORTEST:
        return False
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV4 and frame[23] == _UDP and not int.from_bytes(frame[20:22], "big") & 0x1FFF:
        start = 14 + 4 * (frame[14] & 0x0F)
    elif kind == _IPV6 and frame[20] == _UDP:
        start = 14 + 40
    else:
        return False
    ports = (int.from_bytes(frame[at : at + 2], "big") for at in (start, start + 2))
    return any(_FIRST <= port <= _LAST for port in ports)


def _send(end: socket.socket, frame: bytes) -> None:
    with suppress(BlockingIOError, InterruptedError):  # its queue is full: lost, as on a cable
        end.send(frame)


def _patience_s(queues: Iterable[Held]) -> float | None:
    due = [frames[0][0] for frames in queues if frames]
    return max(0.0, min(due) - time.monotonic()) if due else None


def _opened(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    end.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    end.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
    end.bind((interface, 0))
    end.setblocking(False)
    return end


if __name__ == "__main__":
    main()
