"""What is killed at the worst moment and comes back: nothing leaks, no address changes, running pings lose nothing."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = pytest.mark.root


def restart(lab, what):
    """SIGKILL, then start again."""
    lab.ctl("lab", "restart", "--kill", what)


@pytest.mark.parametrize("what", ["a-n1/agent", "b-n1/agent"])
def test_a_killed_agent_costs_no_packet(lab, pair, pinging, until, what):
    """An agent killed with SIGKILL and started again takes over what is there; no packet is lost, no address moves."""
    before = lab.addresses(pair.here)

    with pinging(lab, pair.here, pair.target) as counts:
        restart(lab, what)
        late = pair.pod(what[0], "late", pair.red, node=what.partition("/")[0])
        until(lambda: lab.addresses(late).get("net1"), "a new pod is attached after the restart")

    assert counts["lost"] == 0, counts
    assert counts["sent"] > 10
    assert lab.addresses(pair.here) == before


def test_the_whole_control_plane_restarts(lab, pair, pinging, until):
    """Hub, members and DNS servers killed and started again: no packet is lost, names answer, new pods are attached."""
    name = pair.export(pair.red, "there", "--selector", "app=there", "--port", "80")
    until(lambda: lab.lookup(pair.here, name)[1] == [pair.target], "the name")

    with pinging(lab, pair.here, pair.target) as counts:
        for what in ("hub/hub", "a-cp/member", "b-cp/member", "a-cp/dns"):
            restart(lab, what)
        until(lambda: lab.lookup(pair.here, name)[1] == [pair.target], "the name, from the restarted server")

    assert counts["lost"] == 0, counts
    other = pair.slice()
    pod = pair.pod("b", "other", other)
    assert lab.addresses(pod)["net1"]


def test_with_the_hub_down_everything_goes_on(lab, pair, pinging, until):
    """Hub down: pods are attached and detached, names follow inside the cluster, packets flow."""
    name = pair.export(pair.red, "there", "--selector", "app=there", "--port", "80")
    until(lambda: lab.lookup(pair.here, name)[1] == [pair.target], "the name")

    lab.ctl("lab", "stop", "--kill", "hub/hub")
    try:
        with pinging(lab, pair.here, pair.target) as counts:
            late = pair.pod("a", "late", pair.red)
            assert until(lambda: lab.reaches(late, pair.target), "a pod that was attached without the hub")
            assert until(lambda: lab.lookup(late, name)[1] == [pair.target], "a name for the new pod")
            pair.delete(late)
        assert counts["lost"] == 0, counts
    finally:
        lab.ctl("lab", "start", "hub/hub")


def test_agent_killed_while_pods_are_attached(lab, pair, until):
    """kill -9 of the agent in the middle of ADDs: DEL cleans up, nothing leaks, and the next ADD works."""
    before = node_state(lab, "a-n1")
    manifests = [pair.manifest(f"many-{n}", pair.red) for n in range(4)]
    text = "\n---\n".join(map(json.dumps, manifests))
    argv = [lab.slicectl, "lab", "run", "-f", "-", "--cluster", "a", "--node", "a-n1"]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1, text=True, env=lab.env) as process:
        process.stdin.write(text)
        process.stdin.close()
        until(lambda: node_state(lab, "a-n1") != before, "the first attachment is under way")
        restart(lab, "a-n1/agent")
        process.stdout.read()
        process.stderr.read()

    for pod in lab.pods():
        if pod.startswith(f"a/{pair.namespace}/many-"):
            lab.delete_pod(pod)

    until(lambda: node_state(lab, "a-n1") == before, "nothing of the killed attachments is left")
    again = pair.pod("a", "again", pair.red, node="a-n1")
    assert until(lambda: lab.reaches(again, pair.target), "the next pod works")


def test_a_pod_deleted_while_its_agent_is_down_leaves_nothing(lab, pair, until):
    """DEL with the agent down succeeds, and the agent cleans up when it comes back."""
    before = node_state(lab, "a-n1")
    gone = pair.pod("a", "gone", pair.red, node="a-n1")
    address = lab.addresses(gone)["net1"][0]

    lab.ctl("lab", "stop", "--kill", "a-n1/agent")
    pair.delete(gone)
    lab.ctl("lab", "start", "a-n1/agent")

    until(lambda: node_state(lab, "a-n1") == before, "nothing of the pod is left")
    assert not lab.reaches(pair.there, address)


def node_state(lab, node):
    """What a node holds of attachments: the journal's files, and the routes to pods in its slices' namespaces."""
    links = "for n in $(ls /run/netns | grep ^s-); do ip -n $n -o link | grep -o ' p[0-9a-f]\\{8\\}'; done"
    script = f"ls /var/lib/slicer/attachments; {links}"
    return sorted(lab.exec(node, "sh", "-c", script).stdout.split())
