"""NetworkAttachmentDefinitions on demand: one for each slice in each namespace whose pods ask for it.

Made by the webhook before the pod starts, or by `reconcile` for pods that it did not see; removed a while after the
last pod that asked has gone (Multus needs them for no DEL). Only those with our mark are ever changed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from slicer.client.kube_api import Api
from slicer.client.marks import MANAGED_BY, MANAGER_NAME
from slicer.model.errors import SlicerError, StaleError, UnavailableError
from slicer.plan.pods import NETWORK_PREFIX, network_name, render_network
from slicer_controller.kube.objects import Objects, place_of

log = logging.getLogger(__name__)
GROUP, VERSION, PLURAL = "k8s.cni.cncf.io", "v1", "network-attachment-definitions"
LINGER_S = 60.0
"""Between the webhook's answer and the pod's appearance, and between two pods of one Deployment."""
REFUSED_S = 30.0
"""After a refusal: in a cluster without Multus there is one for each namespace and slice."""
Place = tuple[str, str]
"""(namespace, slice)."""


class Networks:
    """One for each controller."""

    def __init__(self, api: Api, objects: Objects, clock: Callable[[], float]) -> None:
        self._api, self._objects, self._clock = api, objects, clock
        self._lock = threading.Lock()
        """Held while a network is found to be there, and while one is removed: none goes that was just promised."""
        self._unused_since_s: dict[Place, float] = {}
        self._refused: dict[Place, tuple[float, str]] = {}
        """When and why the API server did not take a network; `reconcile` lets it be for a while."""

    def provide(self, namespace: str, slice_: str) -> None:
        """Make the network if it is not there; may be called by any thread. It is needed from now on, for a while."""
        with self._lock:
            self._unused_since_s.pop((namespace, slice_), None)
            if self._objects.get(PLURAL, network_name(slice_), namespace) is not None:
                return
        network = render_network(slice_, namespace)
        network["metadata"]["labels"] = {MANAGED_BY: MANAGER_NAME}
        try:
            made = self._api.create(f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}", network)
        except StaleError:
            return
        self._objects.learn(PLURAL, made)
        log.info("network made", extra={"namespace": namespace, "network": network_name(slice_)})

    def reconcile(self, needed: Collection[Place]) -> None:
        """Make what is missing, and remove what nobody has needed for a while."""
        self._refused = {place: refusal for place, refusal in self._refused.items() if place in needed}
        for place in sorted(needed):
            at_s, _ = self._refused.get(place, (float("-inf"), ""))
            if self._clock() - at_s >= REFUSED_S:
                self._try(place)
        now = self._clock()
        unused = self._ours().keys() - set(needed)
        with self._lock:
            self._unused_since_s = {place: self._unused_since_s.get(place, now) for place in unused}
        for place in sorted(unused):
            with self._lock:
                if now - self._unused_since_s.get(place, now) >= LINGER_S:
                    self._remove(place)

    def _try(self, place: Place) -> None:
        try:
            self.provide(*place)
        except UnavailableError:
            raise
        except SlicerError as error:
            # The namespace is ending or has a quota, or Multus is not installed: the others are served all the same.
            _, before = self._refused.get(place, (0.0, ""))
            if error.message != before:
                log.warning(
                    "network not made", extra={"namespace": place[0], "slice": place[1], "error": error.message}
                )
            self._refused[place] = (self._clock(), error.message)
        else:
            self._refused.pop(place, None)

    def _ours(self) -> dict[Place, str]:
        found = {}
        for network in self._objects.all(PLURAL):
            namespace, name = place_of(network)
            if (network["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER_NAME and name.startswith(
                NETWORK_PREFIX
            ):
                found[namespace, name.removeprefix(NETWORK_PREFIX)] = name
        return found

    def _remove(self, place: Place) -> None:
        namespace, slice_ = place
        name = network_name(slice_)
        self._api.delete(f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}")
        found = self._objects.get(PLURAL, name, namespace)
        if found is not None:
            self._objects.forget(PLURAL, found)
        log.info("network removed", extra={"namespace": namespace, "network": name})
