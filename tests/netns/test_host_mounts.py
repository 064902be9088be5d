"""An agent in a container makes its namespaces on the host.

this process: the host             a child in a mount namespace of its own: the container
/run/netns  (shared) ------------> /run/netns  (slave: sees the host's mounts, keeps its own)
                                   /proc/sys   (read-only)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slicer.kernel import netns

pytestmark = pytest.mark.root
CONTAINER = """
import subprocess, sys
from pathlib import Path
from slicer.kernel import host, netns
subprocess.run("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys", shell=True, check=True)
try:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
except OSError:
    print("read-only")
if sys.argv[1:]:
    host.use(Path(sys.argv[1]))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
netns.create("s-c0ffee")
netns.create("s-decade")
print(*netns.names())
netns.delete("s-decade")
print(*netns.names())
"""


@pytest.fixture
def shared() -> Iterator[None]:
    """/run as hosts have it: a shared mount, whose changes containers see."""
    subprocess.run(["mount", "--make-shared", "/run"], check=True)
    netns.create("s-facade")
    try:
        yield
    finally:
        subprocess.run(["mount", "--make-private", "/run"], check=True)
        for name in ("s-facade", "s-c0ffee", "s-decade"):
            netns.delete(name)


def container(*arguments: str) -> list[str]:
    """What the child prints."""
    argv = ["unshare", "--mount", "--propagation", "slave", sys.executable, "-c", CONTAINER, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.usefixtures("shared")
def test_namespaces_outlive_the_container() -> None:
    """What was made is on the host and seen in the container, what was deleted is in neither; nothing ends with it."""
    said = container(f"/proc/{os.getpid()}/ns/mnt")

    assert said == ["read-only", "s-c0ffee s-decade s-facade", "s-c0ffee s-facade"]
    assert netns.names() == ["s-c0ffee", "s-facade"]
    assert netns.is_network(netns.path_of("s-c0ffee"))


@pytest.mark.usefixtures("shared")
def test_without_the_host_they_end_with_it() -> None:
    """The test's container is one: without --host-mounts nothing that it made is a namespace on the host."""
    assert container()[-1] == "s-c0ffee s-facade"
    assert netns.names() == ["s-facade"]


def test_a_missing_right_is_named(tmp_path: Path) -> None:
    """An agent that may not enter the host's mounts says so at its start, with the rights that it needs."""
    argv = [
        sys.executable,
        "-m",
        "slicer.agent.main",
        "--host-mounts",
        str(tmp_path / "none"),
        "--state",
        str(tmp_path),
        "cleanup",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert done.returncode == 6
    assert "SYS_PTRACE" in done.stderr
