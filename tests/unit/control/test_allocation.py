"""Allocation against slow, obvious models: never overlapping, stable, independent of order."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.errors import ExhaustedError, InvalidError
from slicer.model.slices import Encryption, Slice, SliceState, TunnelMode
from slicer.plan.allocation import (
    Reservation,
    cluster_bits,
    first_free,
    live,
    plan_cluster_blocks,
    plan_node_blocks,
    plan_service_blocks,
    plan_tunnel_set,
    plan_vni,
)

net = ipaddress.ip_network


def state(*prefixes: str, clusters: int = 2, **spec: Any) -> SliceState:
    """A slice with its service blocks."""
    parsed = tuple(net(prefix) for prefix in prefixes)
    made = Slice(name=spec.pop("name", "red"), prefixes=parsed, **spec)
    return SliceState(spec=made, vni=1, tunnel_set=0, service_blocks=plan_service_blocks(parsed, clusters))


def disjoint(blocks: Iterable[Any]) -> bool:
    """Whether no two blocks share an address."""
    pairs = combinations(list(blocks), 2)
    return not any(a.version == b.version and a.overlaps(b) for a, b in pairs)


def slow_first_free(pool: Any, bits: int, taken: list[Any]) -> Any:
    """The obvious way: look at every aligned block, in order."""
    for block in pool.subnets(new_prefix=pool.max_prefixlen - bits):
        if not any(block.overlaps(other) for other in taken):
            return block
    return None


POOLS = {4: net("10.0.0.0/24"), 6: net("fd00::/120")}


@st.composite
def pool_and_taken(draw: Any) -> tuple[Any, int, list[Any]]:
    """A pool of 256 addresses, a block size, and blocks of any size that are taken (some outside the pool)."""
    pool = POOLS[draw(st.sampled_from([4, 6]))]
    around = pool.supernet(2)
    taken = []
    for _ in range(draw(st.integers(0, 12))):
        bits = draw(st.integers(0, 8))
        start = draw(st.integers(0, (1 << 10 - bits) - 1)) << bits
        taken.append(type(pool)((int(around.network_address) + start, pool.max_prefixlen - bits)))
    return pool, draw(st.integers(0, 8)), taken


@given(pool_and_taken())
def test_first_free_is_what_a_look_at_every_block_finds(case: Any) -> None:
    """The lowest aligned block that touches nothing taken, of either family."""
    pool, bits, taken = case

    assert first_free(pool, bits, taken) == slow_first_free(pool, bits, taken)


@given(pool_and_taken(), st.randoms())
def test_first_free_does_not_mind_the_order(case: Any, random: Any) -> None:
    """The same taken blocks in any order give the same block."""
    pool, bits, taken = case
    shuffled = random.sample(taken, len(taken))

    assert first_free(pool, bits, shuffled) == first_free(pool, bits, taken)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 5)),
        st.tuples(st.just("grow"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("later"), st.integers(1, 100_000)),
    ),
    max_size=25,
)


@given(st.sampled_from([("10.0.0.0/16",), ("10.0.0.0/24",), ("fd00::/48",), ("10.0.0.0/22", "fd00::/64")]), EVENTS)
def test_clusters_never_share_an_address_and_never_lose_one(prefixes: tuple[str, ...], events: Any) -> None:
    """Whoever joins, grows or leaves: no overlap, no block moves, and who comes back within a day has its own."""
    slice_ = state(*prefixes)
    held: dict[int, Any] = {}
    left: dict[int, Reservation] = {}
    now = 0.0
    for kind, value in events:
        before = dict(held)
        if kind == "later":
            now += value
        elif kind == "leave" and value in held:
            left[value] = Reservation(slice="red", holder=str(value), blocks=held.pop(value), until_s=now + 86_400)
        elif kind in {"join", "grow"}:
            reserved = left.pop(value).blocks if value in left and left[value].until_s > now else ()
            others = [b for other, blocks in held.items() if other != value for b in blocks]
            others += live(left.values(), now, but=str(value))
            grow = (4, 6) if kind == "grow" else ()
            try:
                held[value] = plan_cluster_blocks(slice_, str(value), 6, held.get(value, reserved), others, grow=grow)
            except ExhaustedError:
                if reserved:
                    left[value] = Reservation(slice="red", holder=str(value), blocks=reserved, until_s=now + 86_400)
            else:
                assert set(reserved) <= set(held[value])
        for cluster, blocks in before.items():
            assert cluster not in held or held[cluster][: len(blocks)] == blocks
        everything = [b for blocks in held.values() for b in blocks] + list(slice_.service_blocks)
        everything += live(left.values(), now)
        assert disjoint(everything)
        assert all(any(b.subnet_of(p) for p in slice_.spec.prefixes if p.version == b.version) for b in everything)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40), st.sampled_from(["10.0.0.0/22", "fd00::/118"])
)
def test_nodes_never_share_an_address(events: Any, block: str) -> None:
    """Nodes that come and grow have disjoint parts of the cluster's block, and keep what they have."""
    held: dict[int, Any] = {}
    for node, wants_more in events:
        others = [b for other, blocks in held.items() if other != node for b in blocks]
        grow = (4, 6) if wants_more else ()
        blocks, short = plan_node_blocks((net(block),), held.get(node, ()), others, grow=grow)

        assert blocks[: len(held.get(node, ()))] == held.get(node, ())
        assert bool(short) == (len(blocks) < len(held.get(node, ())) + bool(wants_more or node not in held))
        held[node] = blocks
        assert disjoint(b for blocks in held.values() for b in blocks)
        assert all(b.subnet_of(net(block)) for b in blocks)


def test_a_cluster_that_has_no_room_says_which_family_is_short() -> None:
    """The node keeps what it has, and the member learns which blocks to ask for."""
    full = [net("10.0.0.0/27"), net("10.0.0.32/27")]

    blocks, short = plan_node_blocks((net("10.0.0.0/26"), net("fd00::/118")), (), full)

    assert ([str(block) for block in blocks], short) == (["fd00::/122"], (4,))


@pytest.mark.parametrize(
    ("prefix", "clusters", "bits"),
    [
        ("10.0.0.0/16", 2, 10),
        ("10.0.0.0/24", 2, 6),
        ("10.0.0.0/26", 2, 4),
        ("fd00::/48", 200, 10),
        ("fd00::/122", 3, 4),
    ],
)
def test_blocks_are_as_large_as_the_prefix_allows(prefix: str, clusters: int, bits: int) -> None:
    """A share for each cluster and for the services, at most 1 024 addresses."""
    assert cluster_bits(net(prefix), clusters) == bits


@pytest.mark.parametrize(("prefix", "clusters", "needed"), [("10.0.0.0/27", 2, "/26"), ("fd00::/124", 4, "/121")])
def test_a_prefix_that_is_too_small_is_refused(prefix: str, clusters: int, needed: str) -> None:
    """The message names the prefix, the clusters and the length that would do; that length does."""
    with pytest.raises(InvalidError, match=f"{prefix} is too small for {clusters} clusters.*{needed}"):
        cluster_bits(net(prefix), clusters)

    assert cluster_bits(net(prefix).supernet(new_prefix=int(needed[1:])), clusters)


def test_services_have_a_block_of_their_own() -> None:
    """The service block of each prefix lies at its low end and no cluster gets it."""
    slice_ = state("10.7.0.0/16", "fd07::/48")

    blocks = plan_cluster_blocks(slice_, "a", 2, (), ())

    assert [str(block) for block in slice_.service_blocks] == ["10.7.0.0/22", "fd07::/118"]
    assert [str(block) for block in blocks] == ["10.7.4.0/22", "fd07::400/118"]


def test_a_used_up_prefix_is_named() -> None:
    """Growing to the very end works, and then says which prefix of which slice is used up, for whom."""
    slice_, blocks = state("10.7.0.0/25"), ()

    with pytest.raises(ExhaustedError, match=r"10\.7\.0\.0/25 of slice 'red'.*'a'"):
        while True:
            blocks = plan_cluster_blocks(slice_, "a", 2, blocks, (), grow=(4,))

    assert sum(block.num_addresses for block in (*blocks, *slice_.service_blocks)) == 128


@given(st.sets(st.integers(1, 50)), st.integers(0, 60))
def test_a_vni_is_new_and_not_soon_used_again(used: set[int], last: int) -> None:
    """The next number after the last one given out that nobody has."""
    vni = plan_vni(used, last)

    assert vni not in used
    assert vni > last
    assert all(number in used for number in range(last + 1, vni))


def test_vnis_begin_again_at_the_end() -> None:
    """After the largest 24-bit number comes the lowest free one."""
    assert plan_vni({1, 2}, (1 << 24) - 1) == 3


PREFIXES = ["10.0.0.0/16", "10.0.0.0/24", "10.1.0.0/16", "fd00::/48"]


@given(st.lists(st.tuples(st.sampled_from(PREFIXES), st.booleans(), st.sampled_from(Encryption)), max_size=12))
def test_only_slices_that_can_tell_their_packets_apart_share_a_set(wanted: Any) -> None:
    """In one set no two prefixes overlap, a dedicated slice is alone, all are encrypted alike; and a slice keeps it."""
    slices: list[SliceState] = []
    for number, (prefix, alone, encryption) in enumerate(wanted):
        mode = TunnelMode.DEDICATED if alone else TunnelMode.SHARED
        spec = Slice(name=f"s{number}", prefixes=(net(prefix),), tunnels=mode, encryption=encryption)
        slices.append(SliceState(spec=spec, vni=number + 1, tunnel_set=plan_tunnel_set(spec, slices)))
    for one, other in combinations(slices, 2):
        if one.tunnel_set == other.tunnel_set:
            assert disjoint((*one.spec.prefixes, *other.spec.prefixes))
            assert TunnelMode.DEDICATED not in {one.spec.tunnels, other.spec.tunnels}
            assert one.spec.encryption is other.spec.encryption
    assert all(plan_tunnel_set(one.spec, slices) == one.tunnel_set for one in slices)
