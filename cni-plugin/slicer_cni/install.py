"""Puts the CNI executable `slicer` onto a host: `python -m slicer_cni.install`. Also takes it away again.

With `--interpreter` it is a script for a Python that the host has; with `--standalone` it brings one along.
Everything is made aside and renamed into place, so that a call meanwhile finds either the old or the new.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from slicer_cni import standalone
from slicer_cni.launcher import render_launcher

DEFAULT_BIN_DIR = Path("/opt/cni/bin")
DEFAULT_INTERPRETER = "/usr/bin/python3"
"""The system's own Python starts quickest; a virtual environment's adds the search for its home."""
DEFAULT_HOME = Path("/opt/slicer")
PROGRAM = "slicer"
_VERSION = re.compile(r"^[0-9][0-9A-Za-z.+]*-[0-9a-f]{8}$")
_KEPT = 2
"""Versions that stay: the new one, and the one before, which calls may still be about to start."""


def install(bin_dir: Path, interpreter: str = DEFAULT_INTERPRETER) -> Path:
    """The installed executable: the shim as a script for the host's `interpreter`."""
    # -I: no environment, no user site; -S: no site at all. Both for speed, and so that nobody's PYTHONPATH gets in.
    return put(bin_dir / PROGRAM, f"#!{interpreter} -IS\n{shim_text()}".encode())


def install_standalone(bin_dir: Path, home: Path, *, host_root: Path = Path("/")) -> Path:
    """The installed executable, which needs nothing but what lies in `home`.

    `bin_dir` and `home` are paths of the host, whose file system (or these two directories of it) lies at `host_root`.
    """
    if platform.machine() != "x86_64":
        raise OSError(f"the self-contained interpreter is for x86_64, this is {platform.machine()}: use --interpreter")
    versions = _on(host_root, home)
    versions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=versions, prefix=".new-") as work:
        made = Path(work, "tree")
        made.mkdir()
        name = f"{metadata.version('pod-slicer')}-{standalone.build(made, shim_text())}"
        _place(made, versions / name, Path(work, "damaged"))
    launcher = render_launcher(standalone.command(str(home / name)))
    target = put(_on(host_root, bin_dir) / PROGRAM, launcher)
    _forget_old(versions, name)
    return target


def uninstall(bin_dir: Path, home: Path, *, host_root: Path = Path("/")) -> list[Path]:
    """What was removed: the executable if it is ours, and everything of ours in `home`."""
    removed = []
    program, versions = _on(host_root, bin_dir) / PROGRAM, _on(host_root, home)
    if program.is_file() and is_ours(program.read_bytes()):
        program.unlink()
        removed.append(program)
    for path in _versions(versions):
        shutil.rmtree(path)
        removed.append(path)
    for left in (versions / "bin/wireguard-go",):
        if left.exists():
            left.unlink()
            removed.append(left)
    _prune((versions / "bin", versions))
    return removed


def install_program(source: Path, home: Path, *, host_root: Path = Path("/")) -> Path:
    """A copy of a statically linked program (wireguard-go) in `home`/bin; one that runs keeps the file it has."""
    return put(_on(host_root, home) / "bin" / source.name, source.read_bytes())


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


def _place(made: Path, target: Path, damaged: Path) -> None:
    """Rename the new version into place; one that is there stays unless its content is not what its name says."""
    made.chmod(0o755)
    if target.is_dir():
        if target.name.endswith(standalone.digest(target)):
            target.touch()
            return
        target.rename(damaged)
    made.rename(target)


def _versions(home: Path) -> list[Path]:
    """Our directories in `home`, and what interrupted installations left, the newest first."""
    found = [p for p in home.iterdir() if _VERSION.match(p.name) or p.name.startswith(".new-")] if home.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _forget_old(home: Path, current: str) -> None:
    others = [path for path in _versions(home) if path.name != current]
    for path in _obsolete(others):
        shutil.rmtree(path, ignore_errors=True)


def _obsolete(others: list[Path]) -> Iterator[Path]:
    complete = [path for path in others if not path.name.startswith(".")]
    yield from (path for path in others if path not in complete[: _KEPT - 1])


def _on(host_root: Path, path: Path) -> Path:
    return host_root / path.relative_to("/")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m slicer_cni.install", description=__doc__)
    add = parser.add_argument
    add("--bin-dir", type=Path, default=DEFAULT_BIN_DIR, help="where the runtime looks for plugins")
    add("--interpreter", default=DEFAULT_INTERPRETER, help="a Python 3.11 or newer on the host")
    add("--standalone", action="store_true", help="bring an interpreter along instead; needs nothing of the host")
    add("--home", type=Path, default=DEFAULT_HOME, help="where the host keeps what is brought along")
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
    if given.uninstall:
        removed = uninstall(given.bin_dir, given.home, host_root=given.host_root)
        _prune(_on(given.host_root, name) for name in given.prune)
        return removed + [path for name in given.remove if _remove(path := _on(given.host_root, name))]
    programs = [install_program(path, given.home, host_root=given.host_root) for path in given.program]
    if given.standalone:
        return [*programs, install_standalone(given.bin_dir, given.home, host_root=given.host_root)]
    return [*programs, install(_on(given.host_root, given.bin_dir), given.interpreter)]


if __name__ == "__main__":
    main()
