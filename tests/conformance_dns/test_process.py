"""The real process: both transports, both families, signals, several processes, swaps under load."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import urllib.error
import urllib.request
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.conformance_dns.running import (
    BLUE,
    NOBODY,
    RED,
    WAIT_S,
    WEB,
    Server,
    addresses,
    ask,
    ask_until,
    connect,
    loopback_world,
    receive,
    running,
    send,
    write_view,
)
from tests.unit.dns import world


def started_port(server: Server) -> int:
    """The first port of a server that was started with a view."""
    for line in server.seen:
        if line["event"] == "listening":
            return int(line["port"])
    return server.port()


def test_udp_and_tcp_give_the_same_answer(server: Server) -> None:
    """One question has one answer on both transports, and dnspython accepts it."""
    port = started_port(server)
    query = dns.message.make_query(WEB, "A")
    over_tcp = dns.query.tcp(query, "127.0.0.1", port=port, source=RED, timeout=WAIT_S)

    assert addresses(ask(port, WEB)) == addresses(over_tcp) == {"10.11.1.1", "10.11.2.7"}


def test_members_only(server: Server) -> None:
    """Who is no member hears NXDOMAIN from the running server too, again and again."""
    port = started_port(server)
    for _ in range(3):
        assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.2.7"}
        for stranger in (NOBODY, BLUE):
            assert ask(port, WEB, asker=stranger).rcode() == dns.rcode.NXDOMAIN


def test_several_addresses_and_ipv6(view: Path) -> None:
    """Each --listen is served on both transports; over IPv6 the asker is known by its IPv6 address."""
    with running("--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--view-file", str(view)) as server:
        four, six = server.port(), server.port()
        server.event("zones_swapped")
        query = dns.message.make_query(WEB, "AAAA")
        over_tcp = dns.query.tcp(query, "::1", port=six, timeout=WAIT_S)

        assert addresses(ask(four, WEB)) == {"10.11.1.1", "10.11.2.7"}
        assert addresses(ask(six, WEB, asker="::1")) == {"10.11.1.1", "10.11.2.7"}
        assert addresses(over_tcp) == {"fd00:11::101", "fd00:11::207"}
        assert server.end() == 0


def test_truncated_answers_come_whole_over_tcp(view: Path, server: Server) -> None:
    """An answer too large for UDP has TC, and dnspython's retry over TCP gets all of it."""
    many = [world.endpoint(f"p-{n}", f"10.11.3.{n}") for n in range(1, 101)]
    write_view(view, [*loopback_world(), world.endpoints("red", "shop/web", "a", *many)])
    server.signal(signal.SIGHUP)
    server.event("zones_swapped")
    query = dns.message.make_query(WEB, "A", use_edns=False)
    answer, used_tcp = dns.query.udp_with_fallback(
        query, "127.0.0.1", port=started_port(server), source=RED, timeout=WAIT_S
    )

    assert used_tcp
    assert len(addresses(answer)) == 101


def test_tcp_pipelining(server: Server) -> None:
    """Many questions sent at once on one connection are all answered, in order (RFC 7766, 6.2.1.1)."""
    queries = [dns.message.make_query(f"n{n}.shop.svc.red.slice.local.", "A", id=n).to_wire() for n in range(50)]
    with connect(started_port(server)) as sock:
        send(sock, queries)
        ids = [dns.message.from_wire(receive(sock)).id for _ in queries]

    assert ids == list(range(50))


def test_tcp_byte_by_byte(server: Server) -> None:
    """A message that comes in pieces is one message."""
    message = dns.message.make_query(WEB, "A", id=9).to_wire()
    with connect(started_port(server)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in len(message).to_bytes(2, "big") + message:
            sock.sendall(bytes((byte,)))

        assert dns.message.from_wire(receive(sock)).id == 9


def test_tcp_rubbish_does_not_end_the_server(server: Server) -> None:
    """Malformed messages get FORMERR on a connection that goes on; a cut one ends only its own."""
    port = started_port(server)
    with connect(port) as sock:
        send(sock, [b"\xbe\xef" + b"\0" * 10, b"", dns.message.make_query(WEB, "A", id=3).to_wire()])
        codes = [dns.message.from_wire(receive(sock)).rcode() for _ in range(2)]
    with connect(port) as sock:
        sock.sendall(b"\xff\xff" + b"x" * 100)
    with connect(port) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert codes == [dns.rcode.FORMERR, dns.rcode.NOERROR]
    assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.2.7"}


def test_udp_rubbish_does_not_end_the_server(server: Server) -> None:
    """Datagrams of all sorts are survived, and the next good one is answered."""
    port = started_port(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((RED, 0))
        for junk in (b"", b"x", b"\0" * 12, b"\xff" * 512, b"\0\0\0\0\0\1" + b"\xc0" * 600, b"\0" * 60000):
            sock.sendto(junk, ("127.0.0.1", port))

    assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.2.7"}


def test_tcp_connections_of_one_host_are_limited(server: Server) -> None:
    """The connection above a host's limit is closed; other hosts are served meanwhile."""
    port = started_port(server)
    query = dns.message.make_query(WEB, "A").to_wire()
    held = [connect(port) for _ in range(32)]
    try:
        for sock in held:
            send(sock, [query])
            receive(sock)
        with connect(port) as one_more, pytest.raises((EOFError, ConnectionError)):
            send(one_more, [query])
            receive(one_more)
        with connect(port, asker="127.0.0.13") as other:
            send(other, [query])

            assert dns.message.from_wire(receive(other)).rcode() == dns.rcode.NOERROR
    finally:
        for sock in held:
            sock.close()


def test_hangup_without_a_change_changes_nothing(view: Path, server: Server) -> None:
    """SIGHUP reads the view again; a wrong file is refused with file and line, and the old view stays."""
    port = started_port(server)
    view.write_text('{"key": "slice/red", "value": {"nonsense": 1}}')
    server.signal(signal.SIGHUP)
    refused = server.event("view_kept")

    assert "line 1" in refused["error"]
    assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.2.7"}


def test_without_a_view_servfail_then_answers(tmp_path: Path) -> None:
    """With no view there is no NXDOMAIN: SERVFAIL, and /readyz says so, until there is one."""
    path = tmp_path / "view.jsonl"
    with running("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--view-file", str(path)) as server:
        port = server.port()
        metrics = f"http://127.0.0.1:{server.event('metrics_listening')['port']}"
        server.event("view_kept")

        assert ask(port, WEB).rcode() == dns.rcode.SERVFAIL
        assert ask(port, "none.shop.svc.red.slice.local.").rcode() == dns.rcode.SERVFAIL
        assert ask(port, "example.com.").rcode() == dns.rcode.REFUSED
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{metrics}/readyz", timeout=WAIT_S)

        write_view(path, loopback_world())
        server.signal(signal.SIGHUP)
        server.event("zones_swapped")

        assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.2.7"}
        with urllib.request.urlopen(f"{metrics}/readyz", timeout=WAIT_S) as ready:
            assert ready.status == 200
        with urllib.request.urlopen(f"{metrics}/metrics", timeout=WAIT_S) as page:
            text = page.read().decode()

        assert "slicer_dns_synced 1" in text
        assert 'slicer_dns_packets_total{transport="udp",what="rcode_servfail"} 2' in text


def test_counters_are_logged_and_stop_is_clean(server: Server) -> None:
    """SIGUSR1 logs the counters; SIGTERM ends the process with 0 and all lines of its log are JSON."""
    port = started_port(server)
    for _ in range(3):
        ask(port, WEB)
    server.signal(signal.SIGUSR1)
    counters = server.event("counters")

    assert counters["udp"]["kept"] + counters["udp"]["worked_out"] == 3
    assert server.end() == 0
    assert server.seen[-1]["event"] == "stopped"
    assert [line for line in server.seen if line["event"] == "not_json"] == []


def test_address_in_use_ends_it_with_a_message(view: Path, server: Server) -> None:
    """A second server on the same address says which address is taken and ends with 1."""
    port = started_port(server)
    with running("--listen", f"127.0.0.1:{port}", "--view-file", str(view)) as second:
        message = second.event("cannot_run")["error"]

        assert str(port) in message
        assert second.process.wait(WAIT_S) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "127.0.0.1", "--state", "x"], "127.0.0.1"),
        (["--listen", "::1:53", "--state", "x"], "::1:53"),
        (["--listen", "127.0.0.1:70000", "--state", "x"], "70000"),
        (["--listen", "127.0.0.1:0"], "--view-file"),
        (["--listen", "127.0.0.1:0", "--state", "x", "--view-file", "y"], "--view-file"),
        (["--listen", "127.0.0.1:0", "--state", "x", "--trust-ecs", "10.0.0.1/8"], "10.0.0.1/8"),
        (["--listen", "127.0.0.1:0", "--state", "x", "--processes", "0"], "0"),
    ],
)
def test_wrong_command_lines(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line ends with 2 and names the offending text."""
    from slicer_dns.options import parse_options

    with pytest.raises(SystemExit) as ended:
        parse_options(arguments)

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_several_processes_swap_all_together(view: Path) -> None:
    """With --processes each worker answers, follows swaps and ends with its parent; counters are of all of them."""
    with running("--listen", "127.0.0.1:0", "--processes", "3", "--view-file", str(view)) as server:
        port = server.port()
        server.event("zones_swapped")
        ask_until(lambda answer: answer.rcode() == dns.rcode.NOERROR, port, WEB)
        changed = [*loopback_world(), world.endpoints("red", "shop/web", "b", world.endpoint("n", "10.11.9.9"))]
        write_view(view, changed)
        server.signal(signal.SIGHUP)
        server.event("zones_swapped")
        # Each new source port may meet another worker; all of them must come to the new view.
        for _ in range(20):
            ask_until(lambda answer: "10.11.9.9" in addresses(answer), port, WEB)
        server.signal(signal.SIGUSR1)

        assert server.event("counters")["udp"]["rcode_noerror"] >= 3
        assert server.end() == 0


def test_dead_worker_ends_the_server(view: Path) -> None:
    """A worker that dies takes the whole server down with 1, so that its supervisor starts all of it again."""
    with running("--listen", "127.0.0.1:0", "--processes", "2", "--view-file", str(view)) as server:
        server.port()
        server.event("zones_swapped")
        os.kill(children_of(server)[0], signal.SIGKILL)
        server.event("worker_died")

        assert server.process.wait(WAIT_S) == 1


def test_killed_server_leaves_no_worker(view: Path) -> None:
    """Workers end when their parent is killed: nobody goes on answering from an old view."""
    with running("--listen", "127.0.0.1:0", "--processes", "3", "--view-file", str(view)) as server:
        server.port()
        server.event("zones_swapped")
        children = children_of(server)
        server.process.kill()
        server.process.wait(WAIT_S)

        assert len(children) == 2
        while any(_lives(pid) for pid in children):
            threading.Event().wait(0.01)


def children_of(server: Server) -> list[int]:
    """The worker processes of a server."""
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def _lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_swaps_under_load_never_mix(view: Path, server: Server) -> None:
    """While views change, each answer is wholly of one view: addresses of two generations never come together."""
    port = started_port(server)
    generations = [[*loopback_world(), *(_generation(n, cluster) for cluster in ("a", "b"))] for n in (1, 2)]
    stop, mixed, answered = threading.Event(), [], [0, 0]

    def load(number: int) -> None:
        while not stop.is_set():
            found = addresses(ask(port, WEB))
            answered[number] += 1
            if len({address.split(".")[2] for address in found if address.startswith("10.11.20")}) > 1:
                mixed.append(found)

    threads = [threading.Thread(target=load, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for swap in range(20):
        write_view(view, generations[swap % 2])
        server.signal(signal.SIGHUP)
        server.event("zones_swapped")
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)

    assert mixed == []
    assert min(answered) > 0


def _generation(number: int, cluster: str) -> object:
    found = [world.endpoint(f"p-{n}", f"10.11.{200 + number}.{n}") for n in range(1, 9)]
    return world.endpoints("red", "shop/web", cluster, *found)
