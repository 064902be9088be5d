"""WireGuard by wireguard-go: one daemon a device, spoken to over its UAPI socket.

The daemon is started in the host's namespace, where its UDP socket stays, and its TUN device is moved away. It
outlives the agent and is found again by its socket; it ends when its device is removed, or killed, and takes the
device along. Sockets lie in one directory of the *mount* namespace, named after the device: nodes that share a
machine need one each.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

from slicer.kernel import host
from slicer.kernel.commands import run_host
from slicer.kernel.polling import readable
from slicer.kernel.wireguard import DeviceState, PeerState, PeerWish, Place, Secret, by_family
from slicer.model.names import Address
from slicer.plan.dataplane_commands import render_endpoint
from slicer.plan.dataplane_topology import is_tunnel_device

SOCKETS = Path("/var/run/wireguard")
_ANSWER_S = 5.0
_START_S = 10.0
_END_S = 3.0
_POLL_S = 0.005
_PLACES = ("/opt/slicer/bin/wireguard-go", str(Path(__file__).parents[2] / ".tools/bin/wireguard-go"))


def find_program() -> str | None:
    """Path of wireguard-go: SLICER_WIREGUARD_GO, PATH, /opt/slicer/bin, the checkout's .tools/bin; None if nowhere."""
    wishes = (os.environ.get("SLICER_WIREGUARD_GO"), shutil.which("wireguard-go"), *_PLACES)
    return next((path for path in wishes if path and os.access(path, os.X_OK)), None)


class WireGuardGo:
    """The back end for kernels without WireGuard. `public_of` tells the public key of one of our private keys."""

    name = "wireguard-go"

    def __init__(self, program: str, public_of: Callable[[Secret], str], logs: Path) -> None:
        self._program = program
        self._public_of = public_of
        self._logs = logs
        self._children: list[subprocess.Popen[bytes]] = []

    def create(self, device: Place, mtu: int) -> None:
        if _pid_of(device.name):  # what a creation left that was cut off half way
            self.delete(device)
        self._reap()
        self._wait_for_socket(device.name, self._start(device.name))
        # Up before it moves: the daemon hears of it at once, and of later changes only once a second.
        run_host("ip", "link", "set", "dev", device.name, "mtu", str(mtu), "up")
        run_host("ip", "link", "set", "dev", device.name, "netns", device.ns)

    def delete(self, device: Place) -> None:
        """The daemon sees its socket vanish and ends; waited for, because it then removes the name of its socket."""
        daemon = _pid_of(device.name)
        _path(device.name).unlink(missing_ok=True)
        for where in (["-n", device.ns], []):
            with suppress(OSError):
                run_host("ip", *where, "link", "delete", "dev", device.name)
        if daemon:
            _wait_for_end(daemon)
        _path(device.name).unlink(missing_ok=True)
        self._reap()

    def read(self, device: Place) -> DeviceState | None:
        try:
            return parse_device(_ask(device.name, "get=1\n\n"), self._public_of)
        except OSError:
            return None

    def set_key(self, device: Place, key: Secret, port: int) -> None:
        _ask(device.name, f"set=1\nprivate_key={_hex(key.text)}\nlisten_port={port}\n\n")

    def set_peers(self, device: Place, peers: tuple[PeerWish, ...]) -> None:
        _ask(device.name, render_peers(peers))

    def _start(self, device: str) -> subprocess.Popen[bytes]:
        """A session of its own: signals for the agent are not for the daemon. Its log is small: errors, and no keys."""
        SOCKETS.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1", "PATH": os.environ.get("PATH", "")}
        with open(self._logs / f"{device}.log", "wb") as log:
            daemon = subprocess.Popen(
                host.outliving([self._program, "--foreground", device]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._children.append(daemon)
        return daemon

    def _wait_for_socket(self, device: str, daemon: subprocess.Popen[bytes]) -> None:
        never = Event()
        for _ in range(int(_START_S / _POLL_S)):
            with suppress(OSError):
                _connect(device).close()
                return
            if daemon.poll() is not None:
                words = (self._logs / f"{device}.log").read_text(errors="replace").strip()[-300:]
                raise OSError(f"wireguard-go {device} ended with {daemon.returncode}: {words}")
            never.wait(_POLL_S)
        raise OSError(f"wireguard-go {device} has no socket after {_START_S:.0f} s")

    def _reap(self) -> None:
        """Take leave of daemons that ended; those of an earlier agent are init's children."""
        self._children = [child for child in self._children if child.poll() is None]


def forget_dead() -> None:
    """Remove the sockets of ours whose daemon was killed: nobody else knows whose they were."""
    for path in SOCKETS.glob("*.sock"):
        if is_tunnel_device(path.stem) and not _pid_of(path.stem):
            path.unlink(missing_ok=True)


def render_peers(peers: Sequence[PeerWish]) -> str:
    """A `set` operation that touches these peers only (https://www.wireguard.com/xplatform/)."""
    return "".join(["set=1\n", *(line for peer in peers for line in _peer_lines(peer)), "\n"])


def _peer_lines(peer: PeerWish) -> Iterator[str]:
    yield f"public_key={_hex(peer.public_key)}\n"
    if peer.remove:
        yield "remove=true\n"
        return
    if peer.endpoint is not None:
        yield f"endpoint={render_endpoint(peer.endpoint)}\n"
    yield f"persistent_keepalive_interval={peer.keepalive_s}\n"
    yield "replace_allowed_ips=true\n"
    yield from (f"allowed_ip={prefix}\n" for prefix in peer.allowed_ips)


def parse_device(answer: str, public_of: Callable[[Secret], str]) -> DeviceState:
    """The device that the answer to `get` describes; the private key ends here."""
    head: dict[str, str] = {}
    peers: list[list[tuple[str, str]]] = []
    for line in answer.splitlines():
        name, _, value = line.partition("=")
        if name == "public_key":
            peers.append([])
        if peers:
            peers[-1].append((name, value))
        else:
            head[name] = value
    private = head.get("private_key", "")
    return DeviceState(
        public_key=public_of(Secret(text=_base64(private))) if private.strip("0") else "",
        port=int(head.get("listen_port", "0")),
        peers=tuple(sorted((_peer(lines) for lines in peers), key=lambda peer: peer.public_key)),
    )


def _peer(lines: list[tuple[str, str]]) -> PeerState:
    found = dict(lines)
    allowed = [ipaddress.ip_network(value) for name, value in lines if name == "allowed_ip"]
    handshake = int(found.get("last_handshake_time_sec", "0"))
    return PeerState(
        public_key=_base64(found["public_key"]),
        endpoint=_endpoint(found["endpoint"]) if "endpoint" in found else None,
        allowed_ips=tuple(sorted(allowed, key=by_family)),
        keepalive_s=int(found.get("persistent_keepalive_interval", "0")),
        handshake_at_s=handshake or None,
        rx_bytes=int(found.get("rx_bytes", "0")),
        tx_bytes=int(found.get("tx_bytes", "0")),
    )


def _endpoint(text: str) -> tuple[Address, int]:
    address, _, port = text.rpartition(":")
    return ipaddress.ip_address(address.strip("[]")), int(port)


def _path(device: str) -> Path:
    return SOCKETS / f"{device}.sock"


def _pid_of(device: str) -> int:
    """Process that serves the device's socket; 0 if there is none."""
    try:
        with _connect(device) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return 0
    return int.from_bytes(credentials[:4], sys.byteorder)


def _wait_for_end(pid: int) -> None:
    """Until the daemon has ended; one that does not within some seconds is killed."""
    with suppress(ProcessLookupError), open(os.pidfd_open(pid), "rb", buffering=0) as handle:
        if not readable([handle], _END_S):
            signal.pidfd_send_signal(handle.fileno(), signal.SIGKILL)
            readable([handle], _END_S)


def _connect(device: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_ANSWER_S)
    try:
        connection.connect(str(_path(device)))
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(device: str, operation: str) -> str:
    """The answer without its last line; OSError if that line does not say `errno=0`."""
    with _connect(device) as connection, connection.makefile("r") as answers:
        connection.sendall(operation.encode())
        lines = []
        for line in answers:
            if line == "\n":
                break
            lines.append(line)
    if not lines or lines[-1] != "errno=0\n":
        words = lines[-1].strip() if lines else "no answer"
        raise OSError(f"wireguard-go {device} refuses: {words}")
    return "".join(lines[:-1])


def _hex(key: str) -> str:
    return b64decode(key).hex()


def _base64(key: str) -> str:
    return b64encode(bytes.fromhex(key)).decode()
