"""The lab itself: it leaves nothing behind, however it ends, and refuses what it cannot do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
NAME = f"own-{os.getpid()}"


def processes_of(name):
    """Process numbers with start times of everything inside the machines of one lab, by their PID namespaces."""
    own, inside = set(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
                space = (entry / "ns/pid").readlink()
                started = (entry / "stat").read_text().rpartition(")")[2].split()[19]
            except OSError:
                continue
            inside.append((space, int(entry.name), started))
            if b"slicer.lab.init" in line and f"/{name}/machines/".encode() in line:
                own.add(space)
    return sorted((pid, started) for space, pid, started in inside if space in own)


def machine_state(name):
    """Everything that a lab could leave: its machines, links, namespaces, mounts, files."""
    return {
        "machines": processes_of(name),
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "files": sorted(str(path) for path in Path("/run/slicer-lab").glob("*")),
        "slicer": sorted(str(p) for d in ("/run/slicer", "/var/lib/slicer", "/opt/cni") for p in Path(d).glob("*")),
    }


def still_alive(processes):
    """Those of (pid, start time) that are still there."""
    return [pid for pid, started in processes if (pid, started) in _all_processes()]


def _all_processes():
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add((int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()[19]))
            except OSError:
                continue
    return found


@pytest.fixture
def fresh(lab):
    """Commands of another lab than the session's, removed at the end."""
    env = {**os.environ, "SLICER_LAB": NAME}
    yield lambda *argv: subprocess.run(
        [sys.executable, "-m", "slicer.lab", *argv], env=env, capture_output=True, text=True, check=False
    )
    subprocess.run([sys.executable, "-m", "slicer.lab", "down"], env=env, check=True, capture_output=True)


def test_a_lab_that_was_used_leaves_nothing(fresh, lab):
    """After `lab down` processes, links, namespaces, mounts and files are as they were before `lab up`."""
    before = machine_state(NAME)

    up = fresh("up", "--clusters", "x", "--nodes", "1")
    assert up.returncode == 0, up.stderr
    again = fresh("up", "--clusters", "x", "--nodes", "1")
    assert again.returncode == 5
    assert "runs already; remove it with: slicectl lab down" in again.stderr
    run = fresh("run", "-f", str(Path(__file__).parents[2] / "manifests/examples/outsider.yaml"), "--cluster", "x")
    assert run.returncode == 0, run.stderr
    running = processes_of(NAME)
    assert len(running) > 4
    assert machine_state(NAME)["links"] == before["links"]
    assert machine_state(NAME)["mounts"] == before["mounts"]
    down = fresh("down")

    assert down.returncode == 0, down.stderr
    assert machine_state(NAME) == before
    assert still_alive(running) == []


@pytest.mark.parametrize("after", ["starting", "cables", "hub", "join"])
def test_an_up_that_was_killed_half_way_is_cleaned_by_down(fresh, lab, after, until):
    """`lab up` killed with SIGKILL at any stage leaves a lab that `lab down` removes without a trace."""
    before = machine_state(NAME)
    env = {**os.environ, "SLICER_LAB": NAME, "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", "slicer.lab", "up", "--clusters", "x", "--nodes", "1"]
    with subprocess.Popen(argv, env=env, stdout=-1, stderr=-2, text=True) as process:
        for line in process.stdout:
            if after in line:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL

    down = fresh("down")

    assert down.returncode == 0, down.stderr
    assert machine_state(NAME) == before


def test_a_node_whose_plug_was_pulled_comes_back_with_its_pods(lab, scope, until):
    """A machine that is killed and started again brings its agent and its pods back, on the slice as before."""
    red = scope.slice()
    here = scope.pod("a", "here", red, node="a-n2")
    there = scope.pod("b", "there", red)
    target = lab.addresses(there)["net1"][0]
    until(lambda: lab.reaches(here, target), "the way to the other cluster")

    lab.ctl("lab", "stop", "a-n2")
    lab.ctl("lab", "start", "a-n2")

    until(lambda: lab.reaches(here, target), "the way to the other cluster, again")


@pytest.mark.parametrize(
    ("code", "argv", "message"),
    [
        (2, ("up", "--name", "No"), "lab name 'No'"),
        (2, ("up", "--name", "x", "--clusters", "a,a"), "a name stands twice"),
        (4, ("status", "--name", "nowhere"), "there is no lab 'nowhere'; make it with: slicectl lab up"),
        (4, ("exec", "nobody", "--", "true"), "there is no pod 'nobody'"),
        (2, ("exec", "a-n1"), "no command"),
        (2, ("run", "-f", "/nowhere.yaml", "--cluster", "a"), "manifest /nowhere.yaml: No such file"),
        (2, ("run", "-f", "-", "--cluster", "c"), "no cluster 'c'; it has a, b"),
        (2, ("stop", "a-n7"), "no machine 'a-n7'"),
        (2, ("start", "hub/agent"), "machine hub has no program 'agent'; it has hub"),
    ],
)
def test_what_the_lab_cannot_do_is_refused(lab, code, argv, message):
    """The lab's own refusals name the thing and what there is."""
    assert message in lab.refused(code, "lab", *argv)


def test_a_command_that_ends_is_started_again(lab, scope, until):
    """Restart policy Always: the kubelet starts a container again, and its output is kept."""
    pod = scope.pod("a", "ends", command=("sh", "-c", "echo I am $(hostname)"))

    until(lambda: lab.ctl("lab", "logs", pod).count("I am ends\n") >= 3, "the third start")
