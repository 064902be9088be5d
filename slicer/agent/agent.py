"""The agent: its parts, and who wakes whom.

    view ───────▶ reconciler ──▶ kernel (slices, tunnels)
      │  ╲           │ settled
      │   ╲          ▼
      │    ▶ pods ◀── attacher ◀── CNI server ◀── shim
      ▼        ▲         │ changed
    prober     │         ▼
    pinger ──▶ └─ sandboxes     reports (node, attachments, paths, tunnels, demands, ping results)

One more thread (`health`) probes gateways and tunnels, changes the kernel's nexthop groups at once and then rings the
reconciler, which agrees.

Everything starts from the last view on disk; nobody else is needed to go on. The process may be killed at any moment:
the data plane does not notice, and the next start finds everything as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from slicer.agent import log
from slicer.agent.changes import Calm, Changes
from slicer.agent.health import HealthProber
from slicer.agent.meshwatch import MeshWatch
from slicer.agent.pinger import Pinger
from slicer.agent.pods import Pods, with_waiting
from slicer.agent.prober import Prober
from slicer.agent.reconciler import Reconciler, with_interface
from slicer.agent.sandboxes import SandboxDirectory, SandboxSource
from slicer.agent.service import AttachService
from slicer.agent.settings import Settings, vtep_mac
from slicer.client.follow import Follower
from slicer.client.identity import Identity
from slicer.client.report import NODE, Reporter
from slicer.kernel.dataplane import DataPlane
from slicer.kernel.linkwatch import LinkWatch
from slicer.model.attachments import Attachment, AttachmentState, TunnelHealth
from slicer.model.clusters import Node, TunnelEndpoint
from slicer.model.documents import Document, Documents, key_of
from slicer.plan.attach import plan_demands
from slicer.plan.dataplane import LocalState, LocalTunnel
from slicer.plan.granted import host_routes

LOOP_RETRY_S = 1.0
"""How soon a loop that failed runs again."""
TUNNELS_S = 3.0
"""How often the tunnels' counters are read and told."""


class Agent:
    """Everything of one node; `start`, and `stop` when the process is asked to end."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings, self._cluster, self._node = settings, identity.cluster, settings.node
        self._kernel_bell, self._pods_bell, self._report_bell = Changes(), Changes(), Changes()
        self._calm = Calm()
        self._version = metadata.version("pod-slicer")
        self._vtep_mac = vtep_mac(settings.state)
        self._dataplane = DataPlane(
            state_dir=settings.state,
            run_dir=settings.run,
            wireguard=settings.wireguard,
            port_base=settings.port_base,
        )
        self._follower = Follower(identity, "/v1/views/node", settings.state / "view.json", self._on_view)
        self._reporter = Reporter(identity, NODE)
        self._sandboxes = sandbox_source(settings, self._pods_bell)
        self._health = self._health_prober()
        self._reconciler = Reconciler(
            dataplane=self._dataplane,
            view=self._view_or_none,
            local=self._local,
            changed=self._kernel_bell,
            settle=self._calm.wait,
            reconciled=self._health.reconciled,
        )
        self._prober = Prober(
            cluster=self._cluster, node=self._node, view=lambda: self._follower.view, changed=self._report_bell
        )
        self._tunnels: tuple[TunnelHealth, ...] = ()
        self._mesh = MeshWatch(self._dataplane.mesh_handshakes)
        self._service = self._attach_service()
        self._pinger = Pinger(
            cluster=self._cluster,
            attachments=self._service.attacher.journal.attachments,
            changed=self._report_bell,
        )
        self._pods = self._pod_loop()

    def start(self) -> None:
        """Begin; returns when all threads run."""
        self._follower.start()
        self._reporter.start()
        self._sandboxes.start()
        links = LinkWatch(self._kernel_bell.ring, self._calm.wait)
        loops: dict[str, Callable[[], None]] = {
            "reconciler": self._reconciler.run_forever,
            "pods": self._pods.run_forever,
            "prober": self._prober.run_forever,
            "health": self._health.run_forever,
            "links": links.run_forever,
            "reports": self._report_forever,
            "relay": self._relay_forever,
            "settled": self._settled_forever,
        }
        for name, loop in loops.items():
            threading.Thread(target=_for_ever, args=(name, loop), name=name, daemon=True).start()
        log.event("agent.started", node=self._node, cluster=self._cluster, wireguard=self._dataplane.wireguard_name)

    def stop(self) -> None:
        """End what would be cut short, and tell what is not told yet; the data plane stays as it is."""
        self._service.close()
        self._reporter.stop(last=self._report())
        self._follower.stop()
        log.event("agent.stopped", node=self._node)

    def _attach_service(self) -> AttachService:
        return AttachService(
            state=self._settings.state,
            run=self._settings.run,
            cluster=self._cluster,
            node=self._node,
            view=lambda: self._follower.view,
            sandbox=lambda container_id: self._sandboxes.all().get(container_id),
            paths=lambda: self._prober.paths,
            shape=self._reconciler.shape,
            starved=self._ring_both,
            calm=self._calm,
            underlay_mtu=self._settings.underlay_mtu,
        )

    def _pod_loop(self) -> Pods:
        return Pods(
            service=self._service,
            sandboxes=self._sandboxes,
            view=self._view_or_none,
            cluster=self._cluster,
            node=self._node,
            changed=self._pods_bell,
            settle=self._calm.wait,
        )

    def _health_prober(self) -> HealthProber:
        return HealthProber(
            dataplane=self._dataplane,
            changed=self._ring_both,
            pace=self._settings.pace,
            acting=self._settings.failover,
        )

    def _ring_both(self) -> None:
        """An ADD waits for a namespace or for addresses; or groups were changed, which a reconcile agrees with."""
        self._kernel_bell.ring()
        self._report_bell.ring()

    def _view_or_none(self) -> Documents | None:
        return self._follower.view if self._follower.synced else None

    def _on_view(self, view: Documents) -> None:
        self._kernel_bell.ring()
        self._pods_bell.ring()
        self._service.attacher.hopes.ring()
        self._pinger.look(view)
        self._report_bell.ring()

    def _relay_forever(self) -> None:
        """An attachment that came or went concerns the pod loop, the reports and the waiting pings."""
        changed = self._service.attacher.changed
        seen, rated = 0, self._rated()
        while True:
            if changed.wait_beyond(seen, TUNNELS_S):
                self._calm.wait()
                seen = changed.count
                self._pods_bell.ring()
                self._pinger.look(self._follower.view)
                if rated != (rated := self._rated()):
                    self._kernel_bell.ring()  # a pod with rates went: its classes are to go, too
            self._report_bell.ring()

    def _rated(self) -> set[str]:
        """Host ends of the pods that asked for rates."""
        return {a.host_interface for a in self._attachments() if a.bandwidth}

    def _settled_forever(self) -> None:
        """After a reconcile, what waited for a namespace tries again, and the node's tunnels are told."""
        seen = 0
        while True:
            if self._reconciler.settled.wait_beyond(seen, TUNNELS_S):
                seen = self._reconciler.settled.count
                self._service.attacher.hopes.ring()
            self._tunnels = self._health.told(self._reconciler.tunnel_health(self._cluster, self._node))
            self._mesh.look(self._follower.view)
            self._report_bell.ring()

    def _report_forever(self) -> None:
        while True:
            seen = self._report_bell.count
            self._reporter.publish(self._report())
            self._report_bell.wait_beyond(seen, TUNNELS_S)
            self._calm.wait()

    def _report(self) -> dict[str, Document]:
        return {key_of(document): document for document in self._documents()}

    def _documents(self) -> list[Document]:
        # Wishes first: one that is fulfilled meanwhile stands there beside its attachment, never neither of them.
        wishes = self._service.attacher.asking.wishes()
        attachments = self._service.attacher.journal.attachments()
        return [
            self._node_document(),
            *with_waiting([a for a in attachments if a.state is AttachmentState.ATTACHED], self._pods.waiting),
            *self._prober.paths,
            *self._tunnels,
            *self._health.gone(self._cluster, self._node),
            *self._mesh.documents(self._cluster, self._node),
            *plan_demands(self._service.attacher.situation()),
            *wishes,
            *self._service.attacher.yields(),
            *self._pinger.results(),
        ]

    def _node_document(self) -> Node:
        tunnels = tuple(
            TunnelEndpoint(
                tunnel_set=t.tunnel_set,
                index=t.index,
                generation=t.generation,
                lane=t.lane,
                public_key=t.public_key,
                port=t.port,
            )
            for t in self._reconciler.tunnels
        )
        return Node(
            cluster=self._cluster,
            name=self._node,
            addresses=self._settings.addresses,
            outside_addresses=self._settings.outside_addresses,
            vtep_mac=self._vtep_mac,
            gateway_capable=self._settings.gateway and bool(self._dataplane.wireguard_name),
            gateway_preferred=self._settings.prefer_gateway,
            zone=self._settings.zone,
            wireguard=self._dataplane.wireguard_name,
            tunnels=tunnels,
            uses=self._reconciler.keeper.uses,
            lanes=self._reconciler.keeper.lanes,
            left=self._reconciler.keeper.left,
            version=self._version,
        )

    def _local(self, tunnels: tuple[LocalTunnel, ...]) -> LocalState:
        attachments = self._attachments()
        return LocalState(
            cluster=self._cluster,
            node=self._node,
            addresses=self._settings.addresses,
            vtep_mac=self._vtep_mac,
            tunnels=tunnels,
            attachments=attachments,
            host_routes=host_routes(self._follower.view, self._cluster, self._node, attachments),
            underlay_mtu=self._settings.underlay_mtu,
            uplink_bps=self._settings.uplink_bps,
            health=self._health.health,
        )

    def _attachments(self) -> tuple[Attachment, ...]:
        return with_interface(self._service.attacher.journal.attachments())


def sandbox_source(settings: Settings, changed: Changes) -> SandboxSource:
    """Who tells the running pods: the container runtime where a socket is given, files otherwise."""
    if not settings.cri_sockets:
        return SandboxDirectory(settings.sandboxes, changed)
    from slicer.agent.cri import CriSandboxes  # 10 MiB that the lab's agents do without

    return CriSandboxes(settings.cri_sockets, changed)


def _for_ever(name: str, loop: Callable[[], None]) -> None:
    """Run a loop again when it fails: what nobody foresaw must not end a thread while the agent looks alive."""
    said = log.Repeated()
    while True:
        try:
            loop()
        except Exception as error:
            said.event("loop.failed", name, f"{type(error).__name__}: {error}")
            time.sleep(LOOP_RETRY_S)


def state_files(state: Path) -> list[Path]:
    """What `cleanup --purge` removes besides the attachments: it makes a stranger of this node."""
    names = ("identity", "keys", "view.json", "tunnels.json", "vtep-mac")
    return [state / name for name in names]
