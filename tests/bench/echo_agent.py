"""An agent that does nothing: answers every call of the shim at once. What is left is what a Python executable costs.

    python -m tests.bench.echo_agent SOCKET

Prints a line when it listens; ends when its stdin does.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

ANSWER = b"0" + json.dumps({"cniVersion": "1.0.0", "ips": [{"address": "10.79.0.1/32"}]}).encode()


def main() -> None:
    """Answers until stdin ends."""
    path = Path(sys.argv[1])
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(512)
    threading.Thread(target=_answer_forever, args=(listener,), daemon=True).start()
    print("listening", flush=True)
    sys.stdin.read()
    path.unlink(missing_ok=True)


def _answer_forever(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1 << 16):
                pass
            connection.sendall(ANSWER)


if __name__ == "__main__":
    main()
