"""The machine that `make test-kernel` boots, without booting it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from tools.guest.__main__ import LINES, explain
from tools.guest.initramfs import plan_modules, render_archive
from tools.guest.machine import Outcome, render_command, render_qemu, shared_directories
from tools.kernel import Kernel
from tools.run import ROOT

INDEX = """\
kernel/fs/overlay.ko:
kernel/virtio.ko: kernel/ring.ko
kernel/ring.ko:
kernel/fs/virtiofs.ko: kernel/virtio.ko kernel/fs/fuse.ko
kernel/fs/fuse.ko:
kernel/net/other.ko: kernel/ring.ko
"""
KERNEL = Kernel(root=Path("/kernel"), release="6.1.0-1-cloud")


def unpack(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content of what a newc archive holds, read as its description says."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size].decode()
        start = -(-(at + 110 + name_size) // 4) * 4
        assert name.endswith("\0")
        if name == "TRAILER!!!\0":
            return found
        found[name[:-1]] = (mode, archive[start : start + size])
        at = -(-(start + size) // 4) * 4


def test_the_first_root_holds_what_was_put_in() -> None:
    """Directories come before the files in them; contents of every length come back."""
    files = {f"modules/{n}": bytes(range(n)) for n in range(9)}
    held = unpack(render_archive(files, ("modules", "dev")))

    assert [*held][:2] == ["modules", "dev"]
    assert {name: content for name, (_, content) in held.items() if name in files} == files
    assert held["dev"] == (0o40755, b"")
    assert {mode for name, (mode, _) in held.items() if name in files} == {0o100755}


def test_a_module_comes_after_what_it_needs() -> None:
    """Each once, and nothing that nobody asked for."""
    planned = [PurePosixPath(path).stem for path in plan_modules(INDEX, ("virtiofs", "overlay", "virtio"))]

    assert planned == ["ring", "virtio", "fuse", "virtiofs", "overlay"]


def test_a_module_that_the_kernel_lacks_is_named() -> None:
    """A kernel without virtio-fs is refused before anything is booted."""
    with pytest.raises(KeyError, match="9p"):
        plan_modules(INDEX, ("overlay", "9p"))


def test_the_command_keeps_its_words() -> None:
    """What a shell would take apart arrives in one piece, in the clone."""
    assert render_command(("sh", "-c", "echo $HOME; exit 3")) == f"cd {ROOT} && exec sh -c 'echo $HOME; exit 3'\n"


def test_the_machine_sees_programs_and_the_clone_and_nothing_twice() -> None:
    """/usr, /etc, the clone and the interpreter; none lies in another, and home directories are not shared."""
    shared = shared_directories()

    assert {Path("/usr"), Path("/etc")} <= set(shared)
    assert any(ROOT.is_relative_to(path) for path in shared)
    assert not [path for path in shared for other in shared if path in other.parents]
    assert not {Path("/"), Path("/home"), Path.home()} & set(shared)


def test_a_kernel_that_fails_ends_the_machine() -> None:
    """Panic and oops reboot at once, and a reboot ends QEMU."""
    words = render_qemu(KERNEL, Path("/w"))

    assert "/kernel/boot/vmlinuz-6.1.0-1-cloud" in words
    assert "-no-reboot" in words
    assert {"panic=-1", "oops=panic"} <= set(words[words.index("-append") + 1].split())


def test_a_machine_that_told_no_exit_code_is_explained_by_its_kernel() -> None:
    """A panic and a hang show the kernel's last words; a run that ended shows only what the kernel complained of."""
    log = "".join(f"[ {n}] line\r\n" for n in range(100)) + "[ 101] Kernel panic - not syncing\r\n"
    panic = explain(Outcome(code=None, in_time=True, log=log))
    hang = explain(Outcome(code=None, in_time=False, log=log))
    fine = explain(Outcome(code=1, in_time=True, log="[ 1] Linux\r\n[ 2] WARNING: CPU: 0 PID: 1\r\n"))

    assert panic[0] == "the machine ended before the command did; the kernel's last words:"
    assert (panic[-1], len(panic)) == ("[ 101] Kernel panic - not syncing", LINES + 1)
    assert "did not end within" in hang[0]
    assert fine == ["the kernel says: [ 2] WARNING: CPU: 0 PID: 1"]


def test_a_quiet_kernel_adds_nothing() -> None:
    """After a run without complaints there is nothing to say."""
    assert explain(Outcome(code=0, in_time=True, log="[ 1] Linux\r\n")) == []
