"""Controllers that start without importing anything: a server has done so once, and forks.

    test --- forkserver (has imported slicer_controller.main) --- controller, whose log the test reads

Importing is nine tenths of a controller's start, and starting was most of what the tests of the control plane did. The
installed command is started by the lab's tests, and by those of slicectl.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TextIO

PROGRAM = "slicer_controller.main"
_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload([PROGRAM])


class Preloaded:
    """A running controller; `stderr` is its log, which ends with it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        reading, writing = _fork.Pipe(duplex=False)
        with writing:
            self._process = _fork.Process(target=_live, args=(list(arguments), writing), daemon=True)
            self._process.start()
        self.stderr: TextIO = os.fdopen(os.dup(reading.fileno()))
        reading.close()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """To the process."""
        os.kill(self._process.pid or 0, number)

    def wait(self, timeout_s: float) -> int:
        """The exit status; TimeoutError if it does not end."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self._process.pid} did not end within {timeout_s} s")
        return self._process.exitcode


def _live(arguments: list[str], log: Connection) -> None:
    os.dup2(log.fileno(), 2)
    log.close()
    sys.exit(importlib.import_module(PROGRAM).main(arguments))
