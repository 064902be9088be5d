"""Whether the agent of this node lives or is ready: `python -IS probe.py alive|ready [SOCKET]`, for the kubelet.

Run every few seconds, so it imports built-in modules alone.

ready   the CNI socket is open: the node has joined, pods can be attached
alive   an open socket is answered; an agent that waits for its controller has none, and is well
"""

import _socket
import sys

SOCKET = "/run/slicer/cni.sock"
PATIENCE_S = 10.0
_STATUS = b'CNI_COMMAND=STATUS\0\0{"cniVersion":"1.1.0","name":"probe","type":"slicer"}'
"""A call of the shim protocol that changes nothing; any answer is an answer."""


def main(question: str, path: str = SOCKET) -> int:
    """Exit code: 0 yes, 1 no."""
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout(PATIENCE_S)
    try:
        link.connect(path)
    except OSError:
        return 0 if question == "alive" else 1
    if question == "ready":
        return 0
    try:
        link.sendall(_STATUS)
        link.shutdown(_socket.SHUT_WR)
        return 0 if link.recv(1) else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
