"""The readiness gate of a pod: whom its node must have reached."""

from __future__ import annotations

import ipaddress

import pytest

from slicer.model.attachments import Attachment, AttachmentState, PathHealth
from slicer.model.clusters import Cluster
from slicer.model.documents import key_of
from slicer.model.slices import Slice, SliceState
from slicer.model.topology import ClusterLink, SliceTopology
from slicer_controller.kube.pods import SLICES, connected, living_paths

CHAIN = SliceTopology(links=(ClusterLink(clusters=("a", "b")),))
POD = {"metadata": {"name": "web", "namespace": "shop", "annotations": {SLICES: "red"}}}


def attached(cluster: str) -> Attachment:
    """Pod web of this cluster, on slice red."""
    return Attachment(
        container_id="c1",
        interface="net1",
        slice="red",
        cluster=cluster,
        node="n1",
        namespace="shop",
        pod="web",
        netns="",
        addresses=(),
        mac="02:00:00:00:00:02",
        host_interface="p1",
        mtu=1420,
        state=AttachmentState.ATTACHED,
    )


@pytest.mark.parametrize(
    ("cluster", "topology", "measured", "ready"),
    [
        ("a", None, False, False),
        ("a", CHAIN, False, False),
        ("a", CHAIN, True, True),
        ("c", None, False, False),
        ("c", CHAIN, False, True),
    ],
)
def test_a_pod_waits_for_a_path_where_its_cluster_is_linked(
    cluster: str, topology: SliceTopology | None, measured: bool, ready: bool
) -> None:
    """In a cluster that the slice links with no other there is nothing to wait for."""
    spec = Slice(name="red", prefixes=(ipaddress.ip_network("10.1.0.0/16"),), topology=topology)
    path = PathHealth(slice="red", cluster=cluster, node="n1", remote_cluster="b", up=True)
    values = [SliceState(spec=spec, vni=1, tunnel_set=0), *(Cluster(name=name) for name in "abc")]
    documents = {key_of(value): value for value in [*values, *([path] if measured else [])]}

    found = connected(POD, [attached(cluster)], documents, living_paths(documents))

    assert found.status is ready
