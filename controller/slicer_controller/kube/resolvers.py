"""The cluster's own DNS, as Kubernetes says where its pods are: told to the name servers, which have no rights there.

A name server believes these addresses when they say who asks. They are those of pods in kube-system with the labels of
cluster DNS (see pods): whoever can make such a pod administers the cluster.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from slicer.model.clusters import Resolvers
from slicer.model.errors import InvalidError
from slicer.model.names import Address, parse_address
from slicer_controller.context import Context
from slicer_controller.kube.annotated import PODS
from slicer_controller.kube.objects import Objects
from slicer_controller.kube.pods import is_over

log = logging.getLogger(__name__)


class ClusterDns:
    """One for each member."""

    def __init__(self, context: Context, objects: Objects) -> None:
        self._context, self._objects = context, objects

    def reconcile(self) -> None:
        """Say where the cluster's DNS asks from now; nothing before pods were listed once."""
        if PODS not in self._objects.synced:
            return
        wanted = Resolvers(cluster=self._context.cluster, addresses=self._addresses())
        if self._context.state.documents.get(f"resolvers/{self._context.cluster}") != wanted:
            self._context.state.put(wanted)
            log.info("cluster DNS", extra={"addresses": [str(address) for address in wanted.addresses]})

    def _addresses(self) -> tuple[Address, ...]:
        """Of pods whose containers have not ended: one that is going still answers what it was asked."""
        found: set[Address] = set()
        for pod in self._objects.all(PODS):
            for text in () if is_over(pod) else pod.get("resolver", ()):
                with suppress(InvalidError):
                    found.add(parse_address("pod address", text))
        return tuple(sorted(found, key=lambda address: (address.version, address)))
