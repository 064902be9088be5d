"""Fixtures of the installer's tests."""

from __future__ import annotations

import pytest

from tests.unit.ship.cluster import FakeCluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A cluster with Multus and one node, and nothing of ours."""
    monkeypatch.setattr("slicer.cli.progress.POLL_S", 0.001)
    cluster = FakeCluster()
    cluster.put("CustomResourceDefinition", "network-attachment-definitions.k8s.cni.cncf.io")
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    status["addresses"] = [{"type": "InternalIP", "address": "192.0.2.11"}]
    cluster.put("Node", "n1", spec={"podCIDRs": ["10.244.0.0/24"]}, status=status)
    cluster.put("Service", "kube-dns", "kube-system", labels={"k8s-app": "kube-dns"}, spec={"clusterIP": "10.96.0.10"})
    return cluster
