"""Which nodes of the cluster this node does not hear in the mesh: what a firewall between two nodes looks like.

Peers are kept alive, so that a session is never old where packets pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from slicer.kernel.observer import SESSION_S
from slicer.model.clusters import MeshSilence, Node
from slicer.model.documents import Documents, of_kind
from slicer.plan.mesh import mesh_end

PATIENCE_S = 10.0
"""So long a new peer may take to answer: its node may have heard of us a little later."""


class MeshWatch:
    """`look` now and then; `documents` is what the node reports. `handshakes`: by public key, Unix time or never."""

    def __init__(
        self, handshakes: Callable[[], Mapping[str, int | None]], clock: Callable[[], float] = time.time
    ) -> None:
        self._handshakes, self._clock = handshakes, clock
        self._since: dict[str, float] = {}
        """When a peer was first seen, by public key."""
        self._silent: tuple[str, ...] = ()

    def look(self, view: Documents) -> None:
        """Ask the device."""
        now, last = self._clock(), self._handshakes()
        self._since = {key: self._since.get(key, now) for key in last}
        mute = {key for key, at in last.items() if self._is_mute(key, at, now)}
        ends = ((node.name, mesh_end(node)) for node in of_kind(view, Node))
        self._silent = tuple(sorted(name for name, end in ends if end is not None and end.public_key in mute))

    def documents(self, cluster: str, node: str) -> tuple[MeshSilence, ...]:
        """What to report."""
        return (MeshSilence(cluster=cluster, node=node, silent=self._silent),) if self._silent else ()

    def _is_mute(self, key: str, at: int | None, now: float) -> bool:
        return now - at > SESSION_S if at is not None else now - self._since[key] > PATIENCE_S
