"""Debian and Ubuntu packages by apt-get, without questions."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.run import ToolError, retry, run, say

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "a"}
OPTIONS = ("-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")


def install(packages: Sequence[str]) -> None:
    """Installs `packages`; refreshes apt's lists only when it does not work with those at hand."""
    if not packages:
        return
    _need_apt(packages)
    command = ("apt-get", *OPTIONS, "install", "--yes", "--no-install-recommends", *packages)
    try:
        run(command, env=QUIET)
    except subprocess.CalledProcessError:
        say("  not with the package lists at hand; fetching new ones")
        retry(("apt-get", *OPTIONS, "update"), tries=4, pause_s=15, env=QUIET)
        retry(command, tries=3, pause_s=10, env=QUIET)


def extract(package: str, member: str, target: Path, *, suite: str = "") -> None:
    """Puts the file `member` of `package` at `target` without installing it. `suite`: an archive beside the
    configured ones (`bookworm-backports`), used for this one call: the machine's own sources stay as they are.
    """
    work = target.parent / f".{package}.unpack"
    shutil.rmtree(work, ignore_errors=True)
    (work / "lists/partial").mkdir(parents=True)
    try:
        options = _suite_options(work, suite)
        if suite:
            retry(("apt-get", *OPTIONS, *options, "update"), tries=2, pause_s=5, env=QUIET)
        _download(work, options, package)
        (archive,) = work.glob("*.deb")
        run(("dpkg-deb", "-x", archive, work / "tree"))
        (work / "tree" / member).replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(work: Path, options: Sequence[str], package: str) -> None:
    # As root apt drops to the user _apt, who cannot write here; it says so in a warning and goes on.
    run(("apt-get", *OPTIONS, *options, "-o", "APT::Sandbox::User=root", "download", package), env=QUIET, cwd=work)


def _suite_options(work: Path, suite: str) -> tuple[str, ...]:
    if not suite:
        return ()
    sources = work / "sources.list"
    keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    sources.write_text(f"deb [signed-by={keys}] http://deb.debian.org/debian {suite} main\n")
    return (
        *("-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", f"Dir::State::Lists={work / 'lists'}", "-o", f"Dir::Cache={work}"),
    )


def _need_apt(packages: Sequence[str]) -> None:
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise ToolError(f"missing: {wanted}. There is no apt-get here; install them with your package manager")
    if os.geteuid() != 0:
        raise ToolError(f"missing: {wanted}. Installing them needs root: run `sudo apt-get install {wanted}`")
