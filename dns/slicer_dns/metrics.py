"""The counters for people and Prometheus: text exposition format, and a tiny HTTP server for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from slicer_dns.answering import Counts

REQUEST_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the server as a whole can say of itself."""

    udp: tuple[Counts, ...]
    tcp: Counts
    tcp_connections: int
    synced: bool
    serial: int
    swaps: int
    zones: int


def total(counts: Iterable[Counts]) -> dict[str, int]:
    """The sums of several loops' counters."""
    sums = {"kept": 0, "worked_out": 0, "ignored": 0, "failed": 0}
    for each in counts:
        sums["kept"] += each.kept
        sums["worked_out"] += each.requests
        sums["ignored"] += each.ignored
        sums["failed"] += each.failed
        for code, number in each.by_rcode.items():
            name = f"rcode_{code.lower()}"
            sums[name] = sums.get(name, 0) + number
    return sums


def as_values(status: Status) -> Mapping[str, object]:
    """The status as keys of a log line."""
    return {
        "udp": total(status.udp),
        "tcp": total((status.tcp,)),
        "tcp_connections": status.tcp_connections,
        "synced": status.synced,
        "serial": status.serial,
        "swaps": status.swaps,
        "zones": status.zones,
    }


def render_metrics(status: Status) -> str:
    """Prometheus text format 0.0.4."""
    lines = []
    for transport, counts in (("udp", status.udp), ("tcp", (status.tcp,))):
        for name, number in total(counts).items():
            lines.append(f'slicer_dns_packets_total{{transport="{transport}",what="{name}"}} {number}')
    return "\n".join(
        [
            "# HELP slicer_dns_packets_total Packets by what became of them; rcode_* are part of worked_out.",
            "# TYPE slicer_dns_packets_total counter",
            *lines,
            "# TYPE slicer_dns_tcp_connections gauge",
            f"slicer_dns_tcp_connections {status.tcp_connections}",
            "# HELP slicer_dns_synced 1 once there is a view to answer from.",
            "# TYPE slicer_dns_synced gauge",
            f"slicer_dns_synced {int(status.synced)}",
            "# TYPE slicer_dns_zones gauge",
            f"slicer_dns_zones {status.zones}",
            "# TYPE slicer_dns_serial gauge",
            f"slicer_dns_serial {status.serial}",
            "# HELP slicer_dns_swaps_total How often the zones were replaced.",
            "# TYPE slicer_dns_swaps_total counter",
            f"slicer_dns_swaps_total {status.swaps}",
            "",
        ]
    )


async def serve_metrics(host: str, port: int, status: Callable[[], Status]) -> asyncio.Server:
    """GET /metrics, /healthz, /readyz (503 until synced); one request a connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                writer.write(_respond(line.decode("latin-1").split(" "), status))
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, host, port)


def _respond(request: list[str], status: Callable[[], Status]) -> bytes:
    path = request[1] if len(request) > 1 and request[0] == "GET" else ""
    if path == "/metrics":
        return _http("200 OK", render_metrics(status()))
    if path == "/healthz":
        return _http("200 OK", "ok\n")
    if path == "/readyz":
        return _http("200 OK", "ok\n") if status().synced else _http("503 Service Unavailable", "no view yet\n")
    return _http("404 Not Found", "GET /metrics, /healthz, /readyz\n")


def _http(code: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
