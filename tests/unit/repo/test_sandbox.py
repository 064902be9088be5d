"""The sandbox in which `make test` runs everything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tools.run import ROOT
from tools.sandbox import LEAKED

pytestmark = pytest.mark.root


def sandboxed(script: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a shell script in a sandbox."""
    command = (sys.executable, "-m", "tools.sandbox", "sh", "-c", script)
    env = {**os.environ, "SANDBOX_GRACE_S": "0.2"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=env)


def test_a_clean_command_gives_its_exit_code() -> None:
    """What leaves nothing behind ends as it would outside."""
    assert sandboxed("true").returncode == 0
    assert sandboxed("exit 3").returncode == 3


@pytest.mark.parametrize(
    ("script", "leak"),
    [
        ("sleep 1000 &", "process"),
        ("ip link add left0 type veth peer name left1", "link left0"),
        ("ip netns add left", "network namespace left"),
    ],
)
def test_what_is_left_behind_is_named(script: str, leak: str) -> None:
    """A process, a link and a namespace that outlive the command are listed and fail it."""
    done = sandboxed(script)

    assert done.returncode == LEAKED
    assert f"left behind: {leak}" in done.stdout


def test_a_failure_is_not_hidden_by_a_leak() -> None:
    """The command's own failure is the exit code even if it left something."""
    assert sandboxed("sleep 1000 & exit 3").returncode == 3


def test_the_machine_is_not_seen_and_not_touched() -> None:
    """Loopback is the only link inside, /run is empty, and a named namespace is not seen outside."""
    done = sandboxed("ls /sys/class/net /run/netns; ip netns add inside; ip netns del inside")

    assert done.stdout.split() == ["/run/netns:", "/sys/class/net:", "lo"]
