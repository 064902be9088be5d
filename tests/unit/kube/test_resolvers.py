"""Where the cluster's own DNS is: what the name servers are told of it as its pods come and go."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from slicer.model.clusters import Resolvers
from slicer.plan.views import zone_view
from slicer_controller.kube.annotated import PODS
from slicer_controller.kube.pods import slim_pod
from slicer_controller.kube.resolvers import ClusterDns
from tests.unit.kube.test_pods import dns_pod


@pytest.fixture
def told(world: Any) -> Any:
    """`told(pods)` is what a zone view says of resolvers, with these pods in the cluster."""
    dns = ClusterDns(world.context, world.objects)

    def look(*pods: dict[str, Any]) -> tuple[str, ...]:
        world.objects.replace(PODS, [one for pod in pods if (one := slim_pod(pod))])
        dns.reconcile()
        found = zone_view(world.state.documents, "a")["resolvers/a"]
        assert isinstance(found, Resolvers)

        return tuple(map(str, found.addresses))

    return look


def test_resolvers_are_those_that_run_now(told: Any) -> None:
    """A pod elsewhere is trusted at once; the address of one that ended is anybody's again."""
    first, second = dns_pod("c-1", "10.244.0.5"), dns_pod("c-2", "10.244.1.7", "fd00::7")

    assert told(first) == ("10.244.0.5",)
    assert told(first, second) == ("10.244.0.5", "10.244.1.7", "fd00::7")
    ended = dns_pod("c-1", "10.244.0.5", phase="Failed")
    ended["metadata"]["resourceVersion"] = "6"
    assert told(ended, second) == ("10.244.1.7", "fd00::7")
    assert told(second) == ("10.244.1.7", "fd00::7")
    assert told() == ()


def test_a_pod_that_is_going_still_asks(told: Any) -> None:
    """CoreDNS answers for some seconds after it was told to end."""
    going = dns_pod("c-1", "10.244.0.5")
    going["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"

    assert told(going) == ("10.244.0.5",)


def test_a_pod_without_address_or_with_a_strange_one_is_none(told: Any) -> None:
    """A pod that waits for its address changes nothing; what is no address is left out."""
    assert told(dns_pod("c-1"), dns_pod("c-2", "10.244.1.7", "?")) == ("10.244.1.7",)


def test_others_pods_are_never_resolvers(told: Any) -> None:
    """However they are labelled."""
    assert told(dns_pod("c-1", "10.244.0.5", namespace="shop"), dns_pod("c-2", "10.244.0.6", app="web")) == ()


def test_nothing_is_said_before_pods_were_listed(world: Any) -> None:
    """A controller that has just started keeps what was known."""
    known = Resolvers(cluster="a", addresses=(ip_address("10.244.0.5"),))
    world.state.put(known)
    ClusterDns(world.context, world.objects).reconcile()

    assert world.state.documents["resolvers/a"] == known
