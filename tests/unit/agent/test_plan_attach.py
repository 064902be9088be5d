"""Who gets which address: the plan of an attachment, without a kernel."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.attachments import Attachment, AttachmentState
from slicer.model.clusters import NodeBlocks
from slicer.model.documents import key_of
from slicer.model.errors import (
    ConflictError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnavailableError,
)
from slicer.model.slices import Slice, SliceState
from slicer.plan.attach import Situation, Wish, metric_of, plan_attachment, plan_demands, usable

RED = Slice(name="red", prefixes=(ipaddress.ip_network("10.22.0.0/16"), ipaddress.ip_network("fd22::/48")))
BLOCKS = (ipaddress.ip_network("10.22.5.0/29"), ipaddress.ip_network("fd22:0:0:5::/125"))
ADDRESS = ipaddress.ip_address


def situation(*attachments: Attachment, blocks: tuple[Any, ...] = BLOCKS, resting: tuple[str, ...] = ()) -> Situation:
    """Node a-n1 with slice red."""
    documents = [
        SliceState(spec=RED, vni=1, tunnel_set=0),
        NodeBlocks(slice="red", cluster="a", node="a-n1", blocks=blocks),
        NodeBlocks(slice="red", cluster="a", node="a-n2", blocks=(ipaddress.ip_network("10.22.6.0/29"),)),
    ]
    return Situation(
        cluster="a",
        node="a-n1",
        view={key_of(document): document for document in documents},
        attachments=attachments,
        resting={"red": {ADDRESS(text) for text in resting}},
    )


def plan(where: Situation, number: int = 0, **wish: Any) -> Attachment:
    """The attachment of container `number`."""
    full = {"container_id": f"c{number}", "interface": "net1", "slice": "red", "netns": f"/n{number}", **wish}
    return plan_attachment(Wish(**full), where, mac=f"02:00:00:00:00:{number:02x}", host_interface=f"p{number:08x}")


def texts(attachment: Attachment) -> list[str]:
    """Its addresses as text."""
    return [str(address) for address in attachment.addresses]


def test_mtu_follows_the_underlay() -> None:
    """The pod's MTU leaves room for the tunnel on the node's own underlay, whatever that carries."""
    jumbo = replace(situation(), underlay_mtu=9000)

    assert (plan(situation()).mtu, plan(jumbo).mtu) == (1420, 8920)


def test_lowest_free_of_each_family() -> None:
    """IPv4 comes first; network, router and broadcast addresses are nobody's."""
    first = plan(situation())

    assert first.state is AttachmentState.PENDING
    assert texts(first) == ["10.22.5.2", "fd22:0:0:5::2"]


def test_resting_addresses_are_passed_over() -> None:
    """An address that rests is not given out."""
    assert texts(plan(situation(resting=("10.22.5.2",)))) == ["10.22.5.3", "fd22:0:0:5::2"]


def test_second_block_is_used_whole() -> None:
    """When the first block is full, the next one serves; its second address is no router's."""
    blocks = (ipaddress.ip_network("10.22.5.0/30"), ipaddress.ip_network("10.22.9.0/30"), BLOCKS[1])
    first = plan(situation(blocks=blocks), 1)

    assert texts(plan(situation(first, blocks=blocks), 2))[0] == "10.22.9.1"


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_no_address_twice(steps: list[bool]) -> None:
    """However pods come and go, no two have the same address, and only exhaustion refuses one."""
    held: list[Attachment] = []
    for number, comes in enumerate(steps):
        if not comes and held:
            held.pop(0)
            continue
        if len(held) < 5:
            held.append(plan(situation(*held), number))
            continue
        with pytest.raises(ExhaustedError, match=r"10\.22\.5\.0/29"):
            plan(situation(*held), number)
    addresses = [address for attachment in held for address in attachment.addresses]

    assert len(addresses) == len(set(addresses))


@given(st.permutations(range(4)))
def test_order_of_attachments_does_not_matter(order: list[int]) -> None:
    """The plan depends on what is attached, not on the order in which it is told."""
    held: list[Attachment] = []
    for number in range(4):
        held.append(plan(situation(*held), number))

    assert plan(situation(*(held[i] for i in order)), 9) == plan(situation(*held), 9)


@pytest.mark.parametrize(
    ("wish", "error", "named"),
    [
        ({"slice": "blue"}, NotFoundError, "'blue'"),
        ({"addresses": (ADDRESS("10.23.0.1"),)}, InvalidError, "10.23.0.1"),
        ({"addresses": (ADDRESS("10.22.6.3"),)}, ConflictError, "10.22.6.3"),
        ({"addresses": (ADDRESS("10.22.5.1"),)}, ConflictError, "10.22.5.1"),
        ({"addresses": (ADDRESS("10.22.5.7"),)}, ConflictError, "10.22.5.7"),
        ({"addresses": (ADDRESS("10.22.5.3"), ADDRESS("10.22.5.4"))}, InvalidError, "10.22.5.4"),
    ],
)
def test_refusals_name_the_thing(wish: dict[str, Any], error: type[SlicerError], named: str) -> None:
    """Unknown slice, address outside, another node's, the router's, the broadcast address, two of a family."""
    with pytest.raises(error, match=named.replace(".", r"\.")):
        plan(situation(), **wish)


def test_node_without_blocks() -> None:
    """A node that has no block yet says "not yet", not "never"."""
    with pytest.raises(UnavailableError, match="a-n1"):
        plan(situation(blocks=()))


def test_demand_comes_before_the_pool_is_empty() -> None:
    """More is asked for when less than a quarter is free, and no longer when another block is there."""
    held: list[Attachment] = []
    for number in range(4):
        held.append(plan(situation(*held), number))
    wanted = {demand.version: demand.blocks_held for demand in plan_demands(situation(*held[:3]))}
    assert wanted == {}
    more = (*BLOCKS, ipaddress.ip_network("10.22.7.0/29"), ipaddress.ip_network("fd22:0:0:7::/125"))

    assert {demand.version for demand in plan_demands(situation(*held))} == {4}
    assert plan_demands(situation(*held, blocks=more)) == []


@pytest.mark.parametrize(
    ("block", "count"), [("10.0.0.0/29", 6), ("10.0.0.0/31", 2), ("10.0.0.0/32", 1), ("fd00::/125", 7)]
)
def test_usable(block: str, count: int) -> None:
    """IPv4's first and last address are left out, IPv6's first; tiny blocks are used whole."""
    assert len(usable(ipaddress.ip_network(block))) == count


def test_second_interface_in_a_slice_has_a_metric_of_its_own() -> None:
    """The first has the plain route; more in the same pod and slice differ, so that routes do not collide."""
    first = plan(situation(), 1)
    second = dataclasses.replace(first, interface="net2", host_interface="p0000abcd")

    assert metric_of(first, [first]) == 0
    assert metric_of(second, [first, second]) == 1 + 0xABCD
