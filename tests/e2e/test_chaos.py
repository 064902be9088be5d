"""`slicectl chaos` on a running lab: a fault that a slice stands, one that it cannot stand, one that is cut short."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from slicer.lab.chaos import journal

pytestmark = pytest.mark.root
FAILED = 9


@pytest.fixture
def stage(lab, pair):
    """The options that name the slice and the two pods."""
    return ["--slice", pair.red, "--from", pair.here, "--to", pair.there, "--name", lab.name]


def run(lab, experiment, stage, *options):
    """(exit code, what came out) of one experiment."""
    done = lab.try_("chaos", "run", experiment, *stage, *options, "-o", "json")
    assert done.stdout, done
    (found,) = json.loads(done.stdout)["items"]
    return done.returncode, found


def tables(lab, *machines):
    """The nft tables of the machines that experiments make."""
    return [
        line for m in machines for line in lab.exec(m, "nft", "list", "tables").stdout.splitlines() if "chaos" in line
    ]


def test_a_slice_stands_a_gateway_that_is_cut_off(lab, stage):
    """Both directions carried packets all the time but for a moment; nothing is left of the fault."""
    code, found = run(lab, "cut-outside", stage, "--for", "3s", "--silence", "2s")

    assert (code, found["result"], found["reasons"]) == (0, "PASS", []), found
    assert [(one["source"], one["target"]) for one in found["figures"]] == [("a", "b"), ("b", "a")]
    assert all(one["sent"] > 1000 for one in found["figures"])
    assert found["machines"] == ["a-n2"], "a gateway without one of the pods"
    assert tables(lab, "a-n1", "a-n2") == []


def test_a_slice_does_not_stand_loss_that_its_objectives_exclude(lab, pair, stage, until):
    """Every second packet is lost and one of a hundred may be: FAIL with exit code 9, in words; and it is over then."""
    lab.ctl("objectives", "set", pair.red, "--loss", "1")

    code, found = run(lab, "loss", stage, "--loss", "50", "--for", "3s", "--silence", "2s")

    assert (code, found["result"]) == (FAILED, "FAIL"), found
    assert any("% lost; the slice's objective is 1 %" in reason for reason in found["reasons"])
    assert all(one["steady_percent"] > 25 for one in found["figures"])
    assert tables(lab, "a-n1", "a-n2") == []
    until(lambda: lab.reaches(pair.here, pair.target), "the way is back")


def test_what_an_experiment_broke_that_was_killed_is_repaired(lab, pair, stage, until):
    """SIGKILL in the middle: the fault stays and is known; `chaos repair` mends it, and a second time does nothing."""
    argv = [lab.slicectl, "chaos", "run", "partition", *stage, "--for", "5m"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=lab.env) as process:
        until(lambda: not lab.reaches(pair.here, pair.target), "the clusters are cut off from each other")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert tables(lab, "a-n1", "a-n2"), "the fault is still there"

    status = lab.ctl("chaos", "status", "--name", lab.name)
    repaired = lab.ctl("chaos", "repair", "--name", lab.name)
    again = lab.ctl("chaos", "repair", "--name", lab.name)

    assert "a-n1: nothing passes to or from cluster b" in status
    assert "a-n1: repaired" in repaired
    assert again == "nothing is broken by an experiment\n"
    assert tables(lab, "a-n1", "a-n2") == []
    until(lambda: lab.reaches(pair.here, pair.target), "the way is back")


def test_an_interrupted_experiment_repairs_what_it_did(lab, pair, stage, until):
    """SIGTERM in the middle: the hub that was killed runs again before the command ends, with exit code 130."""
    argv = [lab.slicectl, "chaos", "run", "stop-hub", *stage, "--for", "5m"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=lab.env) as process:
        until(lambda: "stopped" in line_of(lab, "hub "), "the hub is killed")
        process.terminate()
        output, _ = process.communicate()

    assert process.returncode == 130, output
    assert "hub: repaired" in output
    assert "hub runs" in line_of(lab, "hub ")
    assert journal.broken(lab.layout) == ()


def test_what_cannot_be_played_is_refused_before_anything_is_done(lab, pair, stage):
    """No such slice; a gateway that runs one of the pods: the exit code says which kind of mistake it was."""
    assert "there is no slice 'nil'" in lab.refused(4, "chaos", "run", "loss", "--slice", "nil", "--name", lab.name)
    assert "a pod of the flows runs on" in lab.refused(2, "chaos", "run", "kill-gateway", *stage, "--node", "a-n1")
    assert journal.broken(lab.layout) == ()


def line_of(lab, start):
    """The line of `lab status` that begins so."""
    lines = lab.ctl("lab", "status", "--name", lab.name).splitlines()
    return next(line for line in lines if line.startswith(start))
