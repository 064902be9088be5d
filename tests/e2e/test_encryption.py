"""A slice that is encrypted everywhere, in a running lab: two clusters of two nodes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def red(lab, scope, until):
    """An encrypted slice with a pod on each node; all nodes are in the mesh."""
    name = scope.slice("--encryption", "everywhere")
    pods = {node: scope.pod(node[0], f"on-{node}", name, node=node) for node in ("a-n1", "a-n2", "b-n1", "b-n2")}
    until(lambda: conditions(lab, name).get("Encrypted") == "True", "all nodes are in the mesh")
    return name, pods


def conditions(lab, name):
    """Each condition, as `describe` shows it."""
    with lab.api() as api:
        return {one["type"]: str(one["status"]) for one in api.get("slices", name)["status"]["conditions"]}


def mtu(lab, pod):
    """Of its interface in the slice."""
    (link,) = json.loads(lab.exec(pod, "ip", "-j", "link", "show", "net1").stdout)
    return link["mtu"]


def test_it_says_so_and_its_pods_leave_room(lab, red):
    """`describe` and `get -o wide` show it, interfaces are narrower; another encryption is refused by name."""
    name, pods = red
    with lab.api() as api:
        spec = api.get("slices", name)["spec"]

    assert spec["encryption"] == "everywhere"
    assert {mtu(lab, pod) for pod in pods.values()} == {1350}
    assert "everywhere" in lab.ctl("describe", "slice", name)
    assert "everywhere" in lab.ctl("get", "slices", "-o", "wide")
    assert "--encryption" in lab.refused(2, "create-slice", "x", "--prefix", "10.210.0.0/16", "--encryption", "nowhere")


def test_a_firewall_between_two_nodes_is_found(lab, scope, until):
    """Where UDP of the mesh is dropped status names the nodes, and nothing passes, until it is let through."""
    run_on(lab, "a-n2", CUT)
    try:
        name = scope.slice("--encryption", "everywhere", wait=False)
        near, far = (scope.pod("a", f"on-{node}", name, node=node) for node in ("a-n1", "a-n2"))
        until(lambda: "does not answer" in lab.try_("status").stdout, "status tells")
        said = lab.ctl("describe", "slice", name)
        target = lab.addresses(far)["net1"][0]
        passed = lab.reaches(near, target)
    finally:
        run_on(lab, "a-n2", ["nft", "delete", "table", "inet", "cut"])

    assert "MeshSilent" in said
    assert not passed
    until(lambda: lab.reaches(near, target), "packets pass again")
    until(lambda: conditions(lab, name)["Encrypted"] == "True", "and the slice says so")


RULE = "ip saddr 198.18.1.11 udp dport != 4790 drop;"
CUT = ["nft", f"add table inet cut {{ chain input {{ type filter hook input priority -10; {RULE} }}; }}"]
"""On a-n2: from a-n1 nothing but plain VXLAN."""


def run_on(lab, node, argv):
    """A command in a node's own namespaces."""
    command = ["nsenter", "-t", str(lab.pid(node)), "-n", *argv]
    subprocess.run(command, check=True, capture_output=True)


def test_the_mesh_goes_with_its_last_slice(lab, scope, until, red):
    """While it is there every node has the mesh's namespace and key; afterwards none has."""
    name, pods = red
    nodes = ("a-n1", "a-n2", "b-n1", "b-n2")
    assert all(remains(lab, node) == {"m-nodes", "256-0.key"} for node in nodes)

    for pod in list(pods.values()):
        scope.delete(pod)
    lab.ctl("delete-slice", name, "--force", "--yes")
    scope.slices.remove(name)
    until(lambda: not any(remains(lab, node) for node in nodes), "no node has anything of the mesh")


def remains(lab, node):
    """What a node has of the mesh: its namespace, its key."""
    root = Path(f"/proc/{lab.pid(node)}/root")
    places = (root / "run/netns/m-nodes", root / "var/lib/slicer/keys/256-0.key")
    return {place.name for place in places if place.exists()}
