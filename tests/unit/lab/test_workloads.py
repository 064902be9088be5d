"""Pods from manifests (slicer.lab.workloads)."""

from __future__ import annotations

import json

import pytest

from slicer.lab import layout as layouts
from slicer.lab import workloads
from slicer.lab.layout import Layout
from slicer.model.errors import InvalidError, NotFoundError

POD = """
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: c, command: [sleep, infinity]}]}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab's files with two running pods, and no lab."""
    monkeypatch.setattr(layouts, "ROOT", tmp_path)
    lab = Layout(name="lab", clusters=("a", "b"), nodes=2)
    for node in ("a-n1", "b-n2"):
        pods = lab.directory_of(lab.machine(node)) / "pods"
        pods.mkdir(parents=True)
        (pods / "default_web.json").write_text(json.dumps({"namespace": "default", "name": "web"}))
    return lab


def test_manifests_may_hold_pods_deployments_and_networks():
    """parse_manifests() gives the pods of all files in order, and the NetworkAttachmentDefinitions apart."""
    deployment = """
---
kind: Deployment
metadata: {name: api, namespace: shop}
spec:
  replicas: 2
  template: {metadata: {labels: {app: api}}, spec: {containers: [{name: c}]}}
---
kind: NetworkAttachmentDefinition
metadata: {name: mac}
"""

    pods, networks = workloads.parse_manifests([("one", POD), ("two", deployment)])

    assert [pod["metadata"]["name"] for pod in pods] == ["web", "api-debee", "api-e7adb"]
    assert [pod["metadata"]["namespace"] for pod in pods] == ["shop"] * 3
    assert pods[1]["metadata"]["labels"] == {"app": "api"}
    assert [network["metadata"]["name"] for network in networks] == ["mac"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: [", "f.yaml: not YAML"),
        ("- 1", "is not a Kubernetes object"),
        ("kind: Service", "kind 'Service' is not one that the lab runs"),
        ("kind: Pod", "a pod without metadata.name"),
        ("{kind: Pod, metadata: {name: Web}}", "pod name 'Web'"),
        ("{kind: Pod, metadata: {name: web}, spec: {}}", "pod 'web' has no containers"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_file(text, message):
    """parse_manifests() names the file and what is wrong."""
    with pytest.raises(InvalidError) as refused:
        workloads.parse_manifests([("f.yaml", text)])

    assert message in refused.value.message
    assert "f.yaml" in refused.value.message


def test_pods_go_to_the_node_with_the_fewest(lab):
    """place() counts what runs and what it has placed itself; an asked-for node wins."""
    pods = [{"metadata": {"name": f"p{n}"}, "spec": {}} for n in range(3)]
    pods.append({"metadata": {"name": "fixed"}, "spec": {"nodeName": "a-n1"}})

    assert [m.name for m in workloads.place(lab, "a", pods)] == ["a-n2", "a-n1", "a-n2", "a-n1"]
    assert [m.name for m in workloads.place(lab, "a", pods, "a-n1")] == ["a-n1"] * 4


def test_a_pod_that_exists_is_refused(lab):
    """place() looks at the whole cluster, not only at the node; the other cluster's pods do not count."""
    pod = {"metadata": {"name": "web"}, "spec": {}}

    with pytest.raises(InvalidError, match="pod default/web exists in cluster a already"):
        workloads.place(lab, "a", [pod], "a-n2")


def test_an_unknown_node_is_refused_with_those_that_there_are(lab):
    """place() lists the cluster's nodes."""
    with pytest.raises(NotFoundError, match="cluster a has no node 'b-n1'; it has a-n1, a-n2"):
        workloads.place(lab, "a", [{"metadata": {"name": "p"}, "spec": {}}], "b-n1")


@pytest.mark.parametrize(("text", "node"), [("a/default/web", "a-n1"), ("b/default/web", "b-n2")])
def test_a_pod_is_found_by_its_full_name(lab, text, node):
    """find() takes cluster/namespace/pod."""
    assert node == workloads.find(lab, text)[0]


@pytest.mark.parametrize("text", ["web", "default/web"])
def test_a_short_name_that_fits_two_pods_is_refused_with_both(lab, text):
    """find() lists the candidates."""
    with pytest.raises(InvalidError, match="could be any of a/default/web, b/default/web"):
        workloads.find(lab, text)


def test_an_unknown_pod_is_refused_with_those_that_there_are(lab):
    """find() lists all pods; the end of a name is not the name."""
    with pytest.raises(NotFoundError, match="there is no pod 'eb'; there are a/default/web, b/default/web"):
        workloads.find(lab, "eb")
