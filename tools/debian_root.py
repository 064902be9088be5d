"""Files of Debian packages in a directory, without installing: what images are made of.

    python3 -m tools.debian_root DIRECTORY PACKAGE…

No maintainer script runs and nothing but the named packages is taken, so an image holds no shell and no package
manager. That the named ones suffice is for the image's own test to show. Runs on the standard library alone: the
Containerfile uses it as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.apt import OPTIONS, QUIET
from tools.run import ToolError, finish, retry, run

SUITE = "bookworm"
"""Debian 12: Python 3.11."""
MIRROR, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MERGED = ("bin", "sbin", "lib", "lib64")
"""Directories that are links into /usr, as on every Debian since 12; packages still name them."""
DROPPED = (
    *(f"usr/share/{name}" for name in ("doc", "man", "locale", "lintian", "bash-completion", "bug", "pixmaps")),
    *(f"usr/share/{name}" for name in ("applications", "binfmts", "perl5", "debhelper", "python3")),
    *(f"usr/lib/python3.11/{name}" for name in ("lib2to3", "pydoc_data", "ensurepip", "turtledemo", "idlelib", "test")),
    *(f"etc/{name}" for name in ("cron.d", "init.d", "pam.d", "default")),
    "usr/include",
    "var",
)
"""What no program of ours reads."""


def fill(root: Path, packages: Sequence[str]) -> None:
    """Unpack `packages` into `root`, newest of SUITE and its security archive."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    with tempfile.TemporaryDirectory() as work:
        for archive in download(Path(work), open_archives(Path(work)), packages):
            _unpack(archive, root)
    for name in DROPPED:
        shutil.rmtree(root / name, ignore_errors=True)


def open_archives(work: Path) -> tuple[str, ...]:
    """Fetch Debian's package lists into `work`; the options with which apt uses these and nothing of this machine's."""
    if not KEYS.exists():
        raise ToolError(f"there is no {KEYS}: apt-get install debian-archive-keyring")
    (work / "lists/partial").mkdir(parents=True)
    (work / "debs").mkdir()
    options = _private(work)
    retry(("apt-get", *OPTIONS, *options, "update"), tries=3, pause_s=5, env=QUIET)
    return options


def download(work: Path, options: Sequence[str], packages: Sequence[str]) -> tuple[Path, ...]:
    """The archive files of `packages`; those that were downloaded into `work` before are among them."""
    run(("apt-get", *OPTIONS, *options, "download", *packages), env=QUIET, cwd=work / "debs")
    return tuple(sorted((work / "debs").glob("*.deb")))


def _private(work: Path) -> tuple[str, ...]:
    """Options with which apt sees Debian's archives only and writes into `work` only."""
    sources = work / "sources.list"
    lines = (f"{MIRROR} {SUITE}", f"{MIRROR} {SUITE}-updates", f"{SECURITY} {SUITE}-security")
    sources.write_text("".join(f"deb [signed-by={KEYS}] {line} main\n" for line in lines))
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
    }
    settings |= {"Dir::Cache": work, "APT::Sandbox::User": "root"}
    return tuple(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))


def _unpack(archive: Path, root: Path) -> None:
    """`dpkg-deb -x` would replace the links of MERGED by directories."""
    with subprocess.Popen(("dpkg-deb", "--fsys-tarfile", archive), stdout=subprocess.PIPE) as deb:
        done = subprocess.run(("tar", "-x", "--keep-directory-symlink", "-C", root), stdin=deb.stdout, check=False)
    if deb.returncode or done.returncode:
        raise ToolError(f"{archive.name} could not be unpacked into {root}")


def main() -> int:
    """Command line."""
    if len(sys.argv) < 3 or os.geteuid() != 0:
        raise ToolError("as root: python3 -m tools.debian_root DIRECTORY PACKAGE…")
    fill(Path(sys.argv[1]), sys.argv[2:])
    return 0


if __name__ == "__main__":
    finish(main)
