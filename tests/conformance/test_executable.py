"""The self-contained CNI executable, on a host that has nothing, not even a shell; and the script, where Python is.

<root>/opt/cni/bin/slicer          chroot: the only things that the executable can see
      /run/slicer/cni.sock  <----- AttachService of this process
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slicer_cni.install import forget_interpreters, install, install_executable, install_program, uninstall
from tests.conformance.node import Node, Pod, eventually
from tools.plugin import PROGRAM

pytestmark = pytest.mark.root
BIN = Path("/opt/cni/bin")
MULTUS_LIMIT_KIB = 50 * 1024
"""Memory limit of Multus' thick daemon, in whose cgroup the shim runs."""


def files(root: Path) -> list[str]:
    """Everything in `root`, by path."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def run(
    root: Path, command: str | None, *, stdin: bytes = b'{"cniVersion":"1.0.0"}', **env: str
) -> subprocess.CompletedProcess[bytes]:
    """One call of the installed executable in its root, with nothing but CNI_COMMAND and `env` in the environment."""
    env = {"PATH": os.environ["PATH"], **env, **({"CNI_COMMAND": command} if command else {})}
    words = ["chroot", root, "/opt/cni/bin/slicer"]
    return subprocess.run(words, env=env, input=stdin, capture_output=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's root with the executable installed and nothing else."""
    root = tmp_path / "root"
    install_executable(PROGRAM, root / BIN.relative_to("/"))
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
    """ADD attaches and DEL detaches where there is no Python, no shell and no library."""
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
    """A call needs a fifth of the memory that Multus' thick daemon may use at most, all of the interpreter included."""
    measure = ["/usr/bin/env", "python3", "-IS", "-c", _PEAK, str(root)]
    peak = subprocess.run(measure, input=b"{}", stdout=subprocess.PIPE, check=True).stdout

    assert 1024 < int(peak.splitlines()[-1]) < MULTUS_LIMIT_KIB // 5


_PEAK = """
import posix, sys
env = {"CNI_COMMAND": "VERSION", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
pid = posix.posix_spawnp("chroot", ["chroot", sys.argv[1], "/opt/cni/bin/slicer"], env)
_, status, usage = posix.wait4(pid, 0)
posix.write(1, str(usage.ru_maxrss if status == 0 else 0).encode())
"""
"""Run by a small process: the peak of a child counts from that of its parent."""


@pytest.mark.parametrize("stdin", [b"", b"\xff\xfe\x00", b'{"cniVersion":"\xff"}', b'{"cniVersion":"1.0.0"' * 9000])
def test_any_input_is_answered(root: Path, stdin: bytes) -> None:
    """Whatever stdin holds, the answer is an error object: there are no codecs in this interpreter to stumble over."""
    done = run(root, "ADD", stdin=stdin, SLICER_CNI_SOCKET="/nowhere/\udcff", CNI_CONTAINERID="\udcff")

    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 11


def test_a_reader_that_is_gone_ends_no_call_by_a_signal(root: Path) -> None:
    """A runtime that closed the pipe is an error of the call: the process ends by itself, not by SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        env = {"PATH": os.environ["PATH"], "CNI_COMMAND": "VERSION"}
        words = ["chroot", root, "/opt/cni/bin/slicer"]
        done = subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, stdout=closed, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode > 0


def test_installing_again_changes_nothing(root: Path) -> None:
    """The same executable is left alone: same files, same inodes."""
    before = {path: (root / path).stat().st_ino for path in files(root)}

    install_executable(PROGRAM, root / "opt/cni/bin")

    assert before == {path: (root / path).stat().st_ino for path in files(root)}


def test_damage_is_repaired(root: Path) -> None:
    """An executable that was damaged is replaced, and works."""
    target = root / "opt/cni/bin/slicer"
    target.write_bytes(target.read_bytes()[:4096])

    install_executable(PROGRAM, root / "opt/cni/bin")

    assert run(root, "VERSION").returncode == 0
    assert files(root) == ["opt", "opt/cni", "opt/cni/bin", "opt/cni/bin/slicer"]


def test_a_call_keeps_the_executable_that_it_runs(root: Path) -> None:
    """Another version is renamed into place: a call meanwhile ends with the one that it started."""
    words = ["chroot", root, "/opt/cni/bin/slicer"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, env={"PATH": os.environ["PATH"], "CNI_COMMAND": "VERSION"}, stdin=pipe, stdout=pipe
    ) as call:
        eventually(lambda: Path(f"/proc/{call.pid}/exe").resolve().name == "slicer")
        install(root / "opt/cni/bin")
        stdout, _ = call.communicate(b"{}")

    assert b"supportedVersions" in stdout
    assert (root / "opt/cni/bin/slicer").read_bytes()[:2] == b"#!"


def test_only_our_executable_is_installed(tmp_path: Path) -> None:
    """A program of somebody else is refused, and nothing is written."""
    stranger = tmp_path / "bridge"
    stranger.write_bytes(b"\x7fELF not ours")

    with pytest.raises(OSError, match="bridge is not the CNI plugin slicer"):
        install_executable(stranger, tmp_path / "bin")

    assert not (tmp_path / "bin").exists()


def test_uninstall_leaves_nothing_of_ours(root: Path, tmp_path: Path) -> None:
    """Uninstalling removes every file that installing, an earlier version or a kill left, and no file of others."""
    program = tmp_path / "wireguard-go"
    program.write_bytes(b"x")
    install_program(program, root / "opt/slicer")
    (root / "opt/slicer/0.1.0-0123abcd").mkdir()
    (root / "opt/cni/bin/.slicer-killed").write_text("half")
    (root / "opt/cni/bin/bridge").write_text("not ours")

    uninstall(root / "opt/cni/bin", root / "opt/slicer")

    assert files(root) == ["opt", "opt/cni", "opt/cni/bin", "opt/cni/bin/bridge"]


def test_interpreters_of_earlier_versions_go(tmp_path: Path) -> None:
    """What earlier executables brought along is removed, what somebody else has there is not."""
    for name in ("0.1.0-0123abcd", ".new-xy", "bin", "notes"):
        (tmp_path / name).mkdir()

    forget_interpreters(tmp_path)

    assert files(tmp_path) == ["bin", "notes"]


def test_uninstall_spares_a_stranger_of_the_same_name(tmp_path: Path) -> None:
    """An executable called `slicer` that is not ours stays."""
    stranger = tmp_path / "slicer"
    stranger.write_text("#!/bin/sh\n")

    assert uninstall(tmp_path, tmp_path / "home") == []
    assert stranger.exists()


def test_the_script_does_the_same(bare_node: Node, tmp_path: Path) -> None:
    """Where a host's own Python runs the shim: ADD, DEL, VERSION, and an error while the agent is down."""
    bare_node.executable = install(tmp_path / "bin", sys.executable)
    pod = bare_node.pod()
    assert pod.add().error(11)
    bare_node.start()

    assert pod.add().ok().json["ips"]
    assert pod.contents().link("net1")
    pod.delete().ok()
    eventually(lambda: pod.contents().link("net1") is None)
    assert pod.call("VERSION").ok().json["supportedVersions"]
