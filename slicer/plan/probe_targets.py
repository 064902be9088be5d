"""Who probes whom on one node, and what the lines' states mean for its data plane. Pure.

The agent's prober calls `plan_probes` when the view changes and `judge` when a line does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

from slicer.model.clusters import Gateway
from slicer.model.documents import Documents, of_kind
from slicer.model.names import Address
from slicer.plan.dataplane_topology import (
    Health,
    LocalState,
    SliceHere,
    Topology,
    TunnelName,
    topology_of,
    tunnel_device,
    tunnel_mtu,
    tunnel_ns,
)
from slicer.plan.dataplane_tunnel import own_probe_address, probe_address, tunnel_sets
from slicer.plan.probing import Ends, Line, Pace, choose, digest

GONE_S = 1.0
"""So long all tunnels to a cluster are down and silent before it counts as gone: an error ends what would else have
been tried again, and the only gateway's restarted wireguard-go is back by then."""
NOTHING: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A socket: where this node sends probes from, and answers them."""

    ns: str
    tunnel_set: int
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTarget:
    """Another gateway of this cluster, probed over VXLAN."""

    spot: Spot
    address: Address
    node: str
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelTarget:
    """The far end of one of this gateway's tunnels."""

    spot: Spot
    address: Address
    cluster: str
    index: int
    generation: int = 0
    lane: int = 0

    @property
    def device(self) -> str:
        """Name of the WireGuard device in `spot.ns`."""
        return tunnel_device(self.spot.tunnel_set, *self.way)

    @property
    def way(self) -> tuple[int, int, int]:
        """What tells it from the other tunnels of its set to the same cluster: index, generation, lane."""
        return (self.index, self.generation, self.lane)

    @property
    def name(self) -> TunnelName:
        """As the node's health has it."""
        return (self.spot.tunnel_set, self.cluster, *self.way)


Target = GatewayTarget | TunnelTarget
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """All of one node."""

    spots: tuple[Spot, ...] = ()
    targets: tuple[Target, ...] = ()
    remotes: tuple[tuple[int, str], ...] = ()
    """(tunnel set, remote cluster) of all slices of this node."""
    asked: frozenset[int] = frozenset()
    """Tunnel sets whose gateway this node is and for which other nodes of its cluster probe it."""
    cluster: str = ""
    slots: tuple[tuple[int, int], ...] = ()
    """(tunnel set, slot) of this node, where it is a gateway."""
    tunnel_mtu: int = 0
    """bytes: of the tunnels' devices."""


def plan_probes(view: Documents, local: LocalState) -> ProbePlan:
    """Every node: the other gateways of its cluster, once a tunnel set. A gateway: all tunnels as well."""
    topology = topology_of(view, local)
    inside = [spot for here in topology.slices for spot in _inside(here)]
    slots = {(g.tunnel_set, g.node): g.slot for g in of_kind(view, Gateway) if g.cluster == local.cluster}
    tunnels = sorted(_tunnels(topology, local), key=_order)
    gateways: dict[tuple[int, str], GatewayTarget] = {}
    for here in topology.slices:
        for target in _gateways(here, slots):
            gateways.setdefault((here.tunnel_set, target.node), target)
    return ProbePlan(
        spots=tuple(sorted({*inside, *(target.spot for target in tunnels)}, key=_place)),
        targets=(*(gateways[key] for key in sorted(gateways)), *tunnels),
        remotes=tuple(sorted({(here.tunnel_set, r.cluster) for here in topology.slices for r in here.remotes})),
        asked=frozenset(here.tunnel_set for here in topology.slices if here.slot is not None and _asks(here)),
        cluster=local.cluster,
        slots=tuple(sorted({(here.tunnel_set, here.slot) for here in topology.slices if here.slot is not None})),
        tunnel_mtu=tunnel_mtu(local.underlay_mtu),
    )


def _order(target: TunnelTarget) -> tuple[int, int, str, int, int]:
    return (target.spot.tunnel_set, target.index, target.cluster, target.generation, target.lane)


def _place(spot: Spot) -> tuple[str, int]:
    return (spot.ns, int(spot.address))


def _inside(here: SliceHere) -> Iterator[Spot]:
    for router in here.routers:
        yield Spot(ns=here.ns, tunnel_set=here.tunnel_set, address=router)


def _asks(here: SliceHere) -> bool:
    """Whether another node could probe this one in the slice: they share a family of router addresses."""
    mine = {router.version for router in here.routers}
    return any(router.version in mine for node in here.neighbours for router in node.routers)


def _gateways(here: SliceHere, slots: Mapping[tuple[int, str], int]) -> Iterator[GatewayTarget]:
    sources = {spot.address.version: spot for spot in _inside(here)}
    for node in here.neighbours:
        address = next((router for router in node.routers if router.version in sources), None)
        if node.node in here.gateways and address is not None:
            slot = slots[here.tunnel_set, node.node]
            yield GatewayTarget(spot=sources[address.version], address=address, node=node.node, slot=slot)


def _tunnels(topology: Topology, local: LocalState) -> Iterator[TunnelTarget]:
    for of_set in tunnel_sets(topology, local):
        for end in (end for ends in of_set.ends.values() for end in ends):
            own = own_probe_address(of_set.slices[0], local, end.generation, end.lane)
            yield TunnelTarget(
                spot=Spot(ns=tunnel_ns(of_set.number), tunnel_set=of_set.number, address=own),
                address=probe_address(end.cluster, of_set.number, end.index, end.generation, end.lane),
                cluster=end.cluster,
                index=end.index,
                generation=end.generation,
                lane=end.lane,
            )


def judge(
    plan: ProbePlan,
    lines: Mapping[Target, Line],
    before: Health,
    lost_here: Mapping[int, frozenset[bytes]] | None = None,
    sizes: Mapping[TunnelTarget, int] | None = None,
) -> Health:
    """What the data plane is to avoid now; `before` is what it avoided so far, `lost_here` what `lost` says by set.

    `sizes`: the largest packet of each tunnel, where that is known.
    """
    gateways: set[tuple[int, str, str]] = set()
    tunnels: set[TunnelName] = set()
    judged: set[tuple[int, str, str]] = set()
    known: set[TunnelName] = set()
    cut_off: set[tuple[int, str]] = set()
    gone: set[tuple[int, str]] = set()
    for pair in plan.remotes:
        number, cluster = pair
        near = {t.node: lines[t] for t in plan.targets if isinstance(t, GatewayTarget) and t.spot.tunnel_set == number}
        reaching = [node for node, line in near.items() if line.up and _reaches(line, cluster)]
        avoided = {node for s, c, node in before.avoided_gateways if (s, c) == pair}
        gateways |= {(*pair, node) for node in choose(near, reaching, _up(near), avoided)}
        far = _far(plan, lines, pair)
        passed = {(i, generation, lane) for s, c, i, generation, lane in before.avoided_tunnels if (s, c) == pair}
        tunnels |= {(*pair, *device) for device in choose(far, _through(far), _up(far), passed)}
        judged |= {(*pair, node) for node in near}
        known |= {(*pair, *device) for device in far}
        if far and not _through(far) and reaching:
            cut_off.add(pair)
        if _is_gone(near.values(), digest(cluster), (lost_here or {}).get(number, NOTHING) if far else None):
            gone.add(pair)
    return Health(
        avoided_gateways=frozenset(gateways),
        avoided_tunnels=frozenset(tunnels),
        judged_gateways=frozenset(judged),
        judged_tunnels=frozenset(known),
        cut_off=frozenset(cut_off),
        gone=frozenset(gone),
        path_mtus=frozenset().union(*(_path_mtus(plan, p, tunnels, sizes or {}, before) for p in plan.remotes)),
    )


def _path_mtus(
    plan: ProbePlan,
    pair: tuple[int, str],
    avoided: Collection[TunnelName],
    sizes: Mapping[TunnelTarget, int],
    before: Health,
) -> set[tuple[int, str, int]]:
    """The least of the tunnels in use: a group has one route. What nothing is known of stays as it was."""
    used = [
        target
        for target in plan.targets
        if isinstance(target, TunnelTarget)
        and (target.spot.tunnel_set, target.cluster) == pair
        and target.name not in avoided
    ]
    known = [sizes[target] for target in used if target in sizes]
    if not known:
        return {found for found in before.path_mtus if found[:2] == pair} if used else set()
    return {(*pair, min(known))} if min(known) < plan.tunnel_mtu else set()


def _is_gone(near: Collection[Line], cluster: bytes, said_here: frozenset[bytes] | None) -> bool:
    """Whether all who could know say that they lost the cluster: this gateway, and the others that answer at all."""
    said = [cluster in line.lost for line in near if line.up]
    return all(said) and (bool(said) if said_here is None else cluster in said_here)


def _are_lost(tunnels: Collection[Line], now: float, pace: Pace) -> bool:
    """A tunnel that never passed a probe says nothing: perhaps this kernel has no way to probe it.

    One that loses many probes is down, but while some pass, packets do, too: only silence is a loss.
    """
    probes = max(pace.losses, ceil(GONE_S / pace.interval_s))
    down = all(not line.up and (not line.downs or now - line.downs[-1] >= GONE_S) for line in tunnels)
    silent = down and all(line.is_silent(pace, probes) for line in tunnels)
    return silent and any(line.answered_ever or line.lived for line in tunnels)


def lost(
    plan: ProbePlan,
    lines: Mapping[Target, Line],
    tunnel_set: int,
    now: float,
    *,
    pace: Pace,
    known: frozenset[bytes] | None = None,
) -> frozenset[bytes]:
    """The digests of the clusters that this gateway says are gone.

    With `known`, no others than it has said so far: so it is for a gateway that hears nobody of its own cluster either,
    or gets no processor time. It cannot tell whether the others are silent or itself is deaf; sending on does no harm.
    """
    clusters = [cluster for number, cluster in plan.remotes if number == tunnel_set]
    lost_ones = (c for c in clusters if _are_lost(_far(plan, lines, (tunnel_set, c)).values(), now, pace))
    found = frozenset(digest(cluster) for cluster in lost_ones)
    return found if known is None else found & known


def assumed(target: Target, plan: ProbePlan, health: Health) -> Line:
    """A target that was not probed yet, as `health`, of an earlier prober, has it.

    What that one did not know is not good where it knew others. What is gone stays gone until something answers.
    """
    number = target.spot.tunnel_set
    gone = frozenset(digest(cluster) for of_set, cluster in health.gone if of_set == number)
    if isinstance(target, TunnelTarget) and digest(target.cluster) in gone:
        return Line(up=False, lived=True)
    return Line(up=_assumed_up(target, plan, health), lost=gone)


def _assumed_up(target: Target, plan: ProbePlan, health: Health) -> bool:
    number = target.spot.tunnel_set
    if isinstance(target, TunnelTarget):
        pair = (number, target.cluster)
        known = {key for key in health.judged_tunnels if key[:2] == pair}
        return target.name not in health.avoided_tunnels and (not known or target.name in known)
    keys = [(number, cluster, target.node) for of_set, cluster in plan.remotes if of_set == number]
    judged = {key for key in health.judged_gateways if key[0] == number}
    return not judged or any(key in judged and key not in health.avoided_gateways for key in keys)


def reached(plan: ProbePlan, lines: Mapping[Target, Line], tunnel_set: int) -> frozenset[bytes]:
    """The digests that this gateway announces: clusters that an own tunnel reaches by proof, not by assumption."""
    return frozenset(
        digest(target.cluster)
        for target in plan.targets
        if isinstance(target, TunnelTarget)
        and target.spot.tunnel_set == tunnel_set
        and lines[target].proved
        and lines[target].up
        and lines[target].heard_inside
    )


def ends_of(plan: ProbePlan, target: TunnelTarget) -> Ends:
    """An own tunnel as others are told of it."""
    slot = dict(plan.slots)[target.spot.tunnel_set]
    return Ends(
        near=digest(plan.cluster),
        near_slot=slot,
        far=digest(target.cluster),
        far_slot=target.index,
        generation=target.generation,
        lane=target.lane,
    )


def told_of(plan: ProbePlan, broken: TunnelTarget) -> tuple[Target, ...]:
    """Who can pass on that an own tunnel has ended: this cluster's other gateways, and the far cluster's."""
    return tuple(
        target
        for target in plan.targets
        if target != broken
        and target.spot.tunnel_set == broken.spot.tunnel_set
        and (isinstance(target, GatewayTarget) or target.cluster == broken.cluster)
    )


def concerned(plan: ProbePlan, tunnel_set: int, ends: Ends) -> TunnelTarget | None:
    """The own tunnel that somebody else says has ended at the other side; None if it is not ours."""
    if (ends.far, ends.far_slot) != _self(plan, tunnel_set):
        return None
    return _tunnel(plan, tunnel_set, (ends.near, ends.near_slot), (ends.generation, ends.lane))


def passed_on(plan: ProbePlan, tunnel_set: int, ends: Ends) -> Target | None:
    """Whom to tell of a tunnel between two others: its far end, by an own tunnel or inside this cluster.

    The one told is the last: word of a tunnel goes over one gateway in between, and cannot go round.
    """
    mine, _ = _self(plan, tunnel_set)
    if ends.near == mine:
        return _tunnel(plan, tunnel_set, (ends.far, ends.far_slot), None)
    if ends.far != mine or concerned(plan, tunnel_set, ends):
        return None
    near = (t for t in plan.targets if isinstance(t, GatewayTarget) and t.spot.tunnel_set == tunnel_set)
    return next((target for target in near if target.slot == ends.far_slot), None)


def _self(plan: ProbePlan, tunnel_set: int) -> tuple[bytes, int | None]:
    return digest(plan.cluster), dict(plan.slots).get(tunnel_set)


def _tunnel(
    plan: ProbePlan, tunnel_set: int, far: tuple[bytes, int], which: tuple[int, int] | None
) -> TunnelTarget | None:
    """The own tunnel to this gateway, of this generation and lane, or the oldest, which is proved longest."""
    own = [t for t in plan.targets if isinstance(t, TunnelTarget) and t.spot.tunnel_set == tunnel_set]
    found = [t for t in own if (digest(t.cluster), t.index) == far and which in {None, t.way[1:]}]
    return min(found, key=lambda target: target.way, default=None)


def _far(plan: ProbePlan, lines: Mapping[Target, Line], pair: tuple[int, str]) -> dict[tuple[int, int, int], Line]:
    return {
        target.way: lines[target]
        for target in plan.targets
        if isinstance(target, TunnelTarget) and (target.spot.tunnel_set, target.cluster) == pair
    }


def _reaches(line: Line, cluster: str) -> bool:
    """A gateway that was never heard is taken at its assumption."""
    return not line.answered_ever or digest(cluster) in line.reached


def _up(lines: Mapping[T, Line]) -> list[T]:
    return [key for key, line in lines.items() if line.up]


def _through(lines: Mapping[T, Line]) -> list[T]:
    return [key for key, line in lines.items() if line.up and line.heard_inside]


def by_address(targets: Iterable[Target]) -> dict[tuple[Spot, Address], Target]:
    """The targets by what an answer shows of them."""
    return {(target.spot, target.address): target for target in targets}
