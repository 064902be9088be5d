"""Slicer goes: refused while it is used, and without a trace when it is made to."""

from __future__ import annotations

import json

import pytest

from tests.e2e.workload import render_pod
from tests.kubernetes.lab.cluster import until
from tests.kubernetes.traces import traces

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_uninstalling_in_order_leaves_nothing(clusters, world, before):
    """The guide's two commands, no force: the hub is refused while its member is there, and goes after it."""
    world.slicectl("create-slice", "used", "--prefix", "10.91.0.0/16", "--clusters", "a,b", "--wait")
    world.apply("b", [render_pod("staying", "user", "used")])
    clusters.kubectl("b", "-n", "staying", "wait", "pod/user", "--for=condition=Ready", "--timeout=120s")

    used, hub = (world.try_slicectl("uninstall", "--context", context) for context in ("b", "a"))

    assert used.returncode != 0
    assert "staying/user" in used.stdout + used.stderr
    assert hub.returncode != 0
    assert "in use by cluster b" in hub.stdout + hub.stderr
    clusters.kubectl("b", "delete", "namespace", "staying", "--wait")
    for context in ("b", "a"):
        world.slicectl("uninstall", "--context", context)
    until(lambda: traces(clusters) == before, "nothing of ours is left", lambda: difference(before, traces(clusters)))


def test_uninstalling_under_use_is_refused_and_forced_leaves_nothing(clusters, world, before):
    """Without --force it says what is in use; with it, both clusters and all nodes are as they were before."""
    world.install()
    world.slicectl("create-slice", "last", "--prefix", "10.90.0.0/16")
    world.apply("b", [render_pod("leaving", "user", "last")])
    clusters.kubectl("b", "-n", "leaving", "wait", "pod/user", "--for=condition=Ready", "--timeout=120s")

    refused = world.try_slicectl("uninstall", "--context", "b")

    assert refused.returncode != 0
    assert "leaving/user" in refused.stdout + refused.stderr
    for context in ("b", "a"):
        world.slicectl("uninstall", "--context", context, "--force")
    links = clusters.kubectl("b", "-n", "leaving", "exec", "user", "--", "ip", "-br", "link").splitlines()
    assert sorted(line.split("@")[0].split()[0] for line in links) == ["eth0", "lo"]
    annotations = clusters.get("b", "-n", "leaving", "pod", "user")["metadata"].get("annotations", {})
    assert not [key for key in annotations if key.startswith("slicer.io/") and key != "slicer.io/slices"]
    clusters.kubectl("b", "delete", "namespace", "leaving", "--wait")
    until(lambda: traces(clusters) == before, "nothing of ours is left", lambda: difference(before, traces(clusters)))


def difference(before, after):
    """What differs, by place."""
    return json.dumps({place: [before[place], after[place]] for place in before if before[place] != after[place]})
