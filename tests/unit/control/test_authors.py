"""Whose document is whose, where its value alone does not say it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from slicer.model.clusters import Resolvers
from slicer.model.errors import DeniedError
from slicer.model.slices import Membership
from slicer_controller.access import Peer, check_report

A = Peer(kind="cluster", cluster="a", name="a")


def declared(name: str) -> Membership:
    return Membership(name=name, slice="red", cluster="a", namespace="shop", declared_in="a")


@pytest.mark.parametrize("name", ["k8s.a.shop.m", "k8s-pod.a.u-1.red", "k8s-ns.a.shop.red"])
def test_a_member_reports_memberships_of_its_own_objects(name: str) -> None:
    """Names begin with the kind of object and the cluster."""
    check_report(A, {f"membership/{name}": declared(name)})


@pytest.mark.parametrize("name", ["web", "k8s.b.shop.m", "k8s-pod.b.u-1.red", "k8s-ns.ab.shop.red"])
def test_a_member_takes_no_name_that_is_a_users_or_another_clusters(name: str) -> None:
    """Otherwise its report would overwrite the membership that is there."""
    with pytest.raises(DeniedError, match="may not report membership"):
        check_report(A, {f"membership/{name}": declared(name)})


def test_nobody_but_the_member_says_where_cluster_dns_is() -> None:
    """No node, no name server, and no other cluster can make itself a trusted resolver."""
    value = Resolvers(cluster="a", addresses=(ip_address("10.244.0.5"),))
    check_report(A, {"resolvers/a": value})

    for peer in (("node", "a", "n1"), ("dns", "a", "d1"), ("cluster", "b", "b")):
        kind, cluster, name = peer
        with pytest.raises(DeniedError, match="may not report resolvers/a"):
            check_report(Peer(kind=kind, cluster=cluster, name=name), {"resolvers/a": value})
