"""What slicer-dns is compared with: `dnslib.server` with a table of A records.

Run as `python -m tests.bench.dns_baseline PORT FILE`; FILE has a line `name address` for each record.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dnslib
from dnslib.server import BaseResolver, DNSServer

TTL_S = 5


class Table(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    """Answers A questions from a dict, as a resolver for dnslib's server does."""

    def __init__(self, records: dict[str, str]) -> None:
        self._records = {dnslib.DNSLabel(name): dnslib.A(address) for name, address in records.items()}

    def resolve(self, request: Any, handler: Any) -> Any:
        """The record with the name that was asked for, or NXDOMAIN."""
        del handler
        reply = request.reply(ra=0)
        found = self._records.get(request.q.qname)
        if found is None:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        else:
            reply.add_answer(dnslib.RR(request.q.qname, dnslib.QTYPE.A, rdata=found, ttl=TTL_S))
        return reply


def main() -> None:
    """Serves until it is killed."""
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    records = dict(line.split() for line in path.read_text().splitlines())
    server = DNSServer(Table(records), address="127.0.0.1", port=port, logger=Silent())
    server.start()


class Silent:
    """dnslib's server prints each packet unless it is told not to, which would be measured too."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


if __name__ == "__main__":
    main()
