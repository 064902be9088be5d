"""The command `slicer-agent`: join if need be, run until SIGTERM, or clean the node up."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

from slicer.agent import log
from slicer.agent.agent import Agent, state_files
from slicer.agent.settings import Settings, parse_command_line, parse_settings
from slicer.client import report
from slicer.client.identity import Identity, load, load_or_join
from slicer.kernel import host
from slicer.kernel.dataplane import DataPlane
from slicer.kernel.wireguard_go import forget_dead
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnauthenticatedError,
    UnavailableError,
)

EXIT_CODES: dict[type[SlicerError], int] = {
    InvalidError: 2,
    NotFoundError: 4,
    ConflictError: 5,
    DeniedError: 6,
    UnauthenticatedError: 6,
    UnavailableError: 7,
}
JOIN_RETRY_S = 1.0
"""How long to wait for a controller that does not answer yet."""


def main() -> None:
    """Entry point."""
    given = parse_command_line()
    log.to_stderr()
    try:
        if given.host_mounts is not None:
            host.use(given.host_mounts)
        if given.command == "cleanup":
            cleanup(given.state, given.run, purge=given.purge)
        else:
            run(parse_settings(given))
    except SlicerError as error:
        log.event("agent.failed", error=error.message, reason=error.reason)
        sys.exit(next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1))


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    identity = join(settings, stopping)
    if identity is None:
        return
    agent = Agent(settings, identity)
    agent.start()
    stopping.wait()
    agent.stop()


def join(settings: Settings, stopping: threading.Event) -> Identity | None:
    """The identity of this node; waits for its controller as long as need be; None when asked to stop meanwhile."""
    said = log.Repeated()
    while not stopping.is_set():
        try:
            # The cluster is the token's to say; the name is ours: a neighbour's token is refused before it is spent.
            expect = f"slicer://node/*/{settings.node}"
            return load_or_join(settings.state / "identity", _token(settings), expect=expect)
        except UnavailableError as error:
            said.event("agent.joining", "controller", error.message)
            stopping.wait(JOIN_RETRY_S)
    return None


def cleanup(state: Path, run_directory: Path, *, purge: bool) -> None:
    """Remove everything of ours from this node's kernel, and the records of what was there."""
    if _is_running(run_directory / "cni.sock"):
        raise ConflictError(f"an agent is running on {run_directory}; stop it first")
    dataplane = DataPlane(state_dir=state, run_dir=run_directory)
    outcome = dataplane.remove_everything()
    dataplane.close()
    forget_dead()
    for name in ("attachments", "resting", "tombstones"):
        shutil.rmtree(state / name, ignore_errors=True)
    if purge:
        _take_leave(state / "identity")
    for path in state_files(state) if purge else ():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    log.event("agent.cleaned", changes=len(outcome.changes), purged=purge)
    if outcome.failures:
        raise UnavailableError(f"not everything could be removed: {'; '.join(outcome.failures)}")


def _take_leave(directory: Path) -> None:
    """The controller hears that nothing is here any more: pods may have ended while no agent ran."""
    try:
        identity = load(directory)
        if identity is not None:
            report.report_nothing(identity, report.NODE)
    except (SlicerError, OSError, ValueError) as error:
        log.event("agent.left_unheard", error=error)


def _token(settings: Settings) -> str | None:
    if settings.service_join is not None:
        return settings.service_join.token()
    path = settings.join_token_file
    return path.read_text().strip() if path is not None and path.exists() else None


def _is_running(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    main()
