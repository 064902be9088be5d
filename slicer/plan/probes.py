"""Which addresses a node probes, and what the answers mean: path health per slice and remote cluster. Pure.

A path is up when one gateway's router address of the remote cluster answered; that is a packet through VXLAN, trunk and
tunnel and back, not a guess from a handshake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from slicer.model.attachments import PathHealth
from slicer.model.clusters import NodeBlocks
from slicer.model.documents import Documents, of_kind
from slicer.model.names import Address
from slicer.model.slices import SliceState

LOSSES_DOWN = 3
"""Probes lost in a row after which a target counts as silent."""
RTTS_KEPT = 9
"""The published round trip is the median of this many."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Target:
    """One address to probe from one slice namespace."""

    slice: str
    vni: int
    source: Address
    address: Address
    remote_cluster: str
    remote_node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What became of the probes of one target so far."""

    lost: int = LOSSES_DOWN
    """In a row; a target that never answered is silent."""
    rtts_us: tuple[int, ...] = ()
    answered: int = 0

    @property
    def up(self) -> bool:
        """Whether it answers."""
        return self.lost < LOSSES_DOWN

    @property
    def rtt_us(self) -> int | None:
        """Median of the last round trips."""
        return sorted(self.rtts_us)[len(self.rtts_us) // 2] if self.rtts_us else None

    def reply(self, rtt_us: int) -> Heard:
        """After an answer."""
        return replace(self, lost=0, rtts_us=(*self.rtts_us, rtt_us)[-RTTS_KEPT:], answered=self.answered + 1)

    def silence(self) -> Heard:
        """After a probe that nobody answered."""
        return replace(self, lost=self.lost + 1)


def plan_targets(view: Documents, cluster: str, node: str) -> tuple[Target, ...]:
    """The router addresses of linked clusters' gateway nodes (the view has only theirs), one family a node, sorted."""
    found = []
    for state in of_kind(view, SliceState):
        own = view.get(f"nodeblock/{state.spec.name}/{cluster}/{node}")
        if not isinstance(own, NodeBlocks):
            continue
        sources: dict[int, Address] = {address.version: address for address in own.router_addresses()}
        for blocks in of_kind(view, NodeBlocks):
            if blocks.slice == own.slice and state.spec.is_linked(cluster, blocks.cluster):
                found += _target(state, sources, blocks)
    return tuple(sorted(found, key=lambda t: (t.slice, t.remote_cluster, t.remote_node)))


def _target(state: SliceState, sources: Mapping[int, Address], blocks: NodeBlocks) -> list[Target]:
    for address in blocks.router_addresses():
        if address.version in sources:
            return [
                Target(
                    slice=state.spec.name,
                    vni=state.vni,
                    source=sources[address.version],
                    address=address,
                    remote_cluster=blocks.cluster,
                    remote_node=blocks.node,
                )
            ]
    return []


def path_health(cluster: str, node: str, heard: Mapping[Target, Heard]) -> tuple[PathHealth, ...]:
    """One value for each slice and remote cluster: up when a gateway answers, with the quickest one's round trip."""
    pairs = sorted({(target.slice, target.remote_cluster) for target in heard})
    return tuple(_path(cluster, node, pair, heard) for pair in pairs)


def _path(cluster: str, node: str, pair: tuple[str, str], heard: Mapping[Target, Heard]) -> PathHealth:
    answering = [
        (state.rtt_us or 0, target.remote_node)
        for target, state in heard.items()
        if (target.slice, target.remote_cluster) == pair and state.up
    ]
    rtt_us, gateway = min(answering, default=(None, ""))
    return PathHealth(
        slice=pair[0],
        cluster=cluster,
        node=node,
        remote_cluster=pair[1],
        up=bool(answering),
        rtt_us=rtt_us,
        gateway=gateway,
    )


def news(before: Iterable[PathHealth], after: Iterable[PathHealth]) -> bool:
    """Whether a path came, went, or changed between up and down: what is told at once; the rest can wait."""
    return {(p.slice, p.remote_cluster, p.up) for p in before} != {(p.slice, p.remote_cluster, p.up) for p in after}
