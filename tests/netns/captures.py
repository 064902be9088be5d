"""What passes a device of a node, in hex, so that a test can look for a text or a header in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from guarded import until

_numbers = count()


class Capture:
    """All packets of one device of one node, from now on."""

    def __init__(self, node: Any, device: str, ns: str = "") -> None:
        self.machine, self.file = node.machine, f"/run/capture{next(_numbers)}"
        dump = ["tcpdump", "--immediate-mode", "-U", "-n", "-s0", "-i", device, "-w", self.file]
        self.pid = self.machine("spawn", ["sh", "-c", f"exec {' '.join(dump)}"], ns)
        until(self.packets, "tcpdump listens")

    def packets(self) -> str:
        """The file in hex: a header, then every packet."""
        found: str = self.machine.run(f"od -An -v -tx1 {self.file} 2>/dev/null | tr -d ' \\n'", check=False)
        return found

    def stop(self) -> None:
        self.machine.run(f"kill {self.pid}; rm {self.file}")


@contextmanager
def captures() -> Iterator[Callable[..., Capture]]:
    """Makes captures that end with the block."""
    made: list[Capture] = []

    def begin(*where: Any) -> Capture:
        made.append(Capture(*where))
        return made[-1]

    try:
        yield begin
    finally:
        for one in made:
            one.stop()
