"""A cluster's CoreDNS with our stanza in its Corefile: who asks is told, nothing is kept, the rest is as before.

asker 127.0.0.1x ──▶ CoreDNS 127.0.0.10:53 ──(client subnet)──▶ slicer-dns 127.0.0.77:53
                          └─ all other names: the cluster's own
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from slicer.plan.corefile import add_stanza, remove_stanza
from tests.conformance_dns.running import BLUE, BOTH, NOBODY, RED, WEB, loopback_world, running, write_view
from tools.gomodule import build
from tools.pins import read_pins

pytestmark = [pytest.mark.root]
CLUSTER_DNS, SLICER_DNS = "127.0.0.10", "127.0.0.77"
PATIENCE_S = 30.0
OWN = "kubernetes.default.svc.cluster.local."
COREFILE = f""".:53 {{
    bind {CLUSTER_DNS}
    errors
    hosts {{
        10.96.0.1 {OWN.rstrip(".")}
        ttl 7
    }}
    cache 30
    reload 2s 1s
}}
"""


def ask(name: str, asker: str, *, tcp: bool = False, **options: object) -> dns.message.Message:
    """The answer of the cluster's DNS to a pod with this address."""
    question = dns.message.make_query(name, "A", **options)  # type: ignore[arg-type]
    send = dns.query.tcp if tcp else dns.query.udp
    return send(question, CLUSTER_DNS, timeout=5, source=asker)


def addresses(answer: dns.message.Message) -> list[str]:
    """The addresses in an answer."""
    return sorted(str(record) for rrset in answer.answer for record in rrset)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; a server that does not answer yet is asked again."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with suppress(OSError, dns.exception.DNSException):
            if condition():
                return
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def coredns(path: Path) -> Iterator[None]:
    """CoreDNS with this Corefile, once it answers the cluster's own name."""
    program = build(read_pins().coredns, "", "coredns")
    assert program is not None, "CoreDNS could not be built: install Go"
    with path.with_name("coredns.log").open("wb") as out:
        process = subprocess.Popen((str(program), "-conf", str(path)), stdout=out, stderr=out, env=os.environ)
    try:
        wait_for(lambda: addresses(ask(OWN, NOBODY)) == ["10.96.0.1"])
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def corefile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Both servers run; the Corefile has the stanza."""
    directory = tmp_path_factory.mktemp("dns")
    view, path = directory / "view", directory / "Corefile"
    write_view(view, loopback_world())
    path.write_text(add_stanza(COREFILE, [ipaddress.ip_address(SLICER_DNS)]))
    with running("--listen", f"{SLICER_DNS}:53", "--view-file", str(view)) as server:
        server.event("zones_swapped")
        with coredns(path):
            yield path


@pytest.mark.usefixtures("corefile")
@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
def test_a_member_gets_the_answer_and_nobody_else_does(*, tcp: bool):
    """By the asker's own address, which CoreDNS passes on; another slice's member is as foreign as anybody."""
    members = {asker: ask(WEB, asker, tcp=tcp) for asker in (RED, BOTH)}
    others = {asker: ask(WEB, asker, tcp=tcp) for asker in (BLUE, NOBODY)}

    assert all(addresses(answer) for answer in members.values())
    assert [answer.rcode() for answer in others.values()] == [dns.rcode.NXDOMAIN, dns.rcode.NXDOMAIN]
    assert not any(addresses(answer) for answer in others.values())


@pytest.mark.usefixtures("corefile")
def test_nothing_is_kept_between_askers():
    """The same question in turn: each time the answer is the asker's own, in whichever order they ask."""
    for asker, found in ((RED, True), (NOBODY, False), (RED, True), (BLUE, False), (NOBODY, False), (BOTH, True)):
        assert bool(addresses(ask(WEB, asker))) is found


@pytest.mark.usefixtures("corefile")
def test_a_pod_cannot_ask_in_anothers_name():
    """A client subnet that the asker wrote itself is replaced by its own address."""
    subnet = dns.edns.ECSOption(RED, 32)

    assert addresses(ask(WEB, NOBODY, options=[subnet])) == []
    assert addresses(ask(WEB, RED, options=[dns.edns.ECSOption(NOBODY, 32)]))


@pytest.mark.usefixtures("corefile")
def test_the_clusters_own_names_are_as_before():
    """Same answer, same time to live, and the cache of the cluster's own block still works."""
    first, second = ask(OWN, NOBODY), ask(OWN, RED)

    assert addresses(first) == addresses(second) == ["10.96.0.1"]
    assert second.answer[0].ttl <= 7
    assert ask("nosuch.cluster.local.", RED).rcode() == ask("nosuch.cluster.local.", NOBODY).rcode()


def test_taking_the_stanza_out_is_seen_while_it_runs(corefile: Path):
    """CoreDNS reloads: the slice's names are unknown then, the cluster's own never were; and it comes back."""
    whole = corefile.read_text()
    corefile.write_text(remove_stanza(whole))
    assert corefile.read_text() == COREFILE
    wait_for(lambda: not addresses(ask(WEB, RED)))
    assert addresses(ask(OWN, RED)) == ["10.96.0.1"]
    corefile.write_text(add_stanza(corefile.read_text(), [ipaddress.ip_address(SLICER_DNS)]))
    wait_for(lambda: bool(addresses(ask(WEB, RED))))

    assert corefile.read_text() == whole
