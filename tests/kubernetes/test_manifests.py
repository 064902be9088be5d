"""The manifests, read by those who will read them: kustomize, Helm, and an API server."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from slicer.cli.install.cluster import KubernetesCluster
from slicer.cli.install.manifests import build
from slicer.client.marks import NAMESPACE
from tests.kubernetes.lab.control import ApiServer, need_programs
from tools.kubernetes import PROGRAMS
from tools.run import ROOT

OVERLAYS = sorted(path.name for path in (ROOT / "manifests/overlays").iterdir())
KUBERNETES = ("--kube-version", "1.36.0")
CHARTS = {
    "member": "cluster=b",
    "hub": "cluster=a,hub.enabled=true,advertise=https://192.0.2.1:30443",
    "eks": "cluster=eks,hub.enabled=true,hub.service.type=LoadBalancer,advertise=https://hub.example.org:7443",
}
"""Overlay, and the chart's values that mean the same."""


def rendered(*argv: str) -> list[str]:
    """The objects that a program prints, in an order of their own."""
    need_programs(argv[0])
    done = subprocess.run([str(PROGRAMS / argv[0]), *argv[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    return comparable(yaml.safe_load_all(done.stdout))


def comparable(objects: Any) -> list[str]:
    """The same text for the same objects."""
    return sorted(json.dumps(one, sort_keys=True) for one in objects if one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_slicectl_reads_them_as_kustomize_does(overlay: str) -> None:
    """Our reading of a kustomization gives the objects that `kubectl kustomize` gives."""
    assert comparable(build(ROOT / "manifests/overlays" / overlay)) == rendered(
        "kubectl", "kustomize", f"manifests/overlays/{overlay}"
    )


@pytest.mark.parametrize("overlay", CHARTS)
def test_helm_renders_what_kustomize_renders(overlay: str) -> None:
    """The chart, with its definitions and the same values, renders to the same objects."""
    chart = ("template", "slicer", "manifests/helm/slicer", "--include-crds", *KUBERNETES)

    assert rendered("helm", *chart, "--set", CHARTS[overlay]) == rendered(
        "kubectl", "kustomize", f"manifests/overlays/{overlay}"
    )


def test_the_chart_wants_a_name() -> None:
    """Without the cluster's name it says what is missing."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        rendered("helm", "template", "slicer", "manifests/helm/slicer", *KUBERNETES)

    assert "set cluster" in error.value.stderr


def test_an_api_server_accepts_every_object(apiserver: ApiServer) -> None:
    """Every overlay and the cleanup are applied by server-side apply; what was applied is found, then deleted."""
    cluster = KubernetesCluster(None, apiserver.kubeconfig)
    for overlay in OVERLAYS:
        for wanted in build(ROOT / "manifests/overlays" / overlay):
            cluster.apply(wanted)
    for wanted in build(ROOT / "manifests/cleanup"):
        cluster.apply(wanted)

    assert cluster.get("Deployment", "slicer-dns", NAMESPACE)["spec"]["replicas"] == 2
    assert cluster.get("Deployment", "nobody", NAMESPACE) is None
    assert [one["metadata"]["name"] for one in cluster.list("DaemonSet", NAMESPACE)] == [
        "slicer-agent",
        "slicer-cleanup",
    ]
    assert cluster.delete("DaemonSet", "slicer-cleanup", NAMESPACE) is True
    assert cluster.delete("DaemonSet", "slicer-cleanup", NAMESPACE) is False
