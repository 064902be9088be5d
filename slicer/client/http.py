"""httpx, imported without its command line: `from slicer.client.http import httpx`.

`import httpx` imports click, rich and pygments where they are installed, only to offer a command `httpx`. That is 40 %
of its import time and 9 MiB in each of our processes, none of which has that command.
"""

from __future__ import annotations

import sys
from types import ModuleType


def _main() -> None:
    """Stands where httpx's own command would; it is nobody's entry point."""
    sys.exit("this process has httpx without its command line")


def _without_command_line() -> None:
    stand_in = ModuleType("httpx._main")
    stand_in.__dict__["main"] = _main
    sys.modules.setdefault("httpx._main", stand_in)


_without_command_line()
import httpx  # noqa: E402  # after the stand-in is there

__all__ = ["httpx"]
