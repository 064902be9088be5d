"""The README's first command: everything that the demonstration says holds, and it fits a terminal."""

from __future__ import annotations

import os
import subprocess

import pytest

pytestmark = pytest.mark.root
COLUMNS = 100


@pytest.mark.timeout(400)
def test_the_demonstration_holds(lab):
    """`slicectl lab demo` ends well, says so, leaves its lab running, and is not wider than a terminal."""
    name = f"demo-{os.getpid()}"
    env = {**lab.env, "SLICER_LAB": name}
    argv = [lab.slicectl, "lab"]
    try:
        done = subprocess.run([*argv, "demo"], env=env, capture_output=True, text=True, check=False)
        status = subprocess.run([*argv, "status"], env=env, capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run([*argv, "down"], env=env, check=True, capture_output=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it held" in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > COLUMNS] == []
    assert status.count(" runs") >= 9


@pytest.mark.timeout(200)
def test_a_demonstration_that_cannot_be_held_fails(lab):
    """In a lab that is there already nothing is shown: exit 1, with the cure."""
    argv = [lab.slicectl, "lab", "demo"]

    done = subprocess.run(argv, env=lab.env, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "✘ expected this to work" in done.stdout
    assert f"runs already; remove it with: slicectl lab down --name {lab.name}" in done.stderr
    assert "✔" not in done.stdout
