"""Running commands for the tools: every command is shown before it runs, every failure names a cure."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
"""What `make setup` installs for this clone only; `make clean` removes it."""


class ToolError(Exception):
    """Something is missing or failed; the message names it and the cure, and is all that the user sees."""


def say(text: str) -> None:
    """One line to the user, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Runs `command`, showing it first; subprocess.CalledProcessError if it fails. It gets no stdin."""
    words = [str(word) for word in command]
    say("+ " + shlex.join(words))
    subprocess.run(words, check=True, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)


def works(command: Sequence[str | Path]) -> bool:
    """Whether `command` exists and succeeds; it prints nothing."""
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError:
        return False
    return done.returncode == 0


def retry(command: Sequence[str | Path], *, tries: int, pause_s: float, env: Mapping[str, str] | None = None) -> None:
    """Like run(), `tries` times at most: for what depends on a network. The last failure is raised."""
    for left in reversed(range(tries)):
        try:
            return run(command, env=env)
        except subprocess.CalledProcessError:
            if not left:
                raise
            say(f"  failed; again in {pause_s:g} s ({left} left)")
            time.sleep(pause_s)
    raise AssertionError(f"tries is {tries}")


def replace_file(path: Path, source: Path) -> None:
    """A copy of `source` as a new file under the name `path`: who runs or reads the old one keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    shutil.copy2(source, fresh)
    fresh.replace(path)


def finish(main: object) -> None:
    """Runs `main()` as a program: a ToolError or a failed command becomes one line and exit code 1."""
    assert callable(main)
    try:
        sys.exit(main())
    except ToolError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: this command failed with exit code {error.returncode}: {shlex.join(map(str, error.cmd))}")
