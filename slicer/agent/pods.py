"""The pod loop: running pods against attachments. Live memberships, labels, primary addresses, and the leak sweep.

Level-triggered: each run looks at everything. A membership that cannot be fulfilled is shown as a PENDING attachment
with the reason, and tried again at each change and each RETRY_S.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from slicer.agent import log
from slicer.agent.changes import Changes
from slicer.agent.journal import Key
from slicer.agent.sandboxes import SandboxSource
from slicer.agent.service import AttachService
from slicer.kernel import podview
from slicer.model.attachments import AttachedBy, Attachment, AttachmentState
from slicer.model.documents import Documents
from slicer.model.errors import SlicerError
from slicer.model.names import Address
from slicer.model.slices import Membership
from slicer.plan.attach import Wish
from slicer.plan.membership import Sandbox, free_interface, plan_memberships

RETRY_S = 2.0
"""How soon a membership that failed is tried again."""
SWEEP_S = 5.0
"""How often leaks are looked for when nothing happens."""
OBSERVE_S = 30.0
"""How often a pod's primary addresses are read again; they hardly ever change while it lives."""
SETTLE_S = 0.05
"""A burst of changes is one look."""


class Pods:
    """One run at a time (`look`); `waiting` are the attachments that could not be made yet."""

    def __init__(
        self,
        *,
        service: AttachService,
        sandboxes: SandboxSource,
        view: Callable[[], Documents | None],
        cluster: str,
        node: str,
        changed: Changes,
        settle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells Unix time: memberships may end by it."""
        self._service, self._sandboxes, self._view, self._changed = service, sandboxes, view, changed
        self._cluster, self._node, self._settle, self._clock = cluster, node, settle, clock
        self._said = log.Repeated()
        self._swept_at = float("-inf")
        self._observed_at: dict[Key, float] = {}
        self.waiting: tuple[Attachment, ...] = ()

    def run_forever(self) -> None:
        """Look at each change, and now and then."""
        while True:
            seen = self._changed.count
            try:
                self.look()
            except (SlicerError, OSError) as error:
                self._said.event("pods.failed", "loop", str(error))
            if self._changed.wait_beyond(seen, RETRY_S if self.waiting else SWEEP_S):
                time.sleep(SETTLE_S)
                self._settle()

    def look(self) -> None:
        """Bring memberships, labels and leaks in order, once."""
        view = self._view()
        if view is None:
            return  # never heard of a controller: nothing is known to be unwanted
        self._refresh()
        self._sweep()
        if not self._sandboxes.ready:
            return  # the runtime has not answered yet: no pod is known to have ended
        unclear = self._sandboxes.unclear
        records = self._service.attacher.journal.attachments()
        attachments = [one for one in records if one.container_id not in unclear]
        plan = plan_memberships(view, self._cluster, self._sandboxes.all(), attachments, self._clock())
        for attachment in plan.detach:
            self._detach(attachment)
        failed = [self._attach(membership, sandbox) for membership, sandbox in plan.attach]
        waiting = tuple(attachment for attachment in failed if attachment)
        if waiting != self.waiting:
            self.waiting = waiting
            self._service.attacher.changed.ring()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at >= SWEEP_S:
            self._service.sweep()
            self._swept_at = time.monotonic()

    def _refresh(self) -> None:
        """Labels as the sandbox shows them, primary addresses as the pod's namespace has them."""
        records = self._service.attacher.journal.all()
        self._observed_at = {r.key: self._observed_at[r.key] for r in records if r.key in self._observed_at}
        for record in records:
            attachment = record.attachment
            if attachment.state is not AttachmentState.ATTACHED:
                continue
            sandbox = self._sandboxes.all().get(attachment.container_id)
            fresh = replace(
                attachment,
                labels=sandbox.labels if sandbox else attachment.labels,
                primary_addresses=self._primary(attachment),
            )
            if fresh != attachment:
                self._service.attacher.update(record.key, fresh)

    def _primary(self, attachment: Attachment) -> tuple[Address, ...]:
        """Global addresses on interfaces of the pod that are not ours; the last known ones if nobody can look."""
        key = (attachment.container_id, attachment.interface)
        if time.monotonic() - self._observed_at.get(key, float("-inf")) < OBSERVE_S:
            return attachment.primary_addresses
        self._observed_at[key] = time.monotonic()
        try:
            contents = podview.observe(attachment.netns)
        except OSError:
            return attachment.primary_addresses
        records = self._service.attacher.journal.attachments()
        names = {a.interface for a in records if a.container_id == attachment.container_id}
        others = {link.index for link in contents.links if link.name not in names and link.name != "lo"}
        found = {address for index, address, is_global in contents.addresses if index in others and is_global}
        return tuple(sorted(found, key=lambda address: (address.version, address)))

    def _attach(self, membership: Membership, sandbox: Sandbox) -> Attachment | None:
        """None when it is attached; else the pending attachment that says why not."""
        subject = f"{sandbox.namespace}/{sandbox.name} in {membership.slice}"
        try:
            taken = {link.name for link in podview.links(sandbox.netns)}
            wish = wish_of(membership, sandbox, free_interface(membership, taken))
            done = self._service.attacher.attach(wish, patience_s=0.0)
        except (SlicerError, OSError) as error:
            self._said.event("membership.waiting", subject, str(error))
            return self._pending(membership, sandbox, str(error))
        self._said.event("membership.waiting", subject, "")
        log.event("membership.attached", pod=subject, interface=done.interface, membership=membership.name)
        return None

    def _detach(self, attachment: Attachment) -> None:
        pod = f"{attachment.namespace}/{attachment.pod} in {attachment.slice}"
        try:
            self._service.attacher.detach((attachment.container_id, attachment.interface))
        except (SlicerError, OSError) as error:
            self._said.event("membership.detach_failed", pod, str(error))
            return
        log.event("membership.detached", pod=pod, interface=attachment.interface, membership=attachment.membership)

    def _pending(self, membership: Membership, sandbox: Sandbox, message: str) -> Attachment:
        return Attachment(
            container_id=sandbox.container_id,
            interface=membership.interface or "net1",
            slice=membership.slice,
            cluster=self._cluster,
            node=self._node,
            namespace=sandbox.namespace,
            pod=sandbox.name,
            pod_uid=sandbox.uid,
            netns=sandbox.netns,
            addresses=(),
            mac="",
            host_interface="",
            mtu=0,
            membership=membership.name,
            by=AttachedBy.MEMBERSHIP,
            message=message,
        )


def with_waiting(attached: Sequence[Attachment], waiting: Iterable[Attachment]) -> tuple[Attachment, ...]:
    """What is reported: what is attached, and what waits under an interface name that is not taken.

    A document's key is (container, interface): a membership that waits must not hide an interface that works.
    """
    taken = {(a.container_id, a.interface) for a in attached}
    return (*attached, *(free_name(one, taken) for one in waiting))


def free_name(one: Attachment, taken: set[tuple[str, str]]) -> Attachment:
    """`one` with the first of its own name, net1, net2, … that `taken` has not; the name is taken then."""
    names = (one.interface, *(f"net{number}" for number in range(1, len(taken) + 2)))
    name = next(name for name in names if (one.container_id, name) not in taken)
    taken.add((one.container_id, name))
    return replace(one, interface=name)


def wish_of(membership: Membership, sandbox: Sandbox, interface: str) -> Wish:
    """What a membership asks for one pod."""
    return Wish(
        container_id=sandbox.container_id,
        interface=interface,
        slice=membership.slice,
        netns=sandbox.netns,
        namespace=sandbox.namespace,
        pod=sandbox.name,
        pod_uid=sandbox.uid,
        labels=sandbox.labels,
        addresses=membership.addresses,
        mac=membership.mac,
        bandwidth=membership.bandwidth,
        membership=membership.name,
        by=AttachedBy.MEMBERSHIP,
    )
