"""The clusters themselves: what the other tests take for granted about them."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.kubernetes.lab.cluster import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_an_apiserver_alone_stores_and_forgets_nothing(apiserver):
    """What was written is there after both programs were killed and started again."""
    apiserver.kubectl("create", "configmap", "note", "--from-literal=text=kept")
    apiserver.stop()
    with pytest.raises(subprocess.CalledProcessError):
        apiserver.kubectl("get", "configmap", "note", "--request-timeout=2s")
    apiserver.start()

    assert json.loads(apiserver.kubectl("get", "configmap", "note", "-o", "json"))["data"] == {"text": "kept"}


CLIENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "looker", "annotations": {"k8s.v1.cni.cncf.io/networks": "second"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "slicer.test/tools:1", "command": ["sleep", "infinity"]}],
    },
}
SECOND = {
    "apiVersion": "k8s.cni.cncf.io/v1",
    "kind": "NetworkAttachmentDefinition",
    "metadata": {"name": "second"},
    "spec": {
        "config": json.dumps(
            {
                "cniVersion": "1.0.0",
                "type": "ptp",
                "ipam": {"type": "host-local", "subnet": "192.0.2.0/24", "dataDir": "/var/lib/cni/second"},
            }
        )
    },
}


@pytest.fixture(scope="module")
def lookers(clusters):
    """A pod in each cluster, with a second network by Multus."""
    for name in clusters.options.names:
        for each in (SECOND, CLIENT):
            clusters.kubectl(name, "apply", "-f", "-", stdin=json.dumps(each))
    for name in clusters.options.names:
        clusters.kubectl(name, "wait", "pod/looker", "--for=condition=Ready", "--timeout=120s")
    yield
    for name in clusters.options.names:
        clusters.kubectl(name, "delete", "pod/looker", "net-attach-def/second", "--wait")


def test_multus_gives_a_pod_a_second_network(clusters, lookers):
    """The pod has both interfaces, and network-status names them."""
    pod = clusters.get("a", "pod", "looker")
    status = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])

    assert [(each["name"], each["interface"]) for each in status] == [("primary", "eth0"), ("default/second", "net1")]
    links = clusters.kubectl("a", "exec", "looker", "--", "ip", "-br", "link")
    assert sorted(line.split("@")[0].split()[0] for line in links.splitlines()) == ["eth0", "lo", "net1"]


def test_cluster_dns_answers_and_clusters_are_apart(clusters, lookers):
    """A pod resolves its cluster's names and reaches the other cluster's nodes, but none of its pods."""
    answer = clusters.kubectl("a", "exec", "looker", "--", "dig", "+short", "kubernetes.default.svc.cluster.local")
    assert answer.split() == ["10.96.0.1"]
    clusters.kubectl("a", "exec", "looker", "--", "ping", "-c1", "-W2", "198.18.2.11")

    ranges = {name: clusters.get(name, "pod", "looker")["status"]["podIP"].rsplit(".", 2)[0] for name in ("a", "b")}
    assert ranges == {"a": "10.244", "b": "10.244"}


def test_a_node_loses_its_plug_and_comes_back(clusters, lookers):
    """A node that was off boots with its disk: it is ready again and starts its pods anew."""
    where = clusters.get("b", "pod", "looker")["spec"]["nodeName"]

    clusters.stop_node(where)
    until(lambda: not is_ready(clusters, "b", where), f"{where} is missed")
    clusters.start_node(where)

    until(lambda: is_ready(clusters, "b", where), f"{where} is back")
    clusters.kubectl("b", "wait", "pod/looker", "--for=condition=Ready", "--timeout=120s")
    until(lambda: "net1" in clusters.kubectl("b", "exec", "looker", "--", "ip", "-br", "link"), "its second network")


def is_ready(clusters, cluster, node):
    """Whether the API says that the node is."""
    conditions = clusters.get(cluster, "node", node)["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
