"""Live membership: a running pod joins and leaves a slice through the REST API."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


def test_a_running_pod_joins_and_leaves(lab, scope, until):
    """`member add` gives a running pod its interface and its name; `member remove` takes both, and nothing restarts."""
    red = scope.slice()
    web = scope.pod("b", "web", red)
    late = scope.pod("a", "late")
    name = scope.export(red, "late", "--selector", "app=late", "--port", "80")
    started = lab.exec(late, "cat", "/proc/1/stat").stdout.split()[21]
    assert lab.addresses(late).keys() == {"eth0"}

    lab.ctl("member", "add", red, "--pod", f"a/{scope.namespace}/late")

    until(lambda: lab.addresses(late).get("net1"), "the interface")
    until(lambda: lab.reaches(late, lab.addresses(web)["net1"][0]), "the way to the other cluster")
    until(lambda: lab.lookup(web, name)[1] == lab.addresses(late)["net1"], "the name")
    assert late in {
        f"{a['spec']['cluster']}/{a['spec']['namespace']}/{a['spec']['pod']}" for a in lab.get("attachments")
    }

    lab.ctl("member", "remove", red, "--pod", f"a/{scope.namespace}/late")

    until(lambda: lab.addresses(late).keys() == {"eth0"}, "the interface is gone")
    until(lambda: lab.lookup(web, name)[1] == [], "the name is gone")
    assert lab.exec(late, "cat", "/proc/1/stat").stdout.split()[21] == started


def test_a_namespace_joins(lab, scope, until):
    """A membership of a namespace takes in its running pods, and those that start later."""
    red = scope.slice()
    first = scope.pod("a", "first")

    lab.ctl("member", "add", red, "--cluster", "a", "--namespace", scope.namespace)

    until(lambda: lab.addresses(first).get("net1"), "the interface of the running pod")
    second = scope.pod("a", "second")
    until(lambda: lab.addresses(second).get("net1"), "the interface of the new pod")
    lab.ctl("member", "remove", red, "--cluster", "a", "--namespace", scope.namespace)
    until(lambda: lab.addresses(first).keys() == lab.addresses(second).keys() == {"eth0"}, "both are gone")
