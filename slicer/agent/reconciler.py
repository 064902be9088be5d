"""The data-plane loop: view and local state in, kernel out. Woken by changes, by link events, and now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from slicer.agent import log
from slicer.agent.changes import Changes, Deadline
from slicer.agent.tunnels import Tunnels
from slicer.kernel.dataplane import DataPlane, Outcome
from slicer.model.attachments import Attachment, AttachmentState, TunnelHealth
from slicer.model.documents import Documents
from slicer.model.errors import SlicerError, UnavailableError
from slicer.plan.dataplane import LocalState, LocalTunnel

SLOW_S = 10.0
"""How often the kernel is compared with the plan when nothing happens."""
QUICK_S = 1.0
"""The same while something is not as it should be, or a peer has never answered."""
SETTLE_S = 0.02
"""A burst of changes is one pass."""


class Reconciler:
    """One pass at a time (`look`); `settled` rings after each."""

    def __init__(
        self,
        *,
        dataplane: DataPlane,
        view: Callable[[], Documents | None],
        local: Callable[[tuple[LocalTunnel, ...]], LocalState],
        changed: Changes,
        settle: Callable[[], None] = lambda: None,
        reconciled: Callable[[Documents, LocalState, Outcome, float], None] = lambda *_: None,
    ) -> None:
        self._dataplane, self._view, self._local, self._changed = dataplane, view, local, changed
        self._settle = settle
        self._reconciled = reconciled
        self.keeper = Tunnels(dataplane)
        self._said = log.Repeated()
        self._failures: tuple[str, ...] = ()
        self.settled = Changes()
        # What an earlier agent had: a report that comes before the first look must not take the peers' ends down.
        self.tunnels: tuple[LocalTunnel, ...] = dataplane.ensure_keys(dataplane.known_tunnels())

    def run_forever(self) -> None:
        """Look at each change, and now and then."""
        deadline = Deadline(0.0)
        seen = -1
        while True:
            if self._changed.count != seen or not deadline.left_s:
                seen = self._changed.count
                self._look_safely()
                deadline = Deadline(QUICK_S if self._failures else SLOW_S)
            wait_s = min(deadline.left_s, QUICK_S if self._retry_handshakes() else SLOW_S)
            if self._changed.wait_beyond(seen, wait_s):
                time.sleep(SETTLE_S)
                self._settle()

    def look(self) -> None:
        """Make the kernel what the view asks for, once."""
        view = self._view()
        if view is None:
            return  # never heard of a controller: nothing is known to be wanted or unwanted
        began_at = time.monotonic()
        local = self.local()
        outcome = self._dataplane.reconcile(view, local)
        if outcome.settled:
            self.keeper.settled(view, local, [health for health in (self._dataplane.health,) if health is not None])
        self._reconciled(view, local, outcome, began_at)
        self._report(outcome)

    def local(self) -> LocalState:
        """What only this node knows; keys are made for the tunnels that the view wants."""
        view = self._view()
        if view is not None:
            here = self._local(())
            self.tunnels = self.keeper.wanted(view, here.cluster, here.node)
        return self._local(self.tunnels)

    def shape(self, vni: int, attachment: Attachment) -> None:
        """Give a new attachment its rates before its ADD is answered; UnavailableError if the kernel does not."""
        if attachment.bandwidth is None:
            return
        outcome = self._dataplane.set_pod_rates(vni, attachment, self._local(self.tunnels))
        if outcome.failures:
            raise UnavailableError(f"the rates of {attachment.interface!r} cannot be set: {outcome.failures[0]}")

    def tunnel_health(self, cluster: str, node: str) -> Iterable[TunnelHealth]:
        """What the tunnels say now."""
        view = self._view()
        return () if view is None else self._dataplane.tunnel_health(view, cluster, node)

    def _look_safely(self) -> None:
        try:
            self.look()
            self._said.event("dataplane.failed", "loop", "")
        except (SlicerError, OSError, ValueError) as error:
            self._failures = (str(error),)
            self._said.event("dataplane.failed", "loop", f"{type(error).__name__}: {error}")
        finally:
            self.settled.ring()

    def _report(self, outcome: Outcome) -> None:
        self._failures = outcome.failures
        if outcome.changes:
            log.event("dataplane.changed", changes=list(outcome.changes))
        self._said.event("dataplane.incomplete", "kernel", "; ".join(outcome.failures))

    def _retry_handshakes(self) -> int:
        try:
            return self._dataplane.retry_handshakes()
        except OSError:
            return 0


def with_interface(attachments: Iterable[Attachment]) -> tuple[Attachment, ...]:
    """Those that have, or are just getting, their interface; the data plane leaves out what is not there yet."""
    return tuple(a for a in attachments if a.state is not AttachmentState.DETACHING)
