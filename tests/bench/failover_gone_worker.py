"""Inside a pod: asks for a name and connects to an address, again and again, and keeps what came of it.

    python -m tests.bench.failover_gone_worker NAME ADDRESS PORT

Says `ready`; at the end of its input a line of JSON: a list of attempts [kind, CLOCK_MONOTONIC in seconds, outcome].
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

import dns.exception
import dns.message
import dns.query
import dns.resolver

PAUSE_S = 0.02
PATIENCE_S = 0.2
"""What was not answered in that time hangs."""
OPEN, REFUSED, SILENT = "open", "refused", "silent"
NAMED, NAMELESS = "named", "nameless"
Attempt = tuple[str, float, str]


def main() -> None:
    """Try until the input ends; names and connections in threads of their own, so that neither waits for the other."""
    name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    query, server = dns.message.make_query(name, "A"), str(dns.resolver.Resolver().nameservers[0])
    attempts: list[Attempt] = []
    for kind, attempt in (("name", lambda: ask(query, server)), ("connect", lambda: connect(address, port))):
        threading.Thread(target=_repeat, args=(kind, attempt, attempts), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(attempts.copy()), flush=True)


def _repeat(kind: str, attempt: Callable[[], str], attempts: list[Attempt]) -> None:
    while True:
        at = time.monotonic()
        attempts.append((kind, at, attempt()))
        time.sleep(PAUSE_S)


def ask(query: dns.message.Message, server: str) -> str:
    """Whether the name has an address; SILENT without an answer."""
    try:
        return NAMED if dns.query.udp(query, server, timeout=PATIENCE_S).answer else NAMELESS
    except (dns.exception.DNSException, OSError):
        return SILENT


def connect(address: str, port: int) -> str:
    """What a TCP connection comes to."""
    with socket.socket() as one:
        one.setblocking(False)
        one.connect_ex((address, port))
        _, writable, _ = select.select([], [one], [], PATIENCE_S)
        if not writable:
            return SILENT
        return REFUSED if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else OPEN


if __name__ == "__main__":
    main()
