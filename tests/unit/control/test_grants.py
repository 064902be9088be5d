"""Which addresses the member grants to which pods, and when they may be used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slicer.model.attachments import AddressGrant
from slicer.model.documents import key_of
from slicer.model.slices import Membership
from slicer.plan.grants import STATEFUL_LABEL, Claims, plan_grants, router_clashes
from tests.unit.control.granting import (
    CLUSTER_BLOCK,
    FREE,
    NODES,
    attachment,
    grant,
    ip,
    net,
    wish,
    yielded,
)


def planned(**claims: Any) -> dict[str, AddressGrant]:
    """The grants, by pod."""
    whole = Claims(**{"slice": "red", "cluster": "a", "blocks": (CLUSTER_BLOCK,), "nodes": NODES, **claims})
    return {one.pod: one for one in plan_grants(whole)[0]}


def test_pods_with_addresses_of_their_own_node_need_no_grant():
    """The node gave them, and nobody else can."""
    assert planned(attachments=(attachment("web", "n1", "10.22.4.2"),)) == {}


def test_an_address_of_nobodys_block_is_granted_at_once():
    """No node could give it to anybody."""
    assert planned(wishes=(wish("db", FREE),)) == {"db": grant("db", FREE)}


def test_an_address_of_a_nodes_block_waits_for_the_node():
    """Until the node has yielded, the grant is not ready and says for whom it waits."""
    first = planned(wishes=(wish("db", "10.22.4.3"),))["db"]
    assert not first.ready
    assert "block of node 'n1'" in first.message
    second = planned(wishes=(wish("db", "10.22.4.3"),), held=(first,), yields=(yielded("n2", "10.22.4.3"),))["db"]
    assert second == first
    third = planned(wishes=(wish("db", "10.22.4.3"),), held=(first,), yields=(yielded("n1", "10.22.4.3"),))["db"]

    assert third == grant("db", "10.22.4.3")


def test_an_address_in_use_is_not_ready_and_says_by_whom():
    """A wish is never fulfilled at somebody's expense."""
    user = attachment("web", "n1", "10.22.4.3")
    found = planned(wishes=(wish("db", "10.22.4.3"),), attachments=(user,), yields=(yielded("n1", "10.22.4.3"),))

    assert not found["db"].ready
    assert found["db"].message == "address 10.22.4.3 of slice 'red' is in use by shop/web on node 'n1'"


def test_who_has_an_address_keeps_it():
    """A second wish for a granted address gets nothing, in whichever order the names are."""
    held = (grant("zeta", FREE),)
    found = planned(wishes=(wish("alpha", FREE), wish("zeta", FREE)), held=held)

    assert found == {"zeta": grant("zeta", FREE)}


def test_two_wishes_for_one_address_have_one_winner():
    """And it is the same one whatever the order of the wishes."""
    wishes = (wish("one", FREE), wish("two", FREE))

    assert planned(wishes=wishes) == planned(wishes=wishes[::-1]) == {"one": grant("one", FREE)}


@pytest.mark.parametrize("address", ["10.22.8.1", "192.0.2.1", "10.22.4.1", "10.22.4.9"])
def test_what_the_cluster_cannot_grant(address: str):
    """Addresses outside its blocks, and the nodes' own, are nobody's."""
    assert planned(wishes=(wish("db", address),)) == {}


def test_a_membership_is_a_wish():
    """As long as it stands, whether its pod runs or not; one without a pod or addresses wishes nothing."""
    asks = Membership(name="m", slice="red", cluster="a", namespace="shop", pod="db", addresses=(ip(FREE),))
    others = (replace(asks, name="x", cluster="b"), replace(asks, name="y", addresses=()))

    assert planned(memberships=(asks, *others)) == {"db": grant("db", FREE)}


def test_a_stateful_pod_keeps_its_address():
    """It is granted what its node gave it; when it is gone, too; and its next node is where it is routed to."""
    first = planned(attachments=(attachment("db-0", "n1", "10.22.4.2", stateful=True),))
    assert not first["db-0"].ready
    ready = planned(held=tuple(first.values()), yields=(yielded("n1", "10.22.4.2"),))
    assert ready == {"db-0": grant("db-0", "10.22.4.2", sticky=True)}
    moved = planned(held=tuple(ready.values()), attachments=(attachment("db-0", "n2", "10.22.4.2", stateful=True),))

    assert moved == {"db-0": grant("db-0", "10.22.4.2", sticky=True, node="n2")}


def test_a_label_of_another_pod_makes_no_identity():
    """A Deployment's template that was copied from a StatefulSet's pod keeps nothing."""
    copied = attachment("web", "n1", "10.22.4.2", labels=((STATEFUL_LABEL, "db-0"),))

    assert planned(attachments=(copied,)) == {}


def test_a_stateful_pod_that_could_not_wait_starts_over():
    """With another address, because the first one's node is gone: the first is given up, not waited for."""
    held = grant("db-0", "10.22.4.2", sticky=True, ready=False, message="waits")
    found = planned(held=(held,), attachments=(attachment("db-0", "n2", "10.22.4.10", stateful=True),))

    assert found["db-0"].addresses == (ip("10.22.4.10"),)


def test_interfaces_that_come_one_by_one_lose_nothing():
    """While the first of two is there, both addresses stay granted."""
    held = grant("db-0", "10.22.4.2", "10.22.4.3", sticky=True)
    found = planned(held=(held,), attachments=(attachment("db-0", "n1", "10.22.4.2", stateful=True),))

    assert found == {"db-0": held}


def test_the_last_of_two_nodes_has_the_pod():
    """A node that died still says that it has the pod; where it came to later is where it is."""
    old, new = (attachment("db-0", node, "10.22.4.2", stateful=True) for node in ("n3", "n2"))
    held = (grant("db-0", "10.22.4.2", sticky=True),)

    assert planned(held=held, attachments=(old, new))["db-0"].node == "n2"
    assert planned(held=held, attachments=(new, old))["db-0"].node == "n3"


def test_an_attachment_with_a_foreign_address_has_a_grant():
    """A member that lost its store finds in the reports what it had granted."""
    found = planned(attachments=(attachment("db", "n2", FREE),))

    assert found == {"db": grant("db", FREE, node="n2")}


def test_a_grant_rests_and_ends():
    """Nobody asks and nothing is attached: it is vacant, then not to be used any more, then gone."""
    held = grant("db", FREE)
    claims = Claims(slice="red", cluster="a", blocks=(CLUSTER_BLOCK,), nodes=NODES, held=(held,))
    key = key_of(held)
    assert plan_grants(claims) == ([held], {key})
    ((ending,), _) = plan_grants(replace(claims, ending=frozenset({key})))
    assert not ending.ready
    assert plan_grants(replace(claims, expired=frozenset({key}), ending=frozenset({key}))) == ([], set())

    assert plan_grants(replace(claims, wishes=(wish("db", FREE),))) == ([held], set())


def test_a_resting_grant_goes_to_who_asks_unless_it_is_sticky():
    """A Deployment's next pod has another name and the same wish."""
    asks = (wish("db-new", FREE),)

    assert planned(held=(grant("db-old", FREE),), wishes=asks) == {"db-new": grant("db-new", FREE)}
    assert set(planned(held=(grant("db-0", FREE, sticky=True),), wishes=asks)) == {"db-0"}


def test_addresses_of_a_released_block_rest():
    """The node that had the block a moment ago may still have pods there."""
    found = planned(wishes=(wish("db", FREE),), resting=(net("10.22.4.192/26"),))

    assert not found["db"].ready
    assert "rests" in found["db"].message


def test_other_slices_and_clusters_do_not_matter():
    """The same pod names and addresses may exist elsewhere."""
    foreign = (replace(wish("db", FREE), slice="blue"), replace(wish("db", FREE), cluster="b"))

    assert planned(wishes=foreign, held=(replace(grant("db", FREE), slice="blue"),)) == {}


def test_a_block_whose_router_address_is_granted_is_no_nodes_first():
    """Only that address stands in the way; any other granted one may lie in a new node's block."""
    grants = [grant("db", "10.22.4.65", "10.22.4.130")]

    assert list(router_clashes(grants, [(CLUSTER_BLOCK, 6)])) == [net("10.22.4.64/26")]
