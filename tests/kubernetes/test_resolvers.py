"""Names of slices in real clusters: whom slicer-dns believes when somebody says who asks."""

from __future__ import annotations

import pytest

from tests.e2e.workload import render_pod
from tests.kubernetes.lab.cluster import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
NAME = "dns-version.named.slice.local"
"""Members of the slice are told its text; to others it does not exist."""
KNOWN = '"1.0.0"\n'


@pytest.fixture(scope="module")
def dig(clusters, world):
    """`dig(pod, *words)`: what a pod of cluster a is told of NAME; pod `member` is in the slice, `stranger` is not."""
    world.slicectl("create-slice", "named", "--prefix", "10.92.0.0/16", "--clusters", "a", "--wait")
    world.apply("a", [render_pod("names", "member", "named"), render_pod("names", "stranger", "")])
    for name in ("member", "stranger"):
        clusters.kubectl("a", "-n", "names", "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")

    def ask(pod, *words):
        return clusters.try_kubectl("a", "-n", "names", "exec", pod, "--", "dig", "+short", "TXT", NAME, *words).stdout

    yield ask
    world.cleanup("names")
    world.slicectl("delete-slice", "named", "--force", "--yes")


def test_a_pod_speaks_for_itself_only(clusters, dig):
    """Naming a member as the asker helps nobody: neither by the cluster's DNS nor straight at slicer-dns."""
    until(lambda: dig("member") == KNOWN, "a member is answered by its cluster's DNS")
    member = clusters.get("a", "-n", "names", "pod", "member")["status"]["podIP"]
    service = clusters.get("a", "-n", "slicer-system", "service", "slicer-dns")["spec"]["clusterIP"]
    servers = clusters.get("a", "-n", "slicer-system", "pods", "-l", "app.kubernetes.io/component=dns")["items"]
    pods = [(f"@{pod['status']['podIP']}", "-p", "5353") for pod in servers]

    for where in ((), (f"@{service}",), *pods):
        assert dig("stranger", *where, f"+subnet={member}/32") == ""
        assert dig("stranger", *where) == ""
        assert dig("member", *where) == KNOWN
    assert len(pods) == 2


def test_cluster_dns_may_move(clusters, dig):
    """A DNS pod with another address is believed as the one before was."""
    before = addresses(clusters)
    clusters.kubectl("a", "-n", "kube-system", "delete", "pod", "-l", "k8s-app=kube-dns", "--wait")
    clusters.kubectl("a", "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")

    assert before
    assert not before & addresses(clusters)
    until(lambda: dig("member") == KNOWN, "a member is answered by the new one")
    assert dig("stranger") == ""


def addresses(clusters):
    """Of the cluster's DNS pods."""
    pods = clusters.get("a", "-n", "kube-system", "pods", "-l", "k8s-app=kube-dns")["items"]
    return {pod["status"]["podIP"] for pod in pods}
