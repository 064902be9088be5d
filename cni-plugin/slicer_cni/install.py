"""Puts the CNI executable `slicer` onto a host: `python -m slicer_cni.install`. Also takes it away again.

With `--executable` it is a program that needs nothing of the host (tools/plugin.py builds it); with `--interpreter` it
is a script for a Python that the host has. Everything is made aside and renamed into place, so that a call meanwhile
finds either the old or the new. Imports the standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

DEFAULT_BIN_DIR = Path("/opt/cni/bin")
DEFAULT_INTERPRETER = "/usr/bin/python3"
"""The system's own Python starts quickest; a virtual environment's adds the search for its home."""
DEFAULT_HOME = Path("/opt/slicer")
PROGRAM = "slicer"
_INTERPRETER = re.compile(r"^([0-9][0-9A-Za-z.+]*-[0-9a-f]{8}|\.new-.*)$")


def install(bin_dir: Path, interpreter: str = DEFAULT_INTERPRETER) -> Path:
    """The installed executable: the shim as a script for the host's `interpreter`."""
    # -I: no environment, no user site; -S: no site at all. Both for speed, and so that nobody's PYTHONPATH gets in.
    return put(bin_dir / PROGRAM, f"#!{interpreter} -IS\n{shim_text()}".encode())


def install_executable(source: Path, bin_dir: Path) -> Path:
    """The installed executable: a copy of the self-contained program `source`."""
    data = source.read_bytes()
    if not is_ours(data):
        raise OSError(f"{source} is not the CNI plugin slicer")
    return put(bin_dir / PROGRAM, data)


def uninstall(bin_dir: Path, home: Path) -> list[Path]:
    """What was removed: the executable if it is ours, and everything of ours in `home`."""
    removed = []
    program = bin_dir / PROGRAM
    if program.is_file() and is_ours(program.read_bytes()):
        program.unlink()
        removed.append(program)
    for left in (*bin_dir.glob(f".{PROGRAM}-*"), home / "bin/wireguard-go"):
        if left.exists():
            left.unlink()
            removed.append(left)
    removed += forget_interpreters(home)
    _prune((home / "bin", home))
    return removed


def forget_interpreters(home: Path) -> list[Path]:
    """What was removed: the interpreters that earlier executables of ours had in `home`."""
    found = [path for path in home.iterdir() if _INTERPRETER.match(path.name)] if home.is_dir() else []
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return found


def install_program(source: Path, home: Path) -> Path:
    """A copy of a statically linked program (wireguard-go) in `home`/bin; one that runs keeps the file it has."""
    return put(home / "bin" / source.name, source.read_bytes())


def _prune(directories: Iterable[Path]) -> None:
    for directory in directories:
        with suppress(OSError):  # there is something of somebody else in it, or it is a mount
            directory.rmdir()


def _remove(directory: Path) -> bool:
    """Whether there was such a directory; it is gone with all that was in it."""
    found = directory.is_dir()
    shutil.rmtree(directory, ignore_errors=True)
    return found


def shim_text() -> str:
    """The shim with its rare half put in as a string."""
    here = Path(__file__)
    rare, shim = here.with_name("rare.py").read_text(), here.with_name("shim.py").read_text()
    return shim.replace('RARE = ""', f"RARE = {rare!r}", 1)


def is_ours(data: bytes) -> bool:
    """Whether these are the bytes of our executable, of either kind: both hold a sentence of ours."""
    return b"CNI plugin slicer" in data


def put(target: Path, data: bytes) -> Path:
    """Write an executable in one step; nothing is touched when it is there already."""
    if target.is_file() and target.read_bytes() == data and os.access(target, os.X_OK):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), 0o755)
    return Path(temporary).rename(target)


def _on(host_root: Path, path: Path) -> Path:
    return host_root / path.relative_to("/")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m slicer_cni.install", description=__doc__)
    add = parser.add_argument
    add("--bin-dir", type=Path, default=DEFAULT_BIN_DIR, help="where the runtime looks for plugins")
    add("--executable", type=Path, help="the self-contained program to install: needs nothing of the host")
    add("--interpreter", default=DEFAULT_INTERPRETER, help="else: a Python 3.11 or newer on the host")
    add("--home", type=Path, default=DEFAULT_HOME, help="where the host keeps other programs of ours")
    add("--host-root", type=Path, default=Path("/"), help="where the host's file system is mounted here")
    add("--program", type=Path, action="append", default=[], help="also copy this static program to HOME/bin")
    add("--uninstall", action="store_true", help="remove all of it")
    add("--remove", type=Path, action="append", default=[], help="with --uninstall: also this directory of the host")
    add("--prune", type=Path, action="append", default=[], help="with --uninstall: also this one, if it is empty")
    given = parser.parse_args()
    try:
        print("\n".join(map(str, _do(given))))
    except OSError as error:
        sys.exit(f"error: {error}")


def _do(given: argparse.Namespace) -> list[Path]:
    bin_dir, home = _on(given.host_root, given.bin_dir), _on(given.host_root, given.home)
    if given.uninstall:
        removed = uninstall(bin_dir, home)
        _prune(_on(given.host_root, name) for name in given.prune)
        return removed + [path for name in given.remove if _remove(path := _on(given.host_root, name))]
    programs = [install_program(path, home) for path in given.program]
    if given.executable:
        programs.append(install_executable(given.executable, bin_dir))
        forget_interpreters(home)
        return programs
    return [*programs, install(bin_dir, given.interpreter)]


if __name__ == "__main__":
    main()
