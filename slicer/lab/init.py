"""The first process of a lab machine: makes its namespaces, holds them, and looks after the programs in them.

    python -m slicer.lab.init DIRECTORY HOSTNAME PARENT   by slicer.lab.machines; returns once the machine is recorded

Its death ends everything inside (it is PID 1 of a PID namespace). It depends on the standard library alone, does not
know what the programs are, and is asked over `DIRECTORY/control.sock`: one JSON object a connection, one back.

    {"do": "start", "name", "argv", "env"?, "restart"?, "log"}   {"pid": N}
    {"do": "stop", "name", "signal": 15}                         {"exit": status}, once it is gone; then forgotten
    {"do": "list"}                                               {"units": [{"name", "pid", "exit", "restarts"}]}

A unit with `restart` is started again when it ends (restart policy Always), after 0.1 s, then twice as long each time.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # CLONE_NEW NS, UTS, IPC, PID, NET
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
_OWN = {"/var/lib": ("slicer", "cni"), "/opt": ("slicer", "cni")}
"""Directories of the host that a machine sees as they are, but for these entries: they are its own, empty at first."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
STOP_PATIENCE_S = 5.0
"""A unit that has not ended this long after its stop signal is killed."""
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Unit:
    """A program that the machine looks after. Mutable: it lives in the one loop below."""

    name: str
    argv: list[str]
    env: dict[str, str]
    log: str
    restart: bool
    pid: int | None = None
    status: int | None = None
    restarts: int = 0
    due_s: float | None = None
    """When to start it again."""
    kill_s: float | None = None
    """When to lose patience with it."""
    stopping: list[socket.socket] = field(default_factory=list)
    """Who waits for its end; not empty means that it is not started again."""


class Init:
    """The loop: requests, ends of children, restarts that are due."""

    def __init__(self, control: socket.socket) -> None:
        self.units: dict[str, Unit] = {}
        self.control = control
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        wake, write = socket.socketpair()
        wake.setblocking(False)
        write.setblocking(False)
        self.wake, self._write = wake, write
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake, selectors.EVENT_READ)

    def run(self) -> None:
        """For ever."""
        while True:
            for key, _ in self.selector.select(self._patience_s()):
                if key.fileobj is self.wake:
                    with suppress(BlockingIOError):
                        self.wake.recv(4096)
                else:
                    self._serve()
            self._reap()
            self._due()

    def _patience_s(self) -> float | None:
        times = [t for unit in self.units.values() for t in (unit.due_s, unit.kill_s) if t is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _serve(self) -> None:
        connection, _ = self.control.accept()
        connection.settimeout(STOP_PATIENCE_S)
        try:
            request = json.loads(_receive(connection))
            if request["do"] == "stop":
                self._stop(connection, request["name"], request["signal"])
                return
            answer = self._start(request) if request["do"] == "start" else self._list()
        except (OSError, ValueError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        _answer(connection, answer)

    def _start(self, request: dict[str, object]) -> dict[str, object]:
        unit = Unit(
            name=str(request["name"]),
            argv=list(request["argv"]),  # type: ignore[call-overload]
            env=dict(request.get("env") or os.environ),  # type: ignore[call-overload]
            log=str(request["log"]),
            restart=bool(request.get("restart")),
        )
        known = self.units.get(unit.name)
        if known is not None and (known.pid is not None or known.restart):
            return {"error": f"{unit.name} is running already (process {known.pid})"}
        _spawn(unit)
        self.units[unit.name] = unit
        return {"pid": unit.pid}

    def _stop(self, connection: socket.socket, name: str, number: int) -> None:
        unit = self.units.get(name)
        if unit is None:
            _answer(connection, {"error": f"no program {name!r} here; there are {sorted(self.units)}"})
            return
        unit.stopping.append(connection)
        unit.due_s = None
        if unit.pid is None:
            self._ended(unit)
            return
        unit.kill_s = time.monotonic() + STOP_PATIENCE_S
        os.kill(unit.pid, number)

    def _list(self) -> dict[str, object]:
        units = [
            {"name": u.name, "pid": u.pid, "exit": u.status, "restarts": u.restarts}
            for _, u in sorted(self.units.items())
        ]
        return {"units": units}

    def _reap(self) -> None:
        """Collect every child that has ended: units, and orphans, which are PID 1's to bury."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for unit in list(self.units.values()):
                if unit.pid == pid:
                    unit.pid, unit.status = None, os.waitstatus_to_exitcode(status)
                    self._ended(unit)

    def _ended(self, unit: Unit) -> None:
        unit.kill_s = None
        if unit.stopping:
            for connection in unit.stopping:
                _answer(connection, {"exit": unit.status})
            del self.units[unit.name]
        elif unit.restart:
            unit.due_s = time.monotonic() + min(BACKOFF_FIRST_S * 2**unit.restarts, BACKOFF_MAX_S)

    def _due(self) -> None:
        now = time.monotonic()
        for unit in self.units.values():
            if unit.due_s is not None and unit.due_s <= now:
                unit.due_s = None
                unit.restarts += 1
                try:
                    _spawn(unit)
                except OSError:
                    self._ended(unit)
            if unit.kill_s is not None and unit.kill_s <= now and unit.pid is not None:
                unit.kill_s = None
                os.kill(unit.pid, signal.SIGKILL)


def _spawn(unit: Unit) -> None:
    log = os.open(unit.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    try:
        # SIGPIPE: Python ignores it, and children would inherit that.
        unit.pid = os.posix_spawn(
            _program(unit), unit.argv, unit.env, file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE]
        )
    finally:
        os.close(log)
        os.close(null)


def _program(unit: Unit) -> str:
    """The executable that the unit's own PATH leads to; the name itself where there is none (spawning it says so)."""
    name = unit.argv[0]
    places = [] if "/" in name else unit.env.get("PATH", "").split(":")
    return next((path for place in places if os.access(path := f"{place}/{name}", os.X_OK)), name)


def _receive(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _answer(connection: socket.socket, answer: dict[str, object]) -> None:
    with suppress(OSError), connection:  # whoever asked may be gone
        connection.sendall(json.dumps(answer).encode())


def main() -> None:
    """Make the namespaces in a child, which becomes the machine; return once it is recorded."""
    directory, hostname = Path(sys.argv[1]), sys.argv[2]
    _die_with_parent(int(sys.argv[3]))
    _check(_libc.unshare(_NAMESPACES), "unshare")
    alive_read, _alive_write = os.pipe()  # the child reads end of file when this process dies
    recorded_read, recorded_write = os.pipe()
    if os.fork() == 0:
        os.close(_alive_write)
        os.close(recorded_read)
        _machine(directory, hostname, alive_read, recorded_write)
    os.close(recorded_write)
    os._exit(0 if os.read(recorded_read, 1) else 1)


def _machine(directory: Path, hostname: str, alive: int, recorded: int) -> None:
    """PID 1. Until the record stands on disk its life hangs on its parent's, so that nothing runs unrecorded."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.set_blocking(alive, False)
    with suppress(BlockingIOError):
        if os.read(alive, 1) == b"":
            os._exit(1)
    _record(directory)
    _libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
    os.setsid()
    _redirect(directory / "logs" / "init.log")
    os.write(recorded, b"r")
    os.close(recorded)
    os.close(alive)
    socket.sethostname(hostname)
    _mounts(directory)
    _forwarding()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind("/run/machine/control.new")
    control.listen(64)
    Path("/run/machine/control.new").rename("/run/machine/control.sock")
    Init(control).run()


def _record(directory: Path) -> None:
    """The machine's process as the host sees it: /proc is still the host's here."""
    stat = Path("/proc/self/stat").read_text()
    record = {"pid": int(stat.split()[0]), "started": int(stat.rpartition(")")[2].split()[19])}
    new = directory / "record.new"
    new.write_text(json.dumps(record))
    new.rename(directory / "record.json")


def _redirect(log: Path) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.closerange(out, out + 1)


def _mounts(directory: Path) -> None:
    """Own /proc, /sys, /run; own entries in /var/lib and /opt; the rest is the host's. The host sees none of it."""
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    resolver = os.path.realpath("/etc/resolv.conf")
    home = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    _mount("proc", "/proc", "proc", 0)
    _mount("sysfs", "/sys", "sysfs", 0)
    _mount("tmpfs", "/run", "tmpfs", 0)
    for name in ("netns", "lock", "machine"):
        Path("/run", name).mkdir()
    _mount(f"/proc/self/fd/{home}", "/run/machine", "", _MS_BIND)
    os.close(home)
    for place, own in _OWN.items():
        _hide(Path(place), own)
    Path("/run/machine/state").mkdir(exist_ok=True)
    Path("/var/lib/slicer").mkdir()
    _mount("/run/machine/state", "/var/lib/slicer", "", _MS_BIND)
    if resolver.startswith("/run/"):  # systemd-resolved's file: pods bind their own over it
        Path(resolver).parent.mkdir(parents=True, exist_ok=True)
        Path(resolver).touch()


def _hide(place: Path, own: tuple[str, ...]) -> None:
    """A fresh directory at `place` with everything of the old one bound into it, but for the entries in `own`."""
    if not place.is_dir():
        return
    old = os.open(place, os.O_PATH | os.O_DIRECTORY)
    entries = [(e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(place)]
    _mount("tmpfs", str(place), "tmpfs", 0)
    for name, is_directory, is_link in entries:
        if name in own:
            continue
        target, source = place / name, f"/proc/self/fd/{old}/{name}"
        if is_link:
            target.symlink_to(Path(source).readlink())
            continue
        target.mkdir() if is_directory else target.touch()
        _mount(source, str(target), "", _MS_BIND | _MS_REC)
    os.close(old)


def _forwarding() -> None:
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", switch).write_text("1")


def _die_with_parent(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, None)
    _check(result, f"mount {kind or source} at {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} ({what})")


if __name__ == "__main__":
    main()
