"""The self-contained CNI executable: the shim, compiled, in a CPython that is linked statically with what it imports.

    python -m tools.plugin        builds cni-plugin/executable/main.c, prints where the program lies

Needs a C compiler, which is installed where none is, and Debian's package of CPython's static library, which is fetched
and not installed. Library and program are kept in ~/.cache/slicer: the one by its version, the other by what it is made
of. Standard library only: `make setup` runs it with the system's Python.
"""

from __future__ import annotations

import hashlib
import marshal
import platform
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import apt, debian_root
from tools.gomodule import cache_directory
from tools.run import ROOT, TOOLS, ToolError, finish, replace_file, run, say, works

PROGRAM = TOOLS / "bin/slicer-cni"
SOURCE = ROOT / "cni-plugin/executable/main.c"
INSTALLER = ROOT / "cni-plugin/slicer_cni/install.py"
VERSION = (3, 11)
"""Of the library; what is compiled for one minor version of Python runs in that one only."""
PACKAGE = "libpython3.11-dev"
COMPILER_PACKAGE = "build-essential"
KEYS_PACKAGE = "debian-archive-keyring"
"""Ubuntu has it, and does not install it: Debian's archive is checked with its keys."""
FLAGS = ("-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror=implicit")


def provide() -> bool:
    """Leaves PROGRAM; False, after saying why, where it cannot be built."""
    try:
        built = build()
    except (ToolError, subprocess.CalledProcessError, OSError) as error:
        say(f"CNI executable: a script for this machine's Python ({error})")
        PROGRAM.unlink(missing_ok=True)
        return False
    replace_file(PROGRAM, built)
    say(f"CNI executable: {PROGRAM.relative_to(ROOT)}, {PROGRAM.stat().st_size / 1e6:.1f} MB")
    return True


def build() -> Path:
    """The program, from the cache or freshly linked; ToolError with the cure where something is missing."""
    if sys.version_info[:2] != VERSION:
        wanted = ".".join(map(str, VERSION))
        raise ToolError(f"the CNI executable is compiled by Python {wanted}, this is {platform.python_version()}")
    shim = _shim()
    digest = hashlib.sha256(b"\0".join((SOURCE.read_bytes(), shim, " ".join(FLAGS).encode()))).hexdigest()[:12]
    kept = cache_directory() / f"slicer-cni-{digest}-{platform.machine()}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as work:
            _link(shim, _library(), Path(work))
            Path(work, "program").replace(kept)
    return kept


def _shim() -> bytes:
    """The shim's code object; its text is what the installer writes as a script."""
    text = runpy.run_path(str(INSTALLER))["shim_text"]()
    return marshal.dumps(compile(text, "shim.py", "exec", dont_inherit=True, optimize=0))


def _link(shim: bytes, library: Path, work: Path) -> None:
    if not _links_statically(work):
        apt.install((COMPILER_PACKAGE,))
    (work / "shim.h").write_text(f"static const unsigned char SHIM[] = {{{','.join(map(str, shim))}}};\n")
    (archive,) = library.glob("usr/lib/python3.11/config-*/libpython3.11.a")
    includes = [f"-I{path.parent}" for path in library.glob("usr/include/**/pyconfig.h")]
    words = ["cc", *FLAGS, f"-I{work}", *includes, "-o", str(work / "program"), str(SOURCE), str(archive), "-lm"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # its warnings are about name services, which the shim does not ask
        raise ToolError(f"the CNI executable cannot be linked: {done.stderr.strip()[-800:]}")


def _links_statically(work: Path) -> bool:
    """Whether there is a C compiler, with the static C library that Debian keeps in a package of its own."""
    source = work / "nothing.c"
    source.write_text("int main(void) { return 0; }\n")
    return works(("cc", "-static", "-o", work / "nothing", source, "-lm"))


def _library() -> Path:
    """Debian's static CPython and its headers, unpacked."""
    kept = cache_directory() / f"{PACKAGE}-{platform.machine()}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not debian_root.KEYS.exists():
            apt.install((KEYS_PACKAGE,))
        with tempfile.TemporaryDirectory(dir=kept.parent) as work:
            say(f"  fetching {PACKAGE}")
            (archive,) = debian_root.download(Path(work), debian_root.open_archives(Path(work)), [PACKAGE])
            run(("dpkg-deb", "-x", archive, Path(work, "tree")))
            Path(work, "tree").replace(kept)
    return kept


def main() -> int:
    """Command line."""
    say(str(build()))
    return 0


if __name__ == "__main__":
    finish(main)
