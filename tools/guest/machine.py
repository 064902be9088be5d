"""The machine: QEMU without hardware virtualisation, the cached kernel, this machine's programs by virtio-fs.

            kernel log  <- ttyS0 +-----------------------------+
    command's output    <- ttyS1 | overlay: scratch in memory  |
    its exit code       <- ttyS2 |   over  shared (read-only)  |-- virtio-fs -- virtiofsd: /usr, /etc, the clone, Python
                                 +-----------------------------+

There is no network device and no disk: what the command does ends with the machine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.guest.initramfs import plan_modules, render_archive
from tools.kernel import Kernel
from tools.run import ROOT, ToolError

HERE = Path(__file__).parent
MODULES = ("virtio_pci", "virtiofs", "overlay")
"""What it takes to reach the shared directories; the rest is loaded from there by the kernel itself."""
MERGED = ("bin", "sbin", "lib", "lib64")
EMPTY = ("proc", "sys", "dev", "run", "tmp", "var/lib", "var/log", "root", "guest/modules")
"""Directories of the shared root that something is mounted on, or that programs expect."""
MEMORY = "2G"
PROCESSOR = "Nehalem"
"""Without AVX: what programs do with it is slower when it is emulated."""
PATIENCE_S = 20
"""For virtiofsd to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the machine ended. `code` is the command's exit code; None if it never told one."""

    code: int | None
    in_time: bool
    log: str
    """What the kernel wrote."""


def run(kernel: Kernel, virtiofsd: Path, command: Sequence[str], *, work: Path, limit_s: float) -> Outcome:
    """Boot, run `command` in the clone, printing what it writes, and power off. Mounts things below `work`.

    To be called in a mount namespace of its own.
    """
    _share(work, kernel, command)
    modules = plan_modules((kernel.modules / "modules.dep").read_text(), MODULES)
    files = {f"modules/{n:02}": (kernel.modules / path).read_bytes() for n, path in enumerate(modules)}
    files |= {"init": (HERE / "boot.sh").read_bytes(), "bin/busybox": _busybox()}
    folders = ("bin", "dev", "proc", "sys", "modules", "shared", "scratch", "real")
    (work / "initramfs").write_bytes(render_archive(files, folders))
    with _shared(virtiofsd, work):
        in_time = _run(render_qemu(kernel, work), limit_s)
    code = (work / "code").read_text().strip()
    log = (work / "kernel.log").read_text(errors="replace")
    return Outcome(code=int(code) if code.isdecimal() else None, in_time=in_time, log=log)


def render_qemu(kernel: Kernel, work: Path) -> tuple[str, ...]:
    """The command line. A panic or an oops ends the machine."""
    words = "console=ttyS0 panic=-1 oops=panic mitigations=off quiet"
    return (
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", "2", "-m", MEMORY),
        *("-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-numa", "node,memdev=memory"),
        *("-kernel", str(kernel.image), "-initrd", str(work / "initramfs"), "-append", words),
        *("-serial", f"file:{work / 'kernel.log'}", "-serial", "stdio", "-serial", f"file:{work / 'code'}"),
        *("-chardev", f"socket,id=files,path={work / 'socket'}"),
        *("-device", "vhost-user-fs-pci,chardev=files,tag=shared"),
    )


def shared_directories() -> tuple[Path, ...]:
    """What the machine sees of this one: programs, settings, the clone, and the interpreter of its .venv."""
    wanted = {Path("/usr"), Path("/etc"), ROOT, *map(Path, (sys.base_prefix, os.path.realpath(sys.base_prefix)))}
    return tuple(sorted(path for path in wanted if not wanted & set(path.parents)))


def render_command(command: Sequence[str]) -> str:
    """The script that the machine runs."""
    return f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}\n"


def _share(work: Path, kernel: Kernel, command: Sequence[str]) -> None:
    root = work / "shared"
    for name in EMPTY:
        (root / name).mkdir(parents=True)
    for name in MERGED:
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/run").symlink_to("/run")
    for path in shared_directories():
        _bind(path, root / path.relative_to("/"))
    _bind(kernel.modules, root / "guest/modules")
    shutil.copy(HERE / "main.sh", root / "guest/main.sh")
    (root / "guest/command.sh").write_text(render_command(command))


def _bind(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for words in (("--bind", str(source)), ("-o", "remount,bind,ro")):
        subprocess.run(("mount", *words, str(target)), check=True)


def _busybox() -> bytes:
    found = shutil.which("busybox")
    if found is None:
        raise ToolError("there is no busybox: run `make setup-kernel`")
    return Path(found).read_bytes()


@contextmanager
def _shared(virtiofsd: Path, work: Path) -> Iterator[None]:
    """While this lasts, virtiofsd waits for the machine, or serves it."""
    options = ("-o", f"source={work / 'shared'}", "-o", "cache=always", "-o", "sandbox=chroot")
    with open(work / "virtiofsd.log", "wb") as log:
        server = subprocess.Popen(
            (str(virtiofsd), f"--socket-path={work / 'socket'}", *options), stdout=log, stderr=log
        )
    try:
        ready = threading.Event()
        for _ in range(PATIENCE_S * 20):
            if (work / "socket").exists() or server.poll() is not None:
                break
            ready.wait(0.05)
        if server.poll() is not None:
            raise ToolError(f"{virtiofsd} ended: {(work / 'virtiofsd.log').read_text(errors='replace')[-500:]}")
        yield
    finally:
        server.kill()
        server.wait()


def _run(argv: Sequence[str], limit_s: float) -> bool:
    """Whether the machine ended by itself; what it says is printed at once."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as machine:
        try:
            machine.wait(limit_s)
        except subprocess.TimeoutExpired:
            machine.kill()
            return False
    return True
