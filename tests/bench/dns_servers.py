"""The name servers that are compared, as processes on loopback with the same records, and how they are asked."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from slicer.client.codec import encode_documents
from slicer.model.attachments import Attachment, AttachmentState, Endpoint, EndpointSet
from slicer.model.documents import Document, key_of
from slicer.model.slices import Export, Slice, SliceState
from tools.gomodule import build
from tools.pins import read_pins
from tools.run import ROOT

OURS, DNSLIB, COREDNS = "slicer-dns", "dnslib.server", "CoreDNS"
ZONE = "bench.slice.local"
RATE = re.compile(r"Queries per second:\s+([\d.]+)")
FAILED = re.compile(r"Queries lost:\s+(\d+)|(SERVFAIL|REFUSED|NXDOMAIN|FORMERR)\s+\d+")
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Processor time of the process so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self) -> float:
        """Resident memory now."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def records(names: int) -> dict[str, str]:
    """Name → address of each service."""
    first = ipaddress.ip_address("10.77.1.0")
    return {f"service-{number}.shop.svc.{ZONE}": str(first + number) for number in range(names)}


def write_inputs(directory: Path, names: int) -> None:
    """The same records in each server's form, and dnsperf's questions."""
    table = records(names)
    (directory / "table").write_text("".join(f"{name} {address}\n" for name, address in table.items()))
    (directory / "questions").write_text("".join(f"{name} A\n" for name in table))
    soa = f"{ZONE}. 5 IN SOA ns.dns.{ZONE}. hostmaster.{ZONE}. 1 7200 1800 86400 5\n{ZONE}. 5 IN NS ns.dns.{ZONE}.\n"
    (directory / "zone").write_text(soa + "".join(f"{n}. 5 IN A {a}\n" for n, a in table.items()))
    coded = encode_documents({key_of(value): value for value in _documents(table)})
    (directory / "view").write_text(json.dumps({"documents": coded}))


def _documents(table: Mapping[str, str]) -> Iterator[Document]:
    prefix = ipaddress.ip_network("10.77.0.0/16")
    yield SliceState(spec=Slice(name="bench", prefixes=(prefix,)), vni=1, tunnel_set=0)
    yield Attachment(
        container_id="asker",
        interface="net1",
        slice="bench",
        cluster="a",
        node="a-n1",
        namespace="shop",
        pod="asker",
        netns="/run/netns/asker",
        addresses=(prefix[1],),
        mac="02:00:00:00:00:01",
        host_interface="p00000001",
        mtu=1420,
        state=AttachmentState.ATTACHED,
        primary_addresses=(ipaddress.ip_address("127.0.0.1"),),
    )
    for name, address in table.items():
        service = name.partition(".")[0]
        pods = (Endpoint(pod=f"{service}-0", node="a-n1", addresses=(ipaddress.ip_address(address),)),)
        yield Export(slice="bench", namespace="shop", name=service, selector=(("app", service),))
        yield EndpointSet(slice="bench", namespace="shop", name=service, cluster="a", endpoints=pods)


def commands(directory: Path, *, coredns: bool) -> dict[str, Sequence[str]]:
    """Variant → its command line, with `PORT` where the port goes."""
    python = (sys.executable, "-m")
    found: dict[str, Sequence[str]] = {
        OURS: (*python, "slicer_dns.main", "--listen", "127.0.0.1:PORT", "--view-file", f"{directory}/view"),
        DNSLIB: (*python, "tests.bench.dns_baseline", "PORT", f"{directory}/table"),
    }
    program = build(read_pins().coredns, "", "coredns") if coredns else None
    if program is not None:
        corefile = directory / "Corefile"
        corefile.write_text(f"{ZONE}:{{$PORT}} {{\n bind 127.0.0.1\n file {directory}/zone\n}}\n")
        found[COREDNS] = (str(program), "-conf", str(corefile), "-quiet")
    return found


@contextmanager
def serving(command: Sequence[str], name: str) -> Iterator[Running]:
    """The server, on the first core alone, once it answers `name`."""
    port = _free_port()
    words = [word.replace("PORT", str(port)) for word in command]
    # The same core for each of them: CoreDNS would take all.
    environment = {**os.environ, "PORT": str(port), "GOMAXPROCS": "1"}
    cores = sorted(os.sched_getaffinity(0))
    process = subprocess.Popen(
        ("taskset", "-c", str(cores[0]), *words),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port, name)
        yield Running(pid=process.pid, port=port)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            answer = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=0.2)
        except (dns.exception.Timeout, OSError):
            continue
        if answer.rcode() == dns.rcode.NOERROR and answer.answer:
            return
    raise RuntimeError(f"{process.args!r} answers nothing")


def ask(server: Running, questions: Path, seconds: int) -> tuple[float, float]:
    """(answers a second, answers a second of the server's processor time), by dnsperf on the last core."""
    cores = sorted(os.sched_getaffinity(0))
    before = server.cpu_s()
    load = ("-l", str(seconds), "-c", "8", "-q", "100", "-t", "1")
    done = subprocess.run(
        ("taskset", "-c", str(cores[-1]), "dnsperf", "-s", "127.0.0.1", "-p", str(server.port), "-d", questions, *load),
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    used_s = server.cpu_s() - before
    rate = RATE.search(done.stdout)
    failed = FAILED.search(done.stdout)
    if rate is None or (failed and failed.group(1) != "0"):
        raise RuntimeError(f"dnsperf: {done.stdout[-1500:]}{done.stderr[-500:]}")
    return float(rate.group(1)), float(rate.group(1)) * seconds / max(used_s, 1 / TICKS)
