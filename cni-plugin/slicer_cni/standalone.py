"""A Python that needs nothing of the host: this process's own interpreter with its loader and its libraries.

    <home>/<version>/ld.so                  the dynamic loader
                     lib/                   libc and whatever else the interpreter is linked with
                     bin/python3            the interpreter
                     lib/python3.11/        `encodings` (all that starting takes), compiled
                     shim.pyc               the shim, compiled

`<version>` names the content, so versions lie side by side and a call that runs keeps its files.
"""

from __future__ import annotations

import hashlib
import os
import py_compile
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import machinery, util
from pathlib import Path

ENCODINGS = ("__init__", "aliases", "utf_8")
"""Modules of `encodings` that an interpreter in UTF-8 mode imports when it starts."""
MODULES = ("_socket", "posix")
"""What the shim imports; built into some Pythons, a library of its own in others."""
_PT_INTERP = 3
_LIBRARY = re.compile(r"^\s*(\S+) => (/\S+) \(0x", re.MULTILINE)
_UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def build(target: Path, shim: str) -> str:
    """Fill the empty directory `target`; the version, which is a digest of everything in it."""
    program = Path(sys.executable).resolve()
    extensions = [Path(path) for path in map(_extension, MODULES) if path]
    loader = _loader(program)
    stdlib = target / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (stdlib / "lib-dynload").mkdir(parents=True)
    (target / "bin").mkdir()
    _copy(Path(loader), target / "ld.so")
    _copy(program, target / "bin/python3")
    for name, path in sorted(set(_libraries(loader, program, *extensions))):
        _copy(Path(path), target / "lib" / name)
    for extension in extensions:
        _copy(extension, stdlib / "lib-dynload" / extension.name)
    _encodings(stdlib)
    _compile(shim, target / "shim.pyc")
    return digest(target)


def command(directory: str) -> tuple[str, ...]:
    """How the shim in `directory` is started: by its own loader, with its own libraries, isolated, in UTF-8 mode."""
    program = f"{directory}/bin/python3"
    # -I: no environment; -S: no site; UTF-8 mode: no locale of the host asks for another codec than ours.
    flags = ("-I", "-S", "-X", "utf8", f"{directory}/shim.pyc")
    return (f"{directory}/ld.so", "--inhibit-cache", "--library-path", f"{directory}/lib", program, *flags)


def digest(directory: Path) -> str:
    """Eight hexadecimal digits for the names, modes and contents below `directory`."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        kind = f"{path.relative_to(directory)} {path.stat().st_mode:o}\0"
        total.update(kind.encode())
        if path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:8]


def _loader(program: Path) -> str:
    """The dynamic loader that the executable names in its PT_INTERP segment (System V ABI, "Program Interpreter")."""
    data = program.read_bytes()
    (headers_at,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, headers_at + number * size)
        if kind == _PT_INTERP:
            return data[offset : offset + length - 1].decode()
    raise ValueError(f"{program} has no dynamic loader")


def _extension(module: str) -> str | None:
    """Path of the module's library; None for one that is built in."""
    spec = util.find_spec(module)
    return spec.origin if spec and isinstance(spec.loader, machinery.ExtensionFileLoader) else None


def _libraries(loader: str, *programs: Path) -> Iterator[tuple[str, str]]:
    """(name by which it is looked for, path) of each library that the programs are linked with: the loader tells."""
    for program in programs:
        listed = subprocess.run([loader, "--list", str(program)], capture_output=True, text=True, check=True).stdout
        yield from ((found[1], found[2]) for found in _LIBRARY.finditer(listed) if found[2] != loader)


def _encodings(stdlib: Path) -> None:
    """`os.py` is not read: by it the interpreter knows its library (PEP 405 calls it a landmark)."""
    (stdlib / "encodings").mkdir()
    (stdlib / "os.py").write_text("")
    source = Path(os.__file__).with_name("encodings")
    for name in ENCODINGS:
        _compile((source / f"{name}.py").read_text(), stdlib / "encodings" / f"{name}.pyc")


def _compile(text: str, target: Path) -> None:
    """Compiled once, here: it is then neither compiled nor compared with its source at each start."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work, target.stem + ".py")
        source.write_text(text)
        py_compile.compile(
            str(source), cfile=str(target), dfile=source.name, doraise=True, optimize=0, invalidation_mode=_UNCHECKED
        )
    target.chmod(0o644)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)
