"""What a node does with grants: whom it gives an address, what it yields, where it sends packets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slicer.model.attachments import AddressGrant
from slicer.model.errors import ConflictError, UnavailableError
from slicer.plan.dataplane_topology import HostRoute
from slicer.plan.granted import host_routes, plan_yields, read_grants
from tests.unit.control.granting import (
    BLOCKS,
    FREE,
    NODES,
    attachment,
    grant,
    ip,
    situation,
    start,
    yielded,
)


def test_a_granted_address_is_given_on_any_node():
    """Wished or not: the pod gets its own."""
    for node in BLOCKS:
        where = situation(node, grant("db", "10.22.4.3"))
        assert start(where, "db").addresses == start(where, "db", "10.22.4.3").addresses == (ip("10.22.4.3"),)


def test_a_granted_address_is_given_to_nobody_else():
    """Neither by the node whose block has it nor to who wishes it; ready or not."""
    for ready in (True, False):
        where = situation("n1", grant("db", "10.22.4.2", ready=ready))
        assert start(where, "web").addresses == (ip("10.22.4.3"),)
        with pytest.raises(ConflictError, match="belongs to pod shop/db"):
            start(where, "web", "10.22.4.2")


def test_a_wish_waits_until_it_is_granted():
    """Before there is a grant, and while it is not ready, the pod is to try again later."""
    with pytest.raises(UnavailableError, match="not granted yet"):
        start(situation("n2"), "db", "10.22.4.3")
    with pytest.raises(UnavailableError, match="n1 still has it"):
        start(situation("n2", grant("db", "10.22.4.3", ready=False, message="n1 still has it")), "db", "10.22.4.3")


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("10.22.8.7", r"lies in a block of cluster 'b'"),
        ("10.22.77.7", r"in no block of cluster 'a' \(10.22.4.0/24\)"),
        ("10.22.4.9", r"on n2 is the node's own"),
        ("10.22.4.17", r"is the own address of node 'n3'"),
    ],
)
def test_what_no_grant_will_ever_be_made_for(address: str, named: str):
    """It is refused at once, naming whose it is."""
    with pytest.raises(ConflictError, match=f"{address}.*{named}"):
        start(situation("n2"), "db", address)


def test_a_membership_grant_that_is_not_ready_is_waited_for_a_sticky_one_is_not():
    """Somebody insists on the one; the other is better than nothing only if it can be had."""
    waits = situation("n2", grant("db", "10.22.4.3", ready=False, message="not yet"))
    with pytest.raises(UnavailableError, match="not yet"):
        start(waits, "db")
    sticky = situation("n2", grant("db", "10.22.4.3", ready=False, sticky=True, message="not yet"))

    assert start(sticky, "db").addresses == (ip("10.22.4.10"),)


def test_a_pod_whose_last_sandbox_still_has_the_address_waits():
    """It would lose its identity otherwise; its second interface in the slice is another matter."""
    mine = grant("db-0", "10.22.4.2", sticky=True)
    there = attachment("db-0", "n1", "10.22.4.2", container_id="old")
    with pytest.raises(UnavailableError, match="last sandbox"):
        start(situation("n1", mine, attachments=(there,)), "db-0", container="new")
    again = situation("n1", mine, attachments=(replace(there, container_id="same", interface="net9"),))

    assert start(again, "db-0", container="same").addresses == (ip("10.22.4.3"),)


@pytest.mark.parametrize(
    ("one", "user", "resting", "given"),
    [
        (grant("db", "10.22.4.2", ready=False), None, False, True),
        (grant("db", "10.22.4.2", ready=False), "db", False, True),
        (grant("db", "10.22.4.2", ready=False), "web", False, False),
        (grant("db", "10.22.4.2", ready=False), None, True, False),
        (grant("db", "10.22.4.2"), None, True, True),
        (grant("db", "10.22.4.2", ready=False, sticky=True), None, True, True),
        (grant("db", "10.22.4.12", ready=False), None, False, False),
    ],
)
def test_what_a_node_yields(one: AddressGrant, user: str | None, resting: bool, given: bool):
    """Granted addresses of its own blocks that nobody else has, and that do not rest from somebody else."""
    attachments = (attachment(user, "n1", "10.22.4.2"),) if user else ()
    found = plan_yields(
        read_grants({"x": one}, "a"), NODES[:1], attachments, {"red": [ip("10.22.4.2")] if resting else []}
    )

    assert found == ([yielded("n1", "10.22.4.2")] if given else [])


def test_packets_go_where_the_pod_is():
    """Every other node has a route; the pod's own node has the pod, and a pod in its home block needs none."""
    documents = (grant("db", "10.22.4.2", node="n2"), grant("web", "10.22.4.12", node="n2"), grant("gone", FREE))
    view = situation("n1", *documents).view
    route = HostRoute(slice="red", address=ip("10.22.4.2"), node="n2")

    assert host_routes(view, "a", "n1", ()) == host_routes(view, "a", "n3", ()) == (route,)
    assert host_routes(view, "a", "n2", ()) == ()
    assert host_routes(view, "b", "n1", ()) == ()
    assert host_routes(view, "a", "n1", (attachment("db", "n1", "10.22.4.2"),)) == ()
