"""The host's side of a machine: start it, find it, enter it, ask its init, end it.

A machine is identified by process number *and* start time, so that nothing is done to a stranger who got the number.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.model.errors import NotFoundError, SlicerError, UnavailableError

PATIENCE_S = 20.0
"""How long a machine, a program in it or its end is waited for before that is an error."""
_ENTER = ("--mount", "--uts", "--ipc", "--net", "--pid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A machine that was started: its init's process number on the host, and when it began (clock ticks)."""

    pid: int
    started: int


def read_record(directory: Path) -> Record | None:
    """What the machine's init wrote of itself; None if it never came so far."""
    try:
        value = json.loads((directory / "record.json").read_text())
    except FileNotFoundError:
        return None
    return Record(pid=value["pid"], started=value["started"])


def is_alive(record: Record) -> bool:
    """Whether that very process is there and has not ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{record.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) == record.started and fields[0] not in "ZX"


def require(directory: Path) -> Record:
    """The record of a machine that runs; NotFoundError if it does not."""
    record = read_record(directory)
    if record is None or not is_alive(record):
        raise NotFoundError(f"machine {directory.name} is not running")
    return record


def spawn(directory: Path, hostname: str) -> subprocess.Popen[bytes]:
    """Begin to start a machine; `wait_ready` says when it is there. It ends at once if the caller dies half way."""
    for part in ("logs", "pods", "state"):
        (directory / part).mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in ("record.json", "control.sock", "control.new"):
        (directory / old).unlink(missing_ok=True)
    argv = [sys.executable, "-m", "slicer.lab.init", str(directory), hostname, str(os.getpid())]
    with open(directory / "logs" / "init.log", "ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_ready(directory: Path, process: subprocess.Popen[bytes]) -> Record:
    """Wait until the machine answers; UnavailableError with the end of its log if it does not."""
    if process.wait(PATIENCE_S) == 0:
        record = require(directory)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and is_alive(record):
            with suppress(OSError):
                ask(directory, {"do": "list"})
                return record
            time.sleep(0.005)
    raise UnavailableError(f"machine {directory.name} did not start:\n{tail(directory / 'logs' / 'init.log')}")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file."""
    with suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"


def ask(directory: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """One question to the machine's init; SlicerError with its text if it refuses. OSError if nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(directory / "control.sock"))
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    value: dict[str, Any] = json.loads(answer or b'{"error": "the machine ended"}')
    if "error" in value:
        raise SlicerError(f"{directory.name}: {value['error']}")
    return value


def start_unit(directory: Path, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
    """Start a program in the machine, its output into `logs/<name>.log`; its process number there."""
    log = f"/run/machine/logs/{name.replace('/', '_')}.log"
    answer = ask(directory, {"do": "start", "name": name, "argv": list(argv), "env": dict(env or {}), "log": log})
    return int(answer["pid"])


def stop_unit(directory: Path, name: str, number: int = signal.SIGTERM) -> int | None:
    """End a program in the machine and wait for its end; its exit status (negative: the signal)."""
    status = ask(directory, {"do": "stop", "name": name, "signal": int(number)}).get("exit")
    return None if status is None else int(status)


def units(directory: Path) -> list[dict[str, Any]]:
    """The programs of the machine: name, pid (None once ended), exit, restarts."""
    return list(ask(directory, {"do": "list"})["units"])


def enter_argv(record: Record, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside the machine, in all its namespaces."""
    return ["nsenter", "--target", str(record.pid), *_ENTER, "--", *argv]


def run_in(
    record: Record, argv: Sequence[str], *, stdin: str = "", timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run `argv` inside the machine and collect its output."""
    return subprocess.run(
        enter_argv(record, argv), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def ip_batch(record: Record, text: str) -> None:
    """Run `ip -batch` in the machine's network namespace only (its names for processes are the host's)."""
    argv = ["nsenter", "--target", str(record.pid), "--net", "--", "ip", "-batch", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SlicerError(f"ip -batch failed: {done.stderr.strip()}\n{text}")


def kill(record: Record) -> None:
    """End the machine and everything in it; returns when all of it is gone. Nothing happens if it has ended."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if not is_alive(record):  # checked while the handle pins the process: the number cannot change hands now
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        # The kernel lets PID 1 end last: when this is readable, the whole PID namespace is empty.
        if not select.select([handle], [], [], PATIENCE_S)[0]:
            raise UnavailableError(f"process {record.pid} did not end within {PATIENCE_S:.0f} s of SIGKILL")
    finally:
        os.close(handle)
