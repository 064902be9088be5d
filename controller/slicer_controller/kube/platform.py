"""Everything of this package put together: what a controller has in Kubernetes (see slicer_controller.platform)."""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slicer.client.kube_api import Api
from slicer.model.clusters import Surroundings
from slicer.model.errors import UnavailableError
from slicer_controller.access import Peer
from slicer_controller.context import Context
from slicer_controller.kube import networks
from slicer_controller.kube.annotated import NAMESPACES, PODS, Annotated
from slicer_controller.kube.client import load_configuration
from slicer_controller.kube.declared import Declared
from slicer_controller.kube.doors import Doors
from slicer_controller.kube.keepsakes import Keepsakes
from slicer_controller.kube.lease import Lease, Place, Timing
from slicer_controller.kube.naming import DECLARED, GROUP, MANAGER, VERSION
from slicer_controller.kube.networks import Networks
from slicer_controller.kube.nodes import NODES, Nodes, slim_node
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.pods import slim_namespace, slim_pod
from slicer_controller.kube.records import durability
from slicer_controller.kube.resolvers import ClusterDns
from slicer_controller.kube.reviews import Reviewer
from slicer_controller.kube.statuses import Statuses
from slicer_controller.kube.store import KubernetesStore, Rules
from slicer_controller.kube.watching import Watched, Watcher
from slicer_controller.kube.webhook import PATH, Webhook
from slicer_controller.kube.webhook_ca import fill_ca
from slicer_controller.platform import Handler, Part

log = logging.getLogger(__name__)
KEEP_S = 15.0
"""How often the files are compared with what was kept, and the webhook's CA with ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and as what the controller runs."""

    kubeconfig: Path | None
    namespace: str
    service: str
    roles: frozenset[str]
    cluster: str
    directory: Path
    timing: Timing | None = None


class KubernetesPlatform:
    """See `Platform`. `lead` first, then `open_store`, then the controller calls the rest."""

    def __init__(self, setting: Setting, clock: Callable[[], float]) -> None:
        self._setting, self._clock = setting, clock
        self._configuration = load_configuration(setting.kubeconfig)
        self._api = Api(self._configuration, lambda: self._lease.writable)
        self._objects = Objects()
        self._doors = Doors(self._api, self._objects)
        self._keepsakes = Keepsakes(self._api, setting.namespace, setting.directory)
        self._reviewer = Reviewer(self._api, setting.namespace, setting.cluster)
        self._watcher = Watcher(self._configuration, self._api, self._objects, self._watched())
        place = Place(
            namespace=setting.namespace, name=MANAGER, identity=f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        )
        # A connection of its own: what goes wrong with other requests must not keep it from renewing.
        self._lease_api = Api(self._configuration)
        self._lease = Lease(self._lease_api, place, timing=setting.timing)
        self._networks = Networks(self._api, self._objects, clock)
        self._annotated: Annotated | None = None
        self._nodes: Nodes | None = None
        self._dns: ClusterDns | None = None
        self._declared: Declared | None = None
        self._statuses: Statuses | None = None
        self._done_at_s: dict[str, float] = {}
        self._ca = ""

    @property
    def hosts(self) -> frozenset[str]:
        """See `Platform`."""
        service, namespace = self._setting.service, self._setting.namespace
        return frozenset({service, f"{service}.{namespace}", f"{service}.{namespace}.svc"})

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes, at this moment."""
        return self._lease.held

    def lead(self, stopping: threading.Event) -> bool:
        """Wait to be the one controller that writes, and fetch what it needs; False if `stopping` came first."""
        if not self._lease.acquire(stopping):
            return False
        self._keepsakes.restore()
        return True

    def keep_leading(self, lost: Callable[[], None]) -> None:
        """Renew the lease from now on; `lost` is called, in another thread, if another one leads."""
        self._lease.keep(lost)

    def open_store(self) -> KubernetesStore:
        """The store, with everything that users declared known."""
        self._watcher.list_all()
        hub = "hub" in self._setting.roles
        kept = partial(durability, hub=hub, cluster=self._setting.cluster)
        rules = Rules(durability=kept, may_write=lambda: self._lease.writable)
        if hub:
            rules = Rules(
                durability=rules.durability,
                may_write=rules.may_write,
                declare=self._doors.declare,
                retire=self._doors.retire,
                withdraw=self._doors.withdraw,
            )
        return KubernetesStore(self._api, self._setting.namespace, clock=self._clock, rules=rules)

    def keep_files(self) -> None:
        """Keep the state directory's files now."""
        self._keepsakes.keep()

    def start(self, context: Context, wake: Callable[[], None]) -> None:
        """See `Platform`."""
        self.keep_files()
        self._ca = context.authority.pem
        self._declared = Declared(context, self._objects, self._doors)
        self._statuses = Statuses(context, self._api, self._objects, self._declared)
        if "member" in self._setting.roles:
            self._nodes = Nodes(context, self._objects)
            self._dns = ClusterDns(context, self._objects)
            self._annotated = Annotated(context, self._api, self._objects, self._networks)
        self._objects.on_change(wake)
        self._watcher.start()

    def intake(self) -> tuple[Part, ...]:
        """See `Platform`."""
        if not self._lease.writable:
            # No request is even tried: the loop must not stand still for an API server that does not answer.
            return (_wait_for_the_lease,)
        parts: list[Part] = []
        if self._declared is not None:
            parts.append(self._declared.reconcile)
        if self._annotated is not None:
            parts += [self._annotated.reconcile, self._annotated.wish, self._annotated.provide]
        if self._nodes is not None:
            parts.append(self._nodes.reconcile)
        if self._dns is not None:
            parts.append(self._dns.reconcile)
        return tuple(parts)

    def telling(self) -> tuple[Part, ...]:
        """See `Platform`."""
        parts: list[Part] = []
        if self._statuses is not None:
            parts.append(self._statuses.look)
        if self._annotated is not None:
            parts.append(self._annotated.tell)
        if self._lease.writable:
            parts.append(partial(self._now_and_then, "files", self.keep_files))
        if self._lease.writable and self._annotated is not None:
            parts.append(partial(self._now_and_then, "webhook", lambda: fill_ca(self._api, self._ca)))
        return tuple(parts)

    def _now_and_then(self, what: str, do: Part) -> None:
        if self._clock() - self._done_at_s.get(what, float("-inf")) > KEEP_S:
            do()
            self._done_at_s[what] = self._clock()

    def surroundings(self, node: str) -> Surroundings:
        """See `Platform`."""
        return self._nodes.surroundings(node) if self._nodes is not None else Surroundings()

    def routes(self, context: Context) -> dict[str, Handler]:
        """See `Platform`."""
        if "member" not in self._setting.roles:
            return {}
        return {PATH: Webhook(context.state.documents, self._setting.cluster, self._networks.provide)}

    def admit_user(self, token: str, method: str, path: str) -> None:
        """See `Platform`."""
        self._reviewer.authorize(self._reviewer.authenticate(token), method, path)

    def identify(self, token: str) -> Peer:
        """See `Platform`."""
        if "member" not in self._setting.roles:
            raise UnavailableError("this controller is a hub only: agents and DNS servers join their cluster's member")
        kind, name = self._reviewer.identify(token)
        return Peer(kind=kind, cluster=self._setting.cluster, name=name)

    def close(self) -> None:
        """End everything that was started, and let another one lead."""
        self._watcher.stop()
        if self._statuses is not None:
            self._statuses.close()
        if self._annotated is not None:
            self._annotated.close()
        if self._api.seal():
            self._lease.release()
        else:
            self._lease.abandon()
        self._lease_api.close()
        self._api.close()

    def _watched(self) -> list[Watched]:
        ours = [Watched(group=GROUP, version=VERSION, plural=kind.plural) for kind in DECLARED]
        if "member" not in self._setting.roles:
            return ours
        return [
            *ours,
            Watched(group="", version="v1", plural=PODS, keep=slim_pod),
            Watched(group="", version="v1", plural=NAMESPACES, keep=slim_namespace),
            Watched(group="", version="v1", plural=NODES, keep=slim_node),
            Watched(group=networks.GROUP, version=networks.VERSION, plural=networks.PLURAL, optional=True),
        ]


def _wait_for_the_lease() -> None:
    raise UnavailableError("the lease is not held: what users declare waits")
