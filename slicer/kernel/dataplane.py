"""The data plane of one node, in the kernel: observe, plan, diff, apply, read back.

The agent owns one DataPlane. `reconcile` may be called at any time and as often as one likes; it never stops half
way, and its outcome says what was changed and what is not as it should be. Calls are serialised; they may come from
any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from slicer.kernel import netns, switch
from slicer.kernel.apply import Applier
from slicer.kernel.commands import Errors, find_leaf
from slicer.kernel.keys import Keys, Tunnel
from slicer.kernel.nft import NftReader
from slicer.kernel.observer import Observed, Observer
from slicer.kernel.wireguard import PeerState, PeerWish, Place
from slicer.kernel.wireguard_choice import choose
from slicer.model.attachments import Attachment, TunnelHealth
from slicer.model.clusters import Gateway, TunnelEndpoint
from slicer.model.documents import Documents, of_kind
from slicer.model.slices import Bandwidth
from slicer.plan.assuming import assumed_health
from slicer.plan.dataplane import Health, LocalState, LocalTunnel, plan_node, problems_of, slice_ns
from slicer.plan.dataplane_commands import Change, render_endpoint
from slicer.plan.dataplane_diff import POD_LINKS, diff
from slicer.plan.dataplane_qos import plan_pod_rates, read_pod_rates, scope_of_pods
from slicer.plan.dataplane_topology import tunnel_device
from slicer.plan.dataplane_values import Item, NodePlan, plan_of
from slicer.plan.mesh import MESH_NS

_ROUNDS = 4
"""An object that had to be made anew takes others along: those come back in the next round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a reconcile did, as commands, and what is not as it should be now, in words."""

    changes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    settled: bool = True
    """The data path was read back as planned; queues and rates may still differ."""


class DataPlane:
    """Everything of ours in this node's kernel. `wireguard`: auto, kernel or wireguard-go."""

    def __init__(self, *, state_dir: Path, run_dir: Path, wireguard: str = "auto", port_base: int = 51820) -> None:
        self._lock = threading.RLock()
        self._keys = Keys(state_dir, port_base)
        self._wireguard = choose(wireguard, self._keys.public_of, run_dir / "wireguard")
        nft = NftReader(run_dir / "nft.json")
        self._observer = Observer(nft, self._wireguard)
        self._applier = Applier(self._observer, nft, self._wireguard, self._keys)
        self._leaf = find_leaf()
        self._health: Health | None = None
        self.probed = False
        """Whether somebody will tell what to `avoid`; until then the kernel's groups stay as they are found."""
        self._rated: dict[tuple[str, str], Attachment] = {}
        """Pods whose rates `set_pod_rates` set, by (slice, host interface), while their interface exists."""

    @property
    def wireguard_name(self) -> str:
        """`kernel`, `wireguard-go`, or empty where there is none: then the node cannot be a gateway."""
        return self._wireguard.name if self._wireguard else ""

    def close(self) -> None:
        """Let go of sockets; what is in the kernel stays and works on."""
        with self._lock:
            self._observer.close()

    def ensure_keys(self, wanted: Iterable[Tunnel]) -> tuple[LocalTunnel, ...]:
        """Key and port for each wanted (set, index, generation, lane), sorted; made once, then always the same."""
        with self._lock:
            return self._keys.ensure(wanted)

    def known_tunnels(self) -> tuple[Tunnel, ...]:
        """Those that have a key and a port."""
        with self._lock:
            return self._keys.all()

    @property
    def health(self) -> Health | None:
        """What `avoid` was last told; before that what an earlier agent left in the kernel, once that was looked at."""
        return self._health

    def forget_keys(self, wanted: Iterable[Tunnel]) -> tuple[Tunnel, ...]:
        """Delete all keys but those of `wanted`, once their devices are gone; the tunnels that lost theirs."""
        with self._lock:
            kept = frozenset(wanted)
            spare = [tunnel for tunnel in self._keys.all() if tunnel not in kept]
            present = {device.name for device, _ in self._observer.read_wireguard()} if spare else frozenset()
            return self._keys.keep({*kept, *(tunnel for tunnel in spare if tunnel_device(*tunnel) in present)})

    def reconcile(self, view: Documents, local: LocalState) -> Outcome:
        """Make the kernel what `view` and `local` ask for."""

        def wish(observed: Observed) -> tuple[NodePlan, tuple[str, ...]]:
            if self._health is None and self.probed:
                self._health = assumed_health(view, local, observed.plan)
            known = replace(
                local,
                attachments=self._attachments(local, observed),
                leaf=self._leaf,
                health=self._health or local.health,  # it may have changed since this reconcile began
            )
            present, missing = _with_pods(plan_node(view, known), observed)
            return present, missing

        with self._lock:
            outcome = self._converge(wish, lambda plan: plan)
            return replace(outcome, failures=(*problems_of(view, local), *outcome.failures))

    def avoid(self, view: Documents, before: LocalState, after: LocalState) -> tuple[str, ...]:
        """Change the groups from `before.health` to `after.health` now; what the kernel refused, in words.

        For one thread only. Does not wait for a reconcile that runs; that one, and all later ones, agree.
        """
        self._health = after.health
        return switch.change(plan_node(view, before), plan_node(view, after))

    def remove_everything(self) -> Outcome:
        """Remove all of ours from the kernel (uninstall); keys and ports stay on disk."""
        with self._lock:
            self._rated.clear()
            return self._converge(lambda _: (NodePlan(), ()), lambda plan: plan)

    def set_pod_rates(self, vni: int, attachment: Attachment, local: LocalState) -> Outcome:
        """Give one pod the rates of its attachment at once: at ADD, and when they change while it runs."""
        ns = slice_ns(vni)

        def wish(observed: Observed) -> tuple[NodePlan, tuple[str, ...]]:
            known = [a for a in self._attachments(local, observed) if a.slice == attachment.slice]
            plan = plan_of(plan_pod_rates(ns, known, self._leaf, attachment.mtu))
            return _with_pods(plan, observed)

        with self._lock:
            self._rated[attachment.slice, attachment.host_interface] = attachment
            return self._converge(wish, partial(scope_of_pods, ns))

    def observe_pod_rates(self, vni: int, attachment: Attachment) -> Bandwidth:
        """The rates that the kernel keeps for this pod now; bursts are not read back."""
        with self._lock:
            return read_pod_rates(self._observer.read().plan, slice_ns(vni), attachment)

    def tunnel_health(self, view: Documents, cluster: str, node: str) -> tuple[TunnelHealth, ...]:
        """What this gateway's devices say of each peer, in the order of the devices."""
        ends = _far_ends(view, cluster)
        with self._lock:
            states = self._observer.read_wireguard()
        return tuple(
            _health(cluster, node, ends[peer.public_key], peer)
            for _, state in states
            for peer in state.peers
            if peer.public_key in ends
        )

    def mesh_handshakes(self) -> dict[str, int | None]:
        """When each peer of the mesh was last heard, by public key: Unix time, None for never."""
        if not netns.exists(netns.path_of(MESH_NS)):
            return {}  # asked every second: most nodes have no mesh, and reading devices costs
        with self._lock:
            states = self._observer.read_wireguard()
        peers = (peer for device, state in states if device.ns == MESH_NS for peer in state.peers)
        return {peer.public_key: peer.handshake_at_s for peer in peers}

    def retry_handshakes(self) -> int:
        """Start afresh with each peer that never answered, and tell how many there are. To be called every second.

        wireguard-go itself tries again only every five seconds; without a session nothing is lost by starting afresh.
        """
        with self._lock:
            waiting = 0
            for device, state in self._observer.read_wireguard():
                fresh = [peer for peer in state.peers if peer.handshake_at_s is None and peer.endpoint]
                waiting += len(fresh)
                if fresh and self._wireguard:
                    removed = [PeerWish(public_key=peer.public_key, remove=True) for peer in fresh]
                    self._wireguard.set_peers(Place(device.ns, device.name), (*removed, *map(_again, fresh)))
            return waiting

    def _attachments(self, local: LocalState, observed: Observed) -> tuple[Attachment, ...]:
        """The agent's list, which may be a moment old, with the pods whose rates were set meanwhile."""
        present = {name for _, name in observed.pod_links}
        self._rated = {key: pod for key, pod in self._rated.items() if key[1] in present}
        known = {(a.slice, a.host_interface): a for a in local.attachments}
        return tuple((known | self._rated).values())

    def _converge(
        self,
        wish: Callable[[Observed], tuple[NodePlan, tuple[str, ...]]],
        scope: Callable[[NodePlan], NodePlan],
    ) -> Outcome:
        """Apply differences until there are none, or nothing gets better. `scope` narrows what is looked at."""
        done: list[Change] = []
        errors: Errors = {}
        for attempt in range(_ROUNDS + 1):
            try:
                observed = self._observer.read()
                desired, missing = wish(observed)
                there = scope(replace(observed.plan, sysctls=self._observer.read_sysctls(desired.sysctls)))
            except OSError as error:  # a namespace that somebody removes while it is read
                words = f"the kernel cannot be read: {error}"
                return Outcome(changes=tuple(map(str, done)), failures=(words,), settled=False)
            changes = diff(desired, there)
            if not changes or attempt == _ROUNDS or changes == tuple(done[-len(changes) :]):
                break
            errors = self._applier.apply(changes)
            done += changes
        failures = tuple(f"{change}: {errors.get(change, 'has no lasting effect')}" for change in changes)
        settled = all(change.tool == "tc" for change in changes)
        return Outcome(changes=tuple(map(str, done)), failures=(*missing, *failures), settled=settled)


def _with_pods(plan: NodePlan, observed: Observed) -> tuple[NodePlan, tuple[str, ...]]:
    """The plan without what belongs to pods' interfaces that do not exist, and those in words."""
    missing: set[str] = set()
    kept: list[Item] = []
    for item in plan.items():
        dev = getattr(item, "dev", "")
        if dev.startswith(POD_LINKS) and (item.ns, dev) not in observed.pod_links:
            missing.add(f"pod interface {dev} is not in {item.ns}")
        else:
            kept.append(item)
    return (plan_of(kept), tuple(sorted(missing))) if missing else (plan, ())


def _far_ends(view: Documents, cluster: str) -> dict[str, tuple[Gateway, TunnelEndpoint]]:
    """Remote gateways, and which of their devices it is, by the public key of each of their devices."""
    remote = [gateway for gateway in of_kind(view, Gateway) if gateway.cluster != cluster]
    return {tunnel.public_key: (gateway, tunnel) for gateway in remote for tunnel in gateway.tunnels}


def _again(peer: PeerState) -> PeerWish:
    return PeerWish(
        public_key=peer.public_key,
        endpoint=peer.endpoint,
        allowed_ips=peer.allowed_ips,
        keepalive_s=peer.keepalive_s,
    )


def _health(cluster: str, node: str, end: tuple[Gateway, TunnelEndpoint], peer: PeerState) -> TunnelHealth:
    far, device = end
    return TunnelHealth(
        cluster=cluster,
        node=node,
        tunnel_set=far.tunnel_set,
        index=far.slot,
        generation=device.generation,
        lane=device.lane,
        remote_cluster=far.cluster,
        remote_node=far.node,
        endpoint=render_endpoint(peer.endpoint) if peer.endpoint else "",
        handshake_at_s=peer.handshake_at_s,
        rx_bytes=peer.rx_bytes,
        tx_bytes=peer.tx_bytes,
    )
