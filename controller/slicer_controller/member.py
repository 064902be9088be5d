"""The member's own work: node blocks, gateway slots, endpoints and demands of its cluster, kept in its store.

`reconcile` is called after every change: observe (the documents) → plan (slicer.plan) → write what differs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from slicer.client.codec import decode, encode
from slicer.model.attachments import AddressDemand, AddressGrant, EndpointSet
from slicer.model.clusters import ClusterBlocks, Drain, Gateway, GatewayState, Node, NodeBlocks, Surroundings
from slicer.model.documents import Document, key_of, of_kind
from slicer.model.names import Prefix
from slicer.model.slices import SliceState
from slicer.plan.allocation import REST_S, Reservation, contains, live, node_bits, plan_node_blocks
from slicer.plan.draining import FORCE_S, LINGER_S, awaited, drained_nodes
from slicer.plan.gateways import Leaving, plan_gateways, surrounded
from slicer.plan.grants import router_clashes
from slicer.plan.views import plan_endpoints
from slicer_controller.access import Peer, is_revoked
from slicer_controller.granting import Granting
from slicer_controller.state import State

Own = TypeVar("Own", Node, NodeBlocks, Gateway, EndpointSet, AddressDemand, AddressGrant)
Surrounded = Callable[[str], Surroundings]
"""What others than its agent know of a node."""
log = logging.getLogger(__name__)


class Member:
    """Allocates for the nodes of one cluster."""

    def __init__(
        self,
        state: State,
        cluster: str,
        clock: Callable[[], float],
        surroundings: Surrounded = lambda _node: Surroundings(),
    ) -> None:
        self._state, self._cluster, self._clock, self._surroundings = state, cluster, clock, surroundings
        self._granting = Granting(state, cluster, clock)
        self._left_at_s: dict[str, float] = {}
        """Departures that nobody is awaited for any more, since when; after a restart the pause begins anew."""
        self.again_s = math.inf
        """A pause ends so many seconds after the last `reconcile`, and perhaps nothing else happens until then."""

    def reconcile(self) -> None:
        """Make node blocks, grants, gateways, endpoints and demands what slices, nodes and pods ask for."""
        slices = [s for s in of_kind(self._state.documents, SliceState) if s.spec.has_cluster(self._cluster)]
        short = {(state.spec.name, version) for state in slices for version in self._allot(state)}
        names = {state.spec.name for state in slices}
        self._release(b for b in self._own(NodeBlocks) if b.slice not in names or self._is_deleted(b.node))
        self._granting.reconcile(slices)
        gateways = self._own(Gateway)
        planned = plan_gateways(self._cluster, slices, self._nodes(), gateways, self._leaving(gateways))
        self._write(gateways, planned)
        self._write(self._own(EndpointSet), plan_endpoints(self._state.documents, self._cluster))
        mine = [demand for demand in self._own(AddressDemand) if not demand.node]
        self._write(mine, [self._demand(name, version) for name, version in sorted(short)])
        self._forget_rested()

    def _leaving(self, gateways: Iterable[Gateway]) -> Leaving:
        """Which gateways may take their next step out of use."""
        now_s = self._clock()
        on_the_way = [gateway for gateway in gateways if gateway.state is not GatewayState.ACTIVE]
        left_s = {gateway.departure: self._patience_s(gateway) for gateway in on_the_way}
        free = {g.departure for g in on_the_way if left_s[g.departure] <= 0 or not awaited(g, self._state.documents)}
        self._left_at_s = {departure: self._left_at_s.get(departure, now_s) for departure in free}
        pauses = [*left_s.values(), *(at_s + LINGER_S - now_s for at_s in self._left_at_s.values())]
        self.again_s = min((pause for pause in pauses if pause > 0), default=math.inf)
        return Leaving(
            drained=drained_nodes(self._state.documents, self._cluster),
            done=frozenset(one for one, at_s in self._left_at_s.items() if now_s - at_s >= LINGER_S),
            now_ms=int(now_s * 1000),
        )

    def _patience_s(self, gateway: Gateway) -> float:
        """How long its present step still waits for others; for ever without force."""
        drain = self._state.documents.get(f"drain/{self._cluster}/{gateway.node}")
        forced = isinstance(drain, Drain) and drain.force
        return gateway.since_ms / 1000 + FORCE_S - self._clock() if forced else math.inf

    def _allot(self, state: SliceState) -> set[int]:
        """Give every node its blocks; the families that the cluster's blocks are too few for."""
        given = self._state.documents.get(f"block/{state.spec.name}/{self._cluster}")
        if not isinstance(given, ClusterBlocks):
            return set()
        short: set[int] = set()
        for node in self._own(Node):
            short.update(self._allot_node(state.spec.name, node.name, given.blocks))
        return short

    def _allot_node(self, slice_name: str, node: str, cluster_blocks: tuple[Prefix, ...]) -> tuple[int, ...]:
        document = self._state.documents.get(f"nodeblock/{slice_name}/{self._cluster}/{node}")
        stored = document.blocks if isinstance(document, NodeBlocks) else ()
        held = stored or self._rested(slice_name, node, cluster_blocks)
        clashes = () if held else self._router_clashes(slice_name, cluster_blocks)
        others = [*self._others(slice_name, node), *clashes]
        blocks, short = plan_node_blocks(cluster_blocks, held, others, grow=self._unmet(slice_name, node, held))
        if blocks != stored:
            self._state.put(NodeBlocks(slice=slice_name, cluster=self._cluster, node=node, blocks=blocks))
            log.info("node blocks allocated", extra={"slice": slice_name, "node": node, "blocks": blocks})
        return short

    def _unmet(self, slice_name: str, node: str, held: tuple[Prefix, ...]) -> list[int]:
        demands = [d for d in self._own(AddressDemand) if (d.slice, d.node) == (slice_name, node)]
        return [d.version for d in demands if sum(b.version == d.version for b in held) <= d.blocks_held]

    def _others(self, slice_name: str, node: str) -> list[Prefix]:
        blocks = [b for b in self._own(NodeBlocks) if b.slice == slice_name and b.node != node]
        resting = [decode(Reservation, entry.value) for entry in self._state.store.list(f"resting/{slice_name}/")]
        return [block for b in blocks for block in b.blocks] + list(live(resting, self._clock(), but=node))

    def _router_clashes(self, slice_name: str, cluster_blocks: tuple[Prefix, ...]) -> Iterable[Prefix]:
        """Blocks whose router address is a pod's; a grant inside a block does no harm, its node leaves it alone."""
        grants = [grant for grant in self._own(AddressGrant) if grant.slice == slice_name]
        return router_clashes(grants, [(block, node_bits(block)) for block in cluster_blocks])

    def _rested(self, slice_name: str, node: str, cluster_blocks: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
        """What the node had of the slice a moment ago and lies in the cluster's blocks: nobody else had it since."""
        entry = self._state.store.get(f"resting/{slice_name}/{node}")
        rest = decode(Reservation, entry.value) if entry else None
        if rest is None or rest.until_s <= self._clock():
            return ()
        return tuple(block for block in rest.blocks if any(contains(whole, block) for whole in cluster_blocks))

    def _is_deleted(self, node: str) -> bool:
        """Whether a user said that it is gone for good; one that has only not been heard of keeps its blocks."""
        if f"node/{self._cluster}/{node}" in self._state.documents:
            return False
        return is_revoked(self._state.store, Peer(kind="node", cluster=self._cluster, name=node))

    def _nodes(self) -> list[Node]:
        """The nodes, with what the platform knows of them."""
        return [surrounded(node, self._surroundings(node.name)) for node in self._own(Node)]

    def _demand(self, slice_name: str, version: int) -> AddressDemand:
        given = self._state.documents.get(f"block/{slice_name}/{self._cluster}")
        held = given.blocks if isinstance(given, ClusterBlocks) else ()
        count = sum(block.version == version for block in held)
        return AddressDemand(slice=slice_name, cluster=self._cluster, version=version, blocks_held=count)

    def _release(self, gone: Iterable[NodeBlocks]) -> None:
        """Take back blocks of slices and nodes that the cluster has no more; they rest before others get them."""
        for blocks in list(gone):
            until = self._clock() + REST_S
            rest = Reservation(slice=blocks.slice, holder=blocks.node, blocks=blocks.blocks, until_s=until)
            self._state.store.put(f"resting/{blocks.slice}/{blocks.node}", encode(rest))
            self._state.delete(key_of(blocks))
            log.info("node blocks released", extra={"slice": blocks.slice, "node": blocks.node})

    def _forget_rested(self) -> None:
        now_s = self._clock()
        for entry in self._state.store.list("resting/"):
            if entry.value["until_s"] <= now_s:  # decoding them all, at each change, was half of the work
                self._state.store.delete(entry.key)

    def _own(self, kind: type[Own]) -> list[Own]:
        """The documents of one kind that speak of this cluster."""
        return [value for value in of_kind(self._state.documents, kind) if value.cluster == self._cluster]

    def _write(self, present: Iterable[Document], wanted: Iterable[Document]) -> None:
        """Write what is wanted and not there, then remove what is there and not wanted."""
        keep = {key_of(value): value for value in wanted}
        for value in keep.values():
            self._state.put(value)
        for value in present:
            if key_of(value) not in keep:
                self._state.delete(key_of(value))
