"""Addresses that pods which start here wait for: the node's wishes to its member, until they are granted."""

from __future__ import annotations

import threading
import time

from slicer.model.attachments import AddressWish
from slicer.plan.attach import Wish

FORGET_S = 600.0
"""A pod that has not tried again for so long is not coming any more. The kubelet tries at least every five minutes."""


class Asking:
    """Thread-safe. By pod, not by container: after a refusal the kubelet tries with a new sandbox."""

    def __init__(self, cluster: str, node: str) -> None:
        self._cluster, self._node = cluster, node
        self._lock = threading.Lock()
        self._wishes: dict[tuple[str, str, str], tuple[float, AddressWish]] = {}

    def ask(self, wish: Wish) -> None:
        """The pod cannot start without these addresses."""
        asked = AddressWish(
            slice=wish.slice,
            cluster=self._cluster,
            node=self._node,
            namespace=wish.namespace,
            pod=wish.pod,
            addresses=wish.addresses,
        )
        with self._lock:
            self._wishes[_key(wish)] = (time.monotonic(), asked)

    def forget(self, wish: Wish) -> None:
        """The pod has what it wished; from now on its attachment speaks for it."""
        with self._lock:
            self._wishes.pop(_key(wish), None)

    def wishes(self) -> list[AddressWish]:
        """What is asked for now."""
        with self._lock:
            oldest = time.monotonic() - FORGET_S
            self._wishes = {key: value for key, value in self._wishes.items() if value[0] > oldest}
            return [asked for _, asked in self._wishes.values()]


def _key(wish: Wish) -> tuple[str, str, str]:
    return (wish.slice, wish.namespace, wish.pod)
