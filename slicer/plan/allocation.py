"""Who gets which part of a slice's prefix, which VNI and which tunnel set.

slice prefix → service block → cluster blocks (hub) → node blocks (member) → pod addresses (agent: slicer.plan.attach).
Pure. Callers: the controller's hub and member roles, which keep every result in the store: nothing is computed from an
index, so nobody's block moves when somebody else joins or leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from slicer.model.clusters import TUNNEL_SET_MAX
from slicer.model.errors import ExhaustedError, InvalidError
from slicer.model.names import Prefix
from slicer.model.slices import Slice, SliceState, TunnelMode

CLUSTER_BITS_MAX = 10
"""A cluster's block has at most 1 024 addresses: it grows by another one, so that a slice can hold many clusters."""
CLUSTER_BITS_MIN = 4
"""16 addresses: four nodes with a router address and one pod each, and nothing smaller makes sense."""
NODE_BITS_MAX = 6
"""A node's block has at most 64 addresses (a /26), and grows by another one."""
IPV6_BITS_MAX = 64
"""Only the low 64 bits of an IPv6 prefix are handed out, as in a subnet (RFC 4291 section 2.5.4)."""
RESERVE_S = 24 * 3600
"""A cluster that left a slice finds its blocks again for a day."""
REST_S = 60
"""A released node block rests, so that nobody's old connections reach its next owner."""
VNI_MAX = (1 << 24) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Blocks that nobody has, and that only `holder` may get until `until_s` (Unix time)."""

    slice: str
    holder: str
    """Name of the cluster; of the node where a cluster's member lets node blocks rest."""
    blocks: tuple[Prefix, ...]
    until_s: float


def cluster_bits(prefix: Prefix, clusters: int) -> int:
    """Size (in bits) of the blocks that `clusters` clusters and the services get of `prefix`.

    InvalidError, naming the length needed, if that would be too small to be of use.
    """
    share = clusters.bit_length()
    bits = min(CLUSTER_BITS_MAX, host_bits(prefix) - share)
    if bits < CLUSTER_BITS_MIN:
        needed = prefix.max_prefixlen - share - CLUSTER_BITS_MIN
        raise InvalidError(
            f"prefix {prefix} is too small for {clusters} clusters and its services: it must be /{needed} or shorter",
            reason="PrefixTooSmall",
        )
    return bits


def node_bits(block: Prefix) -> int:
    """Size (in bits) of the node blocks that a cluster block is cut into."""
    return min(NODE_BITS_MAX, max(2, host_bits(block) - 2))


def host_bits(prefix: Prefix) -> int:
    """Bits of `prefix` that may be handed out."""
    bits = prefix.max_prefixlen - prefix.prefixlen
    return bits if prefix.version == 4 else min(bits, IPV6_BITS_MAX)


def first_free(pool: Prefix, bits: int, taken: Iterable[Prefix]) -> Prefix | None:
    """The lowest aligned block of 2**bits addresses in `pool` that touches none of `taken`; None if there is none."""
    if bits > host_bits(pool):
        return None
    size, start = 1 << bits, int(pool.network_address)
    end, candidate = start + (1 << host_bits(pool)), start
    for low, high in sorted((int(t[0]), int(t[-1])) for t in taken if t.version == pool.version):
        if candidate + size <= low:
            break
        if high >= candidate:
            candidate = -(-(high + 1) // size) * size
    return type(pool)((candidate, pool.max_prefixlen - bits)) if candidate + size <= end else None


def plan_service_blocks(prefixes: tuple[Prefix, ...], clusters: int) -> tuple[Prefix, ...]:
    """The part of each prefix that is kept for addresses of services: as large as a cluster's, at the low end."""
    blocks = [first_free(prefix, cluster_bits(prefix, clusters), ()) for prefix in prefixes]
    return tuple(block for block in blocks if block is not None)


def plan_cluster_blocks(
    state: SliceState,
    cluster: str,
    clusters: int,
    held: tuple[Prefix, ...],
    others: Iterable[Prefix],
    *,
    grow: Collection[int] = (),
) -> tuple[Prefix, ...]:
    """The blocks of `cluster`: all that it holds, one of each family that it has none of, one more of each in `grow`.

    `others`: blocks of other clusters and reservations for them. ExhaustedError names the prefix that is used up.
    """
    blocks = held
    taken = [*state.service_blocks, *others]
    for prefix in state.spec.prefixes:
        if _wants(prefix.version, blocks, grow):
            bits = _bits_now(prefix, clusters)
            block = _largest_free(prefix, bits, [*taken, *blocks])
            if block is None:
                raise ExhaustedError(
                    f"prefix {prefix} of slice {state.spec.name!r} has no free block for cluster {cluster!r}"
                )
            blocks = (*blocks, block)
    return blocks


def plan_node_blocks(
    cluster_blocks: tuple[Prefix, ...],
    held: tuple[Prefix, ...],
    others: Collection[Prefix],
    *,
    grow: Collection[int] = (),
) -> tuple[tuple[Prefix, ...], tuple[int, ...]]:
    """The blocks of a node, and the families for which its cluster must get another block first.

    As for clusters: nothing held is given up, one block of each family to begin with, one more of each in `grow`.
    """
    blocks, short = held, []
    for version in sorted({block.version for block in cluster_blocks}):
        if _wants(version, blocks, grow):
            block = _first_in(cluster_blocks, version, [*others, *blocks])
            blocks = blocks if block is None else (*blocks, block)
            short += [version] if block is None else []
    return blocks, tuple(short)


def live(reservations: Iterable[Reservation], now_s: float, *, but: str = "") -> Iterator[Prefix]:
    """The blocks that are reserved now, for others than `but`."""
    for reservation in reservations:
        if reservation.until_s > now_s and (not but or reservation.holder != but):
            yield from reservation.blocks


def plan_vni(used: Collection[int], last: int) -> int:
    """The next VNI after the last one given out: a deleted slice's number is the last to come again."""
    for step in range(VNI_MAX):
        vni = (last + step) % VNI_MAX + 1
        if vni not in used:
            return vni
    raise ExhaustedError(f"all {VNI_MAX} slice numbers (VNIs) are in use")


def plan_tunnel_set(spec: Slice, slices: Collection[SliceState]) -> int:
    """The set that carries the slice: the one it has if that still fits, else the lowest that does."""
    others = [state for state in slices if state.spec.name != spec.name]
    now = [state.tunnel_set for state in slices if state.spec.name == spec.name]
    candidates: list[int] = [*now, *range(TUNNEL_SET_MAX + 1)]
    for number in candidates:
        if all(_may_share(spec, state.spec) for state in others if state.tunnel_set == number):
            return number
    raise ExhaustedError(f"all {TUNNEL_SET_MAX + 1} tunnel sets are in use; slice {spec.name!r} needs one of its own")


def overlapping(ours: Iterable[Prefix], theirs: Collection[Prefix]) -> tuple[Prefix, Prefix] | None:
    """The first two prefixes that overlap, one of each side."""
    for one in ours:
        for other in theirs:
            if one.version == other.version and one.overlaps(other):
                return one, other
    return None


def contains(whole: Prefix, part: Prefix) -> bool:
    """Whether all of `part` lies in `whole`."""
    same_family = whole.version == part.version
    return same_family and int(whole[0]) <= int(part[0]) and int(part[-1]) <= int(whole[-1])


def _may_share(one: Slice, other: Slice) -> bool:
    """Slices of one set share the probes between its nodes as well: these go the way of all of them, or of none."""
    if one.encryption is not other.encryption:
        return False
    if TunnelMode.DEDICATED in {one.tunnels, other.tunnels}:
        return False
    return overlapping(one.prefixes, other.prefixes) is None


def _wants(version: int, blocks: tuple[Prefix, ...], grow: Collection[int]) -> bool:
    return version in grow or not any(block.version == version for block in blocks)


def _bits_now(prefix: Prefix, clusters: int) -> int:
    """The block size for this many clusters; the smallest one where the prefix is too small for so many."""
    return max(CLUSTER_BITS_MIN, min(CLUSTER_BITS_MAX, host_bits(prefix) - clusters.bit_length()))


def _largest_free(pool: Prefix, bits: int, taken: Collection[Prefix]) -> Prefix | None:
    """The lowest free block of this size, or of the largest smaller size that is free: the last addresses serve too."""
    for smaller in range(bits, CLUSTER_BITS_MIN - 1, -1):
        block = first_free(pool, smaller, taken)
        if block is not None:
            return block
    return None


def _first_in(pools: Iterable[Prefix], version: int, taken: Collection[Prefix]) -> Prefix | None:
    for pool in pools:
        if pool.version == version:
            block = first_free(pool, node_bits(pool), taken)
            if block is not None:
                return block
    return None
