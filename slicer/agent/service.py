"""The attaching half of the agent, ready to be called: journal, attacher, CNI server, tombstones, leak sweep.

Needs no controller and no data plane; it works on whatever view and whatever slice namespaces there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from slicer.agent import log
from slicer.agent.attacher import PATIENCE_S, Attacher, is_gone
from slicer.agent.changes import Calm
from slicer.agent.cni_server import CniServer
from slicer.agent.cni_verbs import Verbs
from slicer.agent.journal import Journal, Key, Record
from slicer.kernel import attach, netns, podview
from slicer.model.attachments import Attachment, AttachmentState, PathHealth
from slicer.model.documents import Documents
from slicer.model.errors import SlicerError
from slicer.model.slices import SliceState
from slicer.plan.dataplane_topology import DEFAULT_UNDERLAY_MTU, slice_ns
from slicer.plan.membership import Sandbox


class AttachService:
    """Owns the node's attachments from the moment it is made."""

    def __init__(
        self,
        *,
        state: Path,
        run: Path,
        cluster: str,
        node: str,
        view: Callable[[], Documents],
        sandbox: Callable[[str], Sandbox | None] = lambda _: None,
        paths: Callable[[], Iterable[PathHealth]] = tuple,
        shape: Callable[[int, Attachment], None] = lambda _vni, _attachment: None,
        starved: Callable[[], None] = lambda: None,
        calm: Calm | None = None,
        patience_s: float = PATIENCE_S,
        underlay_mtu: int = DEFAULT_UNDERLAY_MTU,
    ) -> None:
        self._tombstones = state / "tombstones"
        self._tombstones.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._view = view
        self.attacher = Attacher(
            cluster=cluster,
            node=node,
            journal=Journal(state),
            view=view,
            starved=starved,
            calm=calm or Calm(),
            patience_s=patience_s,
            underlay_mtu=underlay_mtu,
        )
        self.attacher.recover()
        self.honour_tombstones()
        verbs = Verbs(self.attacher, sandbox=sandbox, paths=paths, shape=shape, bury=self.honour)
        self._server = CniServer(run / "cni.sock", verbs)

    def close(self) -> None:
        """Answer no more calls. What is attached stays attached."""
        self._server.close()
        self.attacher.kernel.reap()

    def honour(self, key: Key) -> None:
        """Do the DEL that a tombstone stands for, if there is one: before an ADD of the same name, and at start."""
        path = self._tombstones / f"{key[0]}:{key[1]}"
        try:
            path.unlink()
        except FileNotFoundError:
            return
        if self.attacher.detach(key):
            log.event("attachment.buried", container=key[0], interface=key[1])

    def honour_tombstones(self) -> None:
        """Do all DELs that came while nobody was there."""
        for path in sorted(self._tombstones.iterdir()):
            container, _, interface = path.name.partition(":")
            with suppress(SlicerError, OSError):  # tried again by the next sweep or the runtime's next DEL
                self.honour((container, interface))

    def sweep(self) -> None:
        """Bring the kernel and the journal together: remove what nobody owns, release what has lost its pod.

        Multus forgets DEL in some failures, so nobody else would ever do it.
        """
        self.honour_tombstones()
        for record in self.attacher.journal.all():
            try:
                self._sweep_record(record)
            except (SlicerError, OSError) as error:
                log.event("sweep.failed", container=record.key[0], interface=record.key[1], error=error)
        self._sweep_links()
        self.attacher.kernel.forget_removed()

    def _sweep_record(self, record: Record) -> None:
        if record.attachment.state is AttachmentState.PENDING:
            return  # its ADD is running
        if is_gone(record):
            self._release(record, "its network namespace is gone")
        elif record.attachment.state is AttachmentState.DETACHING:
            self._release(record, "its detaching was interrupted")
        elif f"slice/{record.attachment.slice}" not in self._view():
            self._release(record, "its slice is gone")
        elif not self._has_host_end(record):
            self.attacher.repair(record)
            log.event("attachment.repaired", container=record.key[0], interface=record.key[1])

    @staticmethod
    def _has_host_end(record: Record) -> bool:
        """Whether the veth is there; also when nobody can tell, because the slice's namespace is not."""
        path = netns.path_of(slice_ns(record.vni))
        if not netns.exists(path):
            return True
        names = {link.name for link in podview.links(path)}
        return record.attachment.host_interface in names

    def _release(self, record: Record, why: str) -> None:
        if self.attacher.detach(record.key):
            key = record.key
            log.event("attachment.released", container=key[0], interface=key[1], slice=record.attachment.slice, why=why)

    def _sweep_links(self) -> None:
        """Host ends in slice namespaces that no record names: of an ADD or a DEL that was killed."""
        for state in self._view().values():
            if isinstance(state, SliceState) and netns.exists(netns.path_of(slice_ns(state.vni))):
                self._sweep_slice(state.vni)

    def _sweep_slice(self, vni: int) -> None:
        name = slice_ns(vni)
        before = {record.attachment.host_interface for record in self.attacher.journal.all()}
        there = [link.name for link in podview.links(netns.path_of(name)) if attach.is_host_name(link.name)]
        after = {record.attachment.host_interface for record in self.attacher.journal.all()}
        for link in sorted(set(there) - before - after):
            self.attacher.kernel.detach(vni, link)
            log.event("leak.removed", netns=name, interface=link)
