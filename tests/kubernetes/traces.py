"""Everything that Slicer could leave in a cluster and on its nodes, to be compared before and after."""

from __future__ import annotations

from slicer.lab import machines
from tests.e2e.scenario import Json
from tests.kubernetes.lab.cluster import Lab
from tests.kubernetes.lab.layout import Node
from tests.kubernetes.lab.node import run

KINDS = (
    "crd,mutatingwebhookconfiguration,validatingwebhookconfiguration,validatingadmissionpolicy,"
    "clusterrole,clusterrolebinding,namespace,priorityclass,apiservice"
)
NAMESPACED = (
    "net-attach-def,role,rolebinding,networkpolicy,poddisruptionbudget,deployment,daemonset,service,serviceaccount"
)
NODE = """
ls /etc/cni/net.d /opt/cni/bin /etc/systemd/system 2>/dev/null
find /opt/slicer /run/slicer /var/lib/slicer /run/wireguard 2>/dev/null
ip -br link | grep -v '^veth' | cut -d' ' -f1 | cut -d@ -f1
ls /run/netns | grep -v '^cni-'
ip rule
ip route show table all proto 83
nft list tables | grep slicer
pgrep -al 'slicer|wireguard'
true
"""
"""Shell on a node: files, links, namespaces, rules and processes, but for those of pods."""


def traces(lab: Lab) -> Json:
    """What is there, by cluster and node."""
    found: Json = {}
    for cluster in lab.layout.clusters:
        found[cluster.name] = _of_cluster(lab, cluster.name)
        found.update({each.name: _of_node(each) for each in cluster.nodes})
    return found


def _of_cluster(lab: Lab, cluster: str) -> Json:
    corefile = lab.get(cluster, "-n", "kube-system", "configmap", "coredns")["data"]
    nodes = lab.get(cluster, "nodes")["items"]
    return {
        "objects": sorted(lab.kubectl(cluster, "get", KINDS, "-o", "name").split()),
        "namespaced": sorted(lab.kubectl(cluster, "get", NAMESPACED, "-A", "--no-headers", "-o", _NAMES).splitlines()),
        "cluster DNS": corefile,
        "labels and annotations": [_marks(node["metadata"]) for node in nodes],
    }


_NAMES = "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name"


def _marks(metadata: Json) -> list[str]:
    return sorted(key for kind in ("labels", "annotations") for key in metadata.get(kind, {}) if "slicer" in key)


def _of_node(node: Node) -> list[str]:
    return run(machines.require(node.directory), ("sh", "-c", NODE)).splitlines()
