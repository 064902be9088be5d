"""One node of a test network: a process with its own network, mount and PID namespaces that runs a real DataPlane.

Started by `tests/netns/nursery.py`; speaks pickled calls over its standard input and output. Ending it ends everything
in it: its PID namespace dies with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from streams import BUFFER_BYTES, SO_RCVBUFFORCE, Counted, Flows, Kept

from slicer.agent.changes import Changes
from slicer.agent.health import HealthProber
from slicer.agent.reconciler import Reconciler
from slicer.kernel import netns
from slicer.kernel.commands import find_leaf
from slicer.kernel.dataplane import DataPlane
from slicer.kernel.keys import Keys
from slicer.kernel.linkwatch import LinkWatch
from slicer.kernel.wireguard import WireGuard
from slicer.kernel.wireguard_choice import choose, kernel_can
from slicer.kernel.wireguard_go import find_program
from slicer.plan.dataplane import Health, LocalState
from slicer.plan.probe_targets import Target

STATE, RUN = Path("/run/slicer-state"), Path("/run/slicer")
WIREGUARD = os.environ.get("SLICER_TEST_WIREGUARD", "auto")
"""The back end under test: one that is named here and cannot be had is an error, and never replaced by another."""


class Node:
    """What the test may ask of the node."""

    def __init__(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        Path("/run/netns").mkdir()
        self.dataplane: DataPlane | None = None
        self._log = Kept()
        logging.basicConfig(level="INFO", handlers=[self._log])
        self._wireguards: dict[str, WireGuard | None] = {}

    def start(self, **options: object) -> str:
        """Start a DataPlane (again: as an agent that was restarted); the name of its WireGuard."""
        if self.dataplane is not None:
            self.dataplane.close()
        options = {"wireguard": WIREGUARD, **options}
        self.dataplane = DataPlane(state_dir=STATE, run_dir=RUN, port_base=51820, **options)
        return self.dataplane.wireguard_name

    def call(self, method: str, *arguments: object) -> object:
        """Call the DataPlane."""
        return getattr(self.dataplane, method)(*arguments)

    def back_ends(self) -> list[str]:
        """The WireGuard back ends that this machine can have."""
        return ["wireguard-go", *(["kernel"] if kernel_can() else [])]

    def leaf(self) -> str:
        """The queue that classes of packets get."""
        return find_leaf()

    def wireguard(self, choice: str, method: str, *arguments: object) -> object:
        """Call a back end itself."""
        keys = Keys(STATE, 51820)
        if choice not in self._wireguards:
            self._wireguards[choice] = choose(choice, keys.public_of, RUN / "wireguard")
        return getattr(self._wireguards[choice], method)(*arguments)

    def guard(self, view: object, local: LocalState, **options: object) -> None:
        """Run what an agent runs to keep the data plane alive: reconciler, link watch and prober; `see` changes it."""
        self.view, self.local = view, local
        self.bell = Changes()
        self.prober = HealthProber(dataplane=self.dataplane, changed=self.bell.ring, **options)
        self.reconciler = Reconciler(
            dataplane=self.dataplane,
            view=lambda: self.view,
            local=lambda tunnels: replace(self.local, health=self.prober.health, tunnels=tunnels),
            changed=self.bell,
            reconciled=self.prober.reconciled,
        )
        links = LinkWatch(self.bell.ring)
        for loop in (self.reconciler.run_forever, links.run_forever, self.prober.run_forever):
            threading.Thread(target=loop, daemon=True).start()

    def see(self, view: object, local: LocalState) -> None:
        """What the node knows from now on."""
        self.view, self.local = view, local
        self.bell.ring()

    def said(self) -> tuple[object, ...]:
        """What the node reports of itself: its tunnels, which of them it uses, the gateways that it left."""
        keeper = self.reconciler.keeper
        return self.reconciler.tunnels, keeper.uses, keeper.lanes, keeper.left

    def health(self) -> Health:
        """What the prober says now."""
        return self.prober.health

    def lines(self) -> dict[str, tuple[bool, bool]]:
        """Of each gateway and tunnel that is probed: whether it is up, and whether by its own answers."""
        return {_name(target): (line.up, line.proved) for target, line in self.prober._lines.copy().items()}

    def downs(self, since: float) -> set[str]:
        """What went down after `since` (time.monotonic), and within the last minute."""
        lines = self.prober._lines.copy().items()
        return {_name(target) for target, line in lines if any(at >= since for at in line.downs)}

    def echo(self, ns: str, address: str, port: int) -> None:
        """Send each datagram to this address back, for the rest of the node's life."""
        server = netns.socket_in(f"/run/netns/{ns}", socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        server.bind((address, port))
        threading.Thread(target=_send_back, args=(server,), daemon=True).start()

    def stream(self, ns: str, target: str, port: int, flows: int, interval_s: float) -> None:
        """Start UDP flows from ports of their own to an echo; `streamed` ends them and tells."""
        self._flows = Flows(ns, target, port, flows, interval_s)

    def progress(self) -> list[int]:
        """How many packets of each flow came back so far."""
        return [len(flow.heard_at) for flow in self._flows.flows]

    def streamed(self) -> list[list[float]]:
        """For each flow when its packets came back, seconds of the monotonic clock; it sends no more."""
        return self._flows.stop()

    def counted(self, ns: str, target: str, port: int, flows: int, interval_s: float) -> None:
        """Start UDP flows of numbered datagrams to an echo; `losses` ends them and tells."""
        self._counted = Counted(ns, target, port, flows, interval_s)

    def sent(self) -> int:
        """How many datagrams each counted flow has sent so far."""
        return self._counted.number

    def losses(self) -> list[int]:
        """For each counted flow how many of its datagrams never came back; it sends no more."""
        return self._counted.stop()

    def gaps(self) -> list[tuple[float, float, int]]:
        """After `losses`: when the first flow's lost datagrams were sent, from and to (monotonic), and how many."""
        return self._counted.gaps()

    def log(self, since: float, until: float) -> list[tuple[float, str]]:
        """What an agent would have logged between two moments (monotonic)."""
        return [(round(at - since, 3), text) for at, text in list(self._log.lines) if since <= at <= until]

    def datagrams(self, ns: str, address: str, port: int, number: int) -> None:
        """Send so many datagrams from the same port to this address."""
        with netns.socket_in(f"/run/netns/{ns}", socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("", port))
            for _ in range(number):
                client.sendto(bytes(40), (address, port))

    def clock(self) -> float:
        """The monotonic clock."""
        return time.monotonic()

    def run(self, command: str, ns: str = "", check: bool = True) -> str:
        """What a shell command writes, run in one of the node's namespaces."""
        where = ["ip", "netns", "exec", ns] if ns else []
        done = subprocess.run([*where, "sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise AssertionError(f"{command!r} in {ns or 'the host'}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def spawn(self, arguments: list[str], ns: str = "") -> int:
        """Start a program in one of the node's namespaces and leave it running; its process id."""
        where = ["ip", "netns", "exec", ns] if ns else []
        arguments = [find_program() or word if word == "wireguard-go" else word for word in arguments]
        null = subprocess.DEVNULL
        return subprocess.Popen([*where, *arguments], stdin=null, stdout=null, stderr=null).pid

    def netns(self, name: str) -> None:
        """Make a pod's namespace."""
        netns.create(name)

    def listen(self, ns: str, address: str, port: int) -> None:
        """Answer each TCP connection to this address with who connects, for the rest of the node's life."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = netns.socket_in(f"/run/netns/{ns}", family, socket.SOCK_STREAM)
        server.bind((address, port))
        server.listen()
        threading.Thread(target=_answer, args=(server, ns), daemon=True).start()

    def connect(self, ns: str, address: str, port: int, marker: str = "") -> str:
        """What the other side says: `<its namespace> <our address>`; AssertionError if it does not answer."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.socket_in(f"/run/netns/{ns}", family, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect((address, port))
            client.sendall(marker.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            return client.makefile().read()

    def sink(self, ns: str, address: str, port: int) -> None:
        """Take one stream and note how fast it came; `sunk` tells."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = netns.socket_in(f"/run/netns/{ns}", family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen()
        self._speed = []
        self._sink = threading.Thread(target=_measure, args=(server, self._speed), daemon=True)
        self._sink.start()

    def sunk(self) -> float:
        """Bit/s of TCP payload in the stream, without its first half second (slow start, full buckets)."""
        self._sink.join(30)
        return self._speed[0]

    def pour(self, ns: str, address: str, port: int, seconds: float, control: str = "") -> None:
        """Send a stream for so long, with the machine's congestion control or the one named.

        Reno fills the queue until something is lost. BBR, the default of some machines, keeps to the rate that it once
        measured, and so does not ask for its share beside others.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.socket_in(f"/run/netns/{ns}", family, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            if control:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
            client.connect((address, port))
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                client.sendall(bytes(32768))

    def flows(self, ns: str, address: str, number: int) -> None:
        """Send four packets of 1000 bytes from each of so many UDP ports."""
        for port in range(20000, 20000 + number):
            with netns.socket_in(f"/run/netns/{ns}", socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind(("", port))
                for _ in range(4):
                    client.sendto(bytes(1000), (address, 9))

    def processes(self) -> list[str]:
        """Names of the programs that run in the node, but for this one."""
        names = []
        for path in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                names.append(path.read_text().strip())
        return sorted(name for name in names if not name.startswith("python"))

    def held(self) -> tuple[int, int]:
        """Files that this process has open, and its threads."""
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    def files(self, directory: str) -> list[str]:
        """Names in a directory of the node; none if it does not exist."""
        path = Path(directory)
        return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


def _name(target: Target) -> str:
    return getattr(target, "node", None) or f"{target.device} to {target.cluster}"


def _send_back(server: socket.socket) -> None:
    while True:
        data, sender = server.recvfrom(2048)
        with contextlib.suppress(OSError):
            server.sendto(data, sender)


def _answer(server: socket.socket, ns: str) -> None:
    while True:
        connection, peer = server.accept()
        with connection:
            while connection.recv(65536):
                pass
            connection.sendall(f"{ns} {peer[0]}".encode())


def _measure(server: socket.socket, speed: list[float]) -> None:
    connection, _ = server.accept()
    server.close()
    with connection:
        start = last = time.monotonic()
        total = 0
        while data := connection.recv(65536):
            last = time.monotonic()
            if last - start > 0.5:
                total += len(data)
        speed.append(8 * total / max(last - start - 0.5, 0.001))


def main() -> None:
    """Answer until the input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    node = Node()
    while True:
        try:
            method, arguments, options = pickle.load(requests)
        except EOFError:
            return
        try:
            result = (True, getattr(node, method)(*arguments, **options))
        except BaseException as error:
            result = (False, f"{type(error).__name__}: {error}")
        pickle.dump(result, answers)
        answers.flush()
