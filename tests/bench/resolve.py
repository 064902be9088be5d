"""Asks for a name until it has an address: `python -m tests.bench.resolve NAME`, in a pod. Prints `ready`, then when.

The time is CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share.
"""

from __future__ import annotations

import sys
import time

import dns.exception
import dns.message
import dns.query
import dns.resolver

PAUSE_S = 0.002
PATIENCE_S = 30.0


def main() -> int:
    """0 once the name was answered with an address, 1 if it was not in PATIENCE_S."""
    server = str(dns.resolver.Resolver().nameservers[0])
    query = dns.message.make_query(sys.argv[1], "A")
    print("ready", flush=True)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if _answered(query, server):
            print(time.monotonic_ns(), flush=True)
            return 0
        time.sleep(PAUSE_S)
    return 1


def _answered(query: dns.message.Message, server: str) -> bool:
    try:
        return bool(dns.query.udp(query, server, timeout=0.2).answer)
    except (dns.exception.DNSException, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
