"""STATUS: lines S1 to S6 of the black-box list (S5: nothing is delegated, so nothing is forwarded)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from slicer.kernel import netns
from slicer.model.attachments import PathHealth
from tests.conformance.node import Node, Pod, configuration

pytestmark = pytest.mark.root


def status(pod: Pod, slice_name: str = "red") -> Any:
    """STATUS as a runtime sends it."""
    return pod.call("STATUS", configuration(slice_name=slice_name), CNI_CONTAINERID="", CNI_NETNS="", CNI_IFNAME="")


def path(*, up: bool, remote: str = "b") -> PathHealth:
    """What the node measured towards a cluster."""
    return PathHealth(slice="red", cluster="a", node="a-n1", remote_cluster=remote, up=up)


def test_S1_ready(pod: Pod) -> None:
    """0 and silence when an ADD would work."""
    assert status(pod).ok().stdout == b""


def test_S2_agent_down(pod: Pod) -> None:
    """50 without the agent."""
    pod.node.stop()

    status(pod).error(50)


def test_S2_slice_missing(pod: Pod) -> None:
    """50 for a slice that the cluster does not have, naming it."""
    assert "'blue'" in status(pod, "blue").error(50)


def test_S2_slice_not_made_yet(pod: Pod, node: Node) -> None:
    """50 while the slice has no namespace on the node."""
    netns.delete(node.slice_netns())

    assert node.slice_netns() in status(pod).error(50)


def test_S2_never_heard_of_a_controller(pod: Pod, node: Node) -> None:
    """50 while there is no view."""
    node.view = {}

    status(pod).error(50)


def test_S3_tunnel_down(pod: Pod, node: Node) -> None:
    """51 when the slice reaches none of its other clusters; naming them."""
    node.paths = [path(up=False), path(up=False, remote="c")]

    assert "b, c" in status(pod).error(51)


def test_S3_one_path_is_enough(pod: Pod, node: Node) -> None:
    """0 while one other cluster is reached."""
    node.paths = [path(up=False), path(up=True, remote="c")]

    status(pod).ok()


def test_S4_exhausted(node: Node) -> None:
    """50 when the pool has no address, naming it."""
    node.add_slice("tiny", ("10.30.0.0/30",), prefixes=(ipaddress.ip_network("10.30.0.0/24"),))
    pod = node.pod()
    status(pod, "tiny").ok()
    pod.add(configuration(slice_name="tiny")).ok()

    assert "10.30.0.0/30" in status(pod, "tiny").error(50)


def test_S6_add_after_failing_status(pod: Pod, node: Node) -> None:
    """A failing STATUS keeps nobody from trying."""
    node.paths = [path(up=False)]
    status(pod).error(51)

    pod.add().ok()
