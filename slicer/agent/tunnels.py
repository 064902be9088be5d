"""Which tunnels this node keeps: those that the view wants, and for a while those that it does not want any more.

What a peer sent just before it changed its way still arrives, and queues here still hold packets: a device outlives
its last use by `LINGER_S`. Then its key is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from slicer.agent import log
from slicer.kernel.dataplane import DataPlane
from slicer.kernel.keys import Tunnel
from slicer.model.clusters import LaneUse, TunnelUse
from slicer.model.documents import Documents
from slicer.plan.dataplane import Health, LocalState, LocalTunnel, wanted_tunnels
from slicer.plan.standing import standing_of

LINGER_S = 5.0
"""Longer than any queue on the way holds a packet."""


class Tunnels:
    """`wanted` before, `settled` after each reconcile; `uses`, `lanes` and `left` are what the node says of itself."""

    def __init__(self, dataplane: DataPlane, clock: Callable[[], float] = time.monotonic) -> None:
        self._dataplane, self._clock = dataplane, clock
        self._wanted_at: dict[Tunnel, float] = dict.fromkeys(dataplane.known_tunnels(), clock())
        """An earlier agent wanted what there are keys of, nobody knows until when."""
        self.uses: tuple[TunnelUse, ...] = ()
        self.lanes: tuple[LaneUse, ...] = ()
        self.left: tuple[str, ...] = ()

    def wanted(self, view: Documents, cluster: str, node: str) -> tuple[LocalTunnel, ...]:
        """The tunnels to have now, with their keys; these are made if missing."""
        now = self._clock()
        self._wanted_at |= dict.fromkeys(wanted_tunnels(view, cluster, node), now)
        self._wanted_at = {tunnel: at for tunnel, at in self._wanted_at.items() if now - at < LINGER_S}
        return self._dataplane.ensure_keys(self._wanted_at)

    def settled(self, view: Documents, local: LocalState, health: Iterable[Health]) -> None:
        """The kernel was read back as planned for `local`, with its health or one of those that came meanwhile."""
        standing = standing_of(view, local, health)
        self.uses, self.lanes, self.left = standing.uses, standing.lanes, standing.left
        gone = self._dataplane.forget_keys(self._wanted_at)
        if gone:
            log.event("tunnels.forgotten", keys=["-".join(map(str, tunnel)) for tunnel in gone])
