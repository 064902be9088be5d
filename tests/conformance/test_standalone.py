"""The shim with its own interpreter: on a host that has nothing, not even a shell.

<root>/opt/cni/bin/slicer          chroot: the only things that the shim can see
      /opt/slicer/<version>/
      /run/slicer/cni.sock  <----- AttachService of this process
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slicer_cni.install import install_program, install_standalone, uninstall
from tests.conformance.node import Node, Pod, eventually

pytestmark = pytest.mark.root
BIN, HOME = Path("/opt/cni/bin"), Path("/opt/slicer")
MULTUS_LIMIT_KIB = 50 * 1024
"""Memory limit of Multus' thick daemon, in whose cgroup the shim runs."""


def files(root: Path) -> list[str]:
    """Everything in `root`, by path."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def versions(root: Path) -> list[str]:
    """The installed versions, and whatever else lies beside them."""
    return sorted(path.name for path in (root / "opt/slicer").iterdir())


def run(root: Path, command: str | None, **env: str) -> subprocess.CompletedProcess[bytes]:
    """One call of the installed executable in its root, with nothing but CNI_COMMAND and `env` in the environment."""
    env = {"PATH": os.environ["PATH"], **env, **({"CNI_COMMAND": command} if command else {})}
    words = ["chroot", root, "/opt/cni/bin/slicer"]
    return subprocess.run(words, env=env, input=b'{"cniVersion":"1.0.0"}', capture_output=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's root with the shim installed and nothing else."""
    root = tmp_path / "root"
    install_standalone(BIN, HOME, host_root=root)
    return root


@pytest.fixture
def node(root: Path) -> Iterator[Node]:
    """A node whose agent listens inside the root."""
    node = Node(
        state=root / "var/lib/slicer", run=root / "run/slicer", executable=BIN / "slicer", enter=("chroot", str(root)),
        token=secrets.token_hex(3), view={},
    )  # fmt: skip
    try:
        node.add_slice("red", ("10.22.5.0/26",))
        node.start()
        yield node
    finally:
        node.close()


def test_add_and_del_from_an_empty_root(node: Node, root: Path) -> None:
    """ADD attaches and DEL detaches where there is no Python, no shell and no library but the shim's own."""
    pod: Pod = node.pod()
    own = {"SLICER_CNI_SOCKET": None, "SLICER_CNI_TOMBSTONES": None}

    result = pod.add(**own).ok().json

    address = ipaddress.ip_interface(result["ips"][0]["address"]).ip
    assert address in ipaddress.ip_network("10.22.5.0/26")
    link = pod.contents().link("net1")
    assert link is not None
    assert address in pod.contents().addresses_of(link.index)
    assert {path.split("/")[0] for path in files(root)} == {"opt", "run", "var"}

    pod.delete(**own).ok()

    eventually(lambda: pod.contents().link("net1") is None)


def test_without_agent(root: Path) -> None:
    """VERSION is answered, ADD is to be tried again, a DEL leaves a tombstone, all from the empty root."""
    (root / "var/lib/slicer").mkdir(parents=True)

    assert b"supportedVersions" in run(root, "VERSION").stdout
    assert b'"code":11' in run(root, "ADD").stdout
    assert b"CNI versions supported" in run(root, None).stderr

    done = run(root, "DEL", CNI_CONTAINERID="c1", CNI_IFNAME="net1")

    assert (done.returncode, done.stdout) == (0, b"")
    assert [path.name for path in (root / "var/lib/slicer/tombstones").iterdir()] == ["c1:net1"]


def test_foreign_environment_is_ignored(root: Path) -> None:
    """Neither the runtime's locale nor its PYTHON and LD variables reach the interpreter."""
    python = {"PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/x", "PYTHONPATH": "/nowhere", "PYTHONVERBOSE": "1"}
    done = run(root, "VERSION", LC_ALL="de_DE.ISO-8859-15", LD_LIBRARY_PATH="/nowhere", **python)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"supportedVersions" in done.stdout


def test_fits_beside_multus(root: Path) -> None:
    """A call needs a third of the memory that Multus' thick daemon may use at most, all of the interpreter included."""
    measure = ["/usr/bin/env", "python3", "-IS", "-c", _PEAK, str(root)]
    peak = subprocess.run(measure, input=b"{}", stdout=subprocess.PIPE, check=True).stdout

    assert 1024 < int(peak.splitlines()[-1]) < MULTUS_LIMIT_KIB // 3


_PEAK = """
import posix, sys
env = {"CNI_COMMAND": "VERSION", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
pid = posix.posix_spawnp("chroot", ["chroot", sys.argv[1], "/opt/cni/bin/slicer"], env)
_, status, usage = posix.wait4(pid, 0)
posix.write(1, str(usage.ru_maxrss if status == 0 else 0).encode())
"""
"""Run by a small process: the peak of a child counts from that of its parent."""


def test_installing_again_changes_nothing(root: Path) -> None:
    """The same version is left alone: same files, same inodes."""
    before = {path: (root / path).stat().st_ino for path in files(root)}

    install_standalone(BIN, HOME, host_root=root)

    assert before == {path: (root / path).stat().st_ino for path in files(root)}


def test_damage_is_repaired(root: Path) -> None:
    """A version whose content is not what its name says is replaced, and works."""
    (shim,) = root.glob("opt/slicer/*/shim.pyc")
    shim.write_bytes(b"")
    assert run(root, "VERSION").returncode != 0

    install_standalone(BIN, HOME, host_root=root)

    assert run(root, "VERSION").returncode == 0
    assert len(versions(root)) == 1


def test_an_upgrade_keeps_what_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version before stays for calls that are about to start; older ones and remains of interrupted ones go."""
    (first,) = versions(root)
    (root / "opt/slicer/.new-interrupted").mkdir()
    for text in ("2", "3"):
        shim = f"import posix\nposix.write(1, b'{text}')\n# CNI plugin slicer\n"
        monkeypatch.setattr("slicer_cni.install.shim_text", lambda shim=shim: shim)
        install_standalone(BIN, HOME, host_root=root)
        assert run(root, "ADD").stdout == text.encode()

    assert len(versions(root)) == 2
    assert first not in versions(root)


def test_a_damaged_interpreter_is_told_to_the_runtime(root: Path) -> None:
    """Where the interpreter is gone, the runtime reads an error object with the cure."""
    (loader,) = root.glob("opt/slicer/*/ld.so")
    loader.unlink()
    done = run(root, "ADD")

    assert done.returncode == 1
    assert b"restart the Slicer agent" in done.stdout


def test_uninstall_leaves_nothing_of_ours(root: Path, tmp_path: Path) -> None:
    """Uninstalling removes every file that installing made, and no file of somebody else."""
    program = tmp_path / "wireguard-go"
    program.write_bytes(b"x")
    install_program(program, HOME, host_root=root)
    (root / "opt/cni/bin/bridge").write_text("not ours")

    uninstall(BIN, HOME, host_root=root)

    assert files(root) == ["opt", "opt/cni", "opt/cni/bin", "opt/cni/bin/bridge"]


def test_uninstall_spares_a_stranger_of_the_same_name(tmp_path: Path) -> None:
    """An executable called `slicer` that is not ours stays."""
    stranger = tmp_path / "opt/cni/bin/slicer"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("#!/bin/sh\n")

    assert uninstall(BIN, HOME, host_root=tmp_path) == []
    assert stranger.exists()
