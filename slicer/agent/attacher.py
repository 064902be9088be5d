"""Attaches and detaches: decide (plan), write down (journal), act (kernel), in this order, whoever asks.

Callers: the CNI verbs and the live memberships. Killed at any moment, `recover` (at the next start) or the runtime's
DEL finds in the journal what was left: *pending* is undone, *detaching* is finished, *attached* stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from slicer.agent import log
from slicer.agent.asking import Asking
from slicer.agent.changes import Calm, Changes, Deadline
from slicer.agent.journal import Journal, Key, Record
from slicer.kernel import attach, podview
from slicer.model.attachments import AddressYield, Attachment, AttachmentState
from slicer.model.documents import Documents
from slicer.model.errors import ExhaustedError, NotFoundError, SlicerError, UnavailableError
from slicer.model.slices import SliceState
from slicer.plan.attach import SLICE_NOT_FOUND, Situation, Wish, find_slice, metric_of, plan_attachment
from slicer.plan.dataplane_topology import DEFAULT_UNDERLAY_MTU
from slicer.plan.granted import NOT_GRANTED, Grants, plan_yields, read_grants

PATIENCE_S = 5.0
"""How long an ADD waits for a slice (to be heard of, to be made) or for more addresses; then it says which."""


class Attacher:
    """The one place where attachments come and go on this node. Thread-safe: one key is worked on by one thread."""

    def __init__(
        self,
        *,
        cluster: str,
        node: str,
        journal: Journal,
        view: Callable[[], Documents],
        starved: Callable[[], None],
        calm: Calm,
        patience_s: float = PATIENCE_S,
        underlay_mtu: int = DEFAULT_UNDERLAY_MTU,
    ) -> None:
        self._cluster, self._node, self._view, self._patience_s = cluster, node, view, patience_s
        self._underlay_mtu = underlay_mtu
        self._starved, self._calm = starved, calm
        self.journal = journal
        self.kernel = attach.Attacher(on_error=lambda name, error: log.event("reap.failed", netns=name, error=error))
        self.changed = Changes()
        """Rings when an attachment came, changed or went."""
        self.hopes = Changes()
        """Rings when an ADD that waits should try again: a new view, a slice namespace made, an address given back."""
        self._grants: tuple[Documents, Grants] = ({}, Grants())
        """Of the view that they were read from."""
        self.asking = Asking(cluster, node)
        self._decide = threading.Lock()
        self._busy: set[Key] = set()
        self._idle = threading.Condition()

    def situation(self) -> Situation:
        """What the node knows now."""
        view = self._view()
        return Situation(
            cluster=self._cluster,
            node=self._node,
            view=view,
            attachments=self.journal.attachments(),
            resting=self.journal.resting(),
            underlay_mtu=self._underlay_mtu,
            grants=self._grants_of(view),
        )

    def slice(self, name: str) -> SliceState:
        """The slice as the view has it; NotFoundError if it does not."""
        return find_slice(self._view(), self._cluster, name)

    def yields(self) -> list[AddressYield]:
        """Addresses of grants that this node promises to leave alone."""
        # Who decided before has written down what he took; who decides later knows the grants.
        with self._decide:
            now = self.situation()
            return plan_yields(now.grants, now.own_blocks(), now.attachments, now.resting)

    def _grants_of(self, view: Documents) -> Grants:
        known, grants = self._grants
        if known is not view:
            grants = read_grants(view, self._cluster)
            self._grants = (view, grants)
        return grants

    def attach(self, wish: Wish, *, patience_s: float | None = None) -> Attachment:
        """The attachment, made; every reason against it is raised, and then nothing of it is left."""
        deadline = Deadline(self._patience_s if patience_s is None else patience_s)
        told = ""
        with self._alone((wish.container_id, wish.interface)):
            while True:
                seen = self.hopes.count
                try:
                    return self._attach(wish)
                except (UnavailableError, ExhaustedError, NotFoundError) as error:
                    if isinstance(error, NotFoundError) and error.reason != SLICE_NOT_FOUND:
                        raise
                    if error.reason == NOT_GRANTED:
                        self.asking.ask(wish)
                    # Once for each reason: what is done about it rings `hopes`, and the next try asks for no more.
                    if told != (told := error.message):
                        self._starved()
                    if not self.hopes.wait_beyond(seen, deadline.left_s):
                        raise

    def _attach(self, wish: Wish) -> Attachment:
        with self._calm.broken():
            return self._attach_now(wish)

    def _attach_now(self, wish: Wish) -> Attachment:
        with self._decide:
            situation = self.situation()
            planned = plan_attachment(
                wish, situation, mac=attach.new_mac(), host_interface=self._new_host_name(situation)
            )
            record = Record(attachment=planned, vni=situation.slice(wish.slice).vni)
            self.journal.put(record)
        try:
            cookie = self.kernel.attach(interface_of(record, situation))
        except BaseException:
            self.journal.forget(record.key)
            raise
        done = replace(planned, state=AttachmentState.ATTACHED)
        self.journal.put(Record(attachment=done, vni=record.vni, netns_cookie=cookie))
        self.asking.forget(wish)
        self.changed.ring()
        return done

    def detach(self, key: Key) -> Attachment | None:
        """Take the attachment away; None if there is none. Its addresses rest from now on."""
        with self._alone(key), self._calm.broken():
            record = self.journal.get(key)
            if record is None:
                return None
            try:
                self.journal.update(key, state=AttachmentState.DETACHING)
            except OSError as error:  # a full disk must not keep a pod from ending
                log.event("journal.unwritable", key=key, error=error)
            self.kernel.detach(record.vni, record.attachment.host_interface)
            self.journal.rest(key)
            self.changed.ring()
            self.hopes.ring()
            return record.attachment

    def update(self, key: Key, attachment: Attachment) -> None:
        """Keep what was observed (labels, primary addresses) unless the attachment is changing anyway."""
        with self._alone(key):
            record = self.journal.get(key)
            if record and record.attachment.state is AttachmentState.ATTACHED:
                self.journal.put(replace(record, attachment=attachment))
                self.changed.ring()

    def recover(self) -> None:
        """At start: finish what a kill interrupted. Errors are logged; the sweep tries again."""
        for record in self.journal.all():
            if record.attachment.state is AttachmentState.ATTACHED:
                continue
            log.event("attachment.recovered", key=record.key, was=record.attachment.state)
            try:
                self.detach(record.key)
            except (SlicerError, OSError) as error:
                log.event("attachment.recovery_failed", key=record.key, error=error)

    def repair(self, record: Record) -> None:
        """Make the interface of an attachment again, as it was (its host end is gone, its pod is not)."""
        with self._alone(record.key):
            if self.journal.get(record.key) == record:
                self.kernel.attach(interface_of(record, self.situation()))

    @staticmethod
    def _new_host_name(situation: Situation) -> str:
        used = {a.host_interface for a in situation.attachments}
        return next(name for name in iter(attach.new_host_name, "") if name not in used)

    @contextmanager
    def _alone(self, key: Key) -> Iterator[None]:
        with self._idle:
            self._idle.wait_for(lambda: key not in self._busy)
            self._busy.add(key)
        try:
            yield
        finally:
            with self._idle:
                self._busy.discard(key)
                self._idle.notify_all()


def interface_of(record: Record, situation: Situation) -> attach.Interface:
    """What the attachment looks like in the kernel."""
    attachment = record.attachment
    return attach.Interface(
        vni=record.vni,
        netns=attachment.netns,
        name=attachment.interface,
        mac=attachment.mac,
        mtu=attachment.mtu,
        host_name=attachment.host_interface,
        addresses=attachment.addresses,
        prefixes=situation.slice(attachment.slice).spec.prefixes,
        metric=metric_of(attachment, situation.attachments),
    )


def is_gone(record: Record) -> bool:
    """Whether the pod's namespace is gone, or another one has taken its place under the same path."""
    cookie = podview.cookie_of(record.attachment.netns)
    return cookie is None or record.netns_cookie not in {0, cookie}
