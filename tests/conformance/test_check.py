"""CHECK: lines C1 to C10 of the black-box list."""

from __future__ import annotations

from typing import Any

import pytest

from slicer.kernel import netns
from tests.conformance.node import Node, Pod, configuration, sh

pytestmark = pytest.mark.root


@pytest.fixture
def result(pod: Pod) -> dict[str, Any]:
    """The Result of an ADD on `pod`."""
    return pod.add().ok().json


def check(pod: Pod, result: dict[str, Any], **changes: Any) -> Any:
    """CHECK with a previous Result."""
    return pod.call("CHECK", configuration(prevResult=result, **changes))


def test_C1_right_after_add(pod: Pod, result: dict[str, Any]) -> None:
    """CHECK right after ADD succeeds in silence."""
    assert check(pod, result).ok().stdout == b""


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_C1_in_all_versions_that_have_it(pod: Pod, version: str) -> None:
    """CHECK takes the Result of each version."""
    result = pod.add(configuration(version)).ok().json

    pod.call("CHECK", configuration(version, prevResult=result)).ok()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        pytest.param("link del net1", "gone", id="C2-interface"),
        pytest.param("link set net1 down", "down", id="C2-down"),
        pytest.param("addr del 10.22.5.2/32 dev net1", "10.22.5.2", id="C3-address"),
        pytest.param("route del 10.22.0.0/16", "10.22.0.0/16", id="C4-route"),
        pytest.param("link set net1 mtu 1300", "1300", id="C5-mtu"),
        pytest.param("link set net1 address 02:00:00:00:00:99", "02:00:00:00:00:99", id="C5-mac"),
    ],
)
def test_C2_to_C5_damage_in_the_pod(pod: Pod, result: dict[str, Any], damage: str, named: str) -> None:
    """An interface, address, route, MTU or MAC that is not as ADD left it is an error that names it."""
    sh(f"ip -n {pod.name} {damage}")

    assert named in check(pod, result).error(105)


def test_C6_rate_limit_removed(pod: Pod, node: Node) -> None:
    """A rate that was asked for and is not there is an error."""
    wish = {"bandwidth": {"ingressRate": 20_000_000, "ingressBurst": 160_000}}
    result = pod.add(configuration(runtimeConfig=wish)).ok().json
    host = result["interfaces"][0]["name"]
    assert "rate" in check(pod, result).error(105)
    sh(f"ip netns exec {node.slice_netns()} tc qdisc add dev {host} root tbf rate 20mbit burst 20000 latency 50ms")

    check(pod, result).ok()


def test_C7_gateway_dead(pod: Pod, node: Node, result: dict[str, Any]) -> None:
    """The pod's gateway is the host end: taken down, or without its route, is an error."""
    host = result["interfaces"][0]["name"]
    sh(f"ip -n {node.slice_netns()} route del 10.22.5.2/32")
    assert "10.22.5.2" in check(pod, result).error(105)
    sh(f"ip -n {node.slice_netns()} link set {host} down")

    assert host in check(pod, result).error(105)


def test_C7_slice_gone(pod: Pod, node: Node, result: dict[str, Any]) -> None:
    """A slice whose namespace is gone is an error that names it."""
    netns.delete(node.slice_netns())

    assert node.slice_netns() in check(pod, result).error(105)


def test_C8_address_released(pod: Pod, node: Node, result: dict[str, Any]) -> None:
    """An attachment that is no longer ours to hold is an error."""
    node.service.attacher.journal.forget((pod.container, "net1"))

    assert "not attached" in check(pod, result).error(105)


def test_C8_other_address(pod: Pod, result: dict[str, Any]) -> None:
    """A prevResult with another address than the attached one is an error that names both."""
    result["ips"][0]["address"] = "10.22.5.9/32"
    message = check(pod, result).error(105)

    assert "10.22.5.9" in message
    assert "10.22.5.2" in message


def test_C9_tolerates_what_others_add(pod: Pod, result: dict[str, Any]) -> None:
    """Routes and addresses of others on our interface are their affair."""
    sh(f"ip -n {pod.name} route add 192.0.2.0/24 dev net1; ip -n {pod.name} addr add 192.0.2.7/32 dev net1")
    result["routes"].append({"dst": "192.0.2.0/24", "gw": "192.0.2.1"})

    check(pod, result).ok()


def test_C10_no_prev_result(pod: Pod, result: dict[str, Any]) -> None:
    """CHECK without prevResult is code 7."""
    assert result
    pod.call("CHECK", configuration()).error(7)


@pytest.mark.parametrize("previous", [{"interfaces": 5}, {"interfaces": [5]}, {"ips": [{"address": "x"}]}])
def test_broken_prev_result(pod: Pod, result: dict[str, Any], previous: dict[str, Any]) -> None:
    """A prevResult that is no Result is refused, not a crash."""
    assert result
    assert check(pod, previous).json["code"] in {7, 105}
