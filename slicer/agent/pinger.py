"""Does the pings that users ask for (`slicectl ping`), from the pod's own namespace and slice address."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from slicer.agent import log
from slicer.agent.changes import Changes
from slicer.kernel import echo
from slicer.model.attachments import Attachment, AttachmentState, Ping, PingResult
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import InvalidError
from slicer.model.names import Address, parse_address


class Pinger:
    """One thread a ping; a result is kept as long as its ping is in the view."""

    def __init__(
        self,
        *,
        cluster: str,
        attachments: Callable[[], Iterable[Attachment]],
        changed: Changes,
    ) -> None:
        self._cluster, self._attachments, self._changed = cluster, attachments, changed
        self._lock = threading.Lock()
        self._results: dict[str, PingResult | None] = {}

    def look(self, view: Documents) -> None:
        """Start the pings of this node's pods that have not been started; forget those that are no longer asked for."""
        pings = {ping.id: ping for ping in of_kind(view, Ping) if ping.cluster == self._cluster}
        with self._lock:
            for gone in set(self._results) - set(pings):
                del self._results[gone]
            fresh = [ping for id_, ping in sorted(pings.items()) if id_ not in self._results]
            started = [(ping, a) for ping in fresh if (a := self._attachment_of(ping))]
            self._results |= {ping.id: None for ping, _ in started}
        for ping, attachment in started:
            threading.Thread(target=self._run, args=(ping, attachment), name="ping", daemon=True).start()

    def results(self) -> list[PingResult]:
        """What has been finished."""
        with self._lock:
            return [result for _, result in sorted(self._results.items()) if result]

    def _attachment_of(self, ping: Ping) -> Attachment | None:
        wanted = (ping.namespace, ping.pod, ping.slice)
        found = (a for a in self._attachments() if (a.namespace, a.pod, a.slice) == wanted)
        return next((a for a in found if a.state is AttachmentState.ATTACHED), None)

    def _run(self, ping: Ping, attachment: Attachment) -> None:
        result = do_ping(ping, attachment)
        log.event("ping.done", pod=f"{ping.namespace}/{ping.pod}", target=ping.target, received=result.received)
        with self._lock:
            if ping.id in self._results:
                self._results[ping.id] = result
        self._changed.ring()


def do_ping(ping: Ping, attachment: Attachment) -> PingResult:
    """The answer to a ping; what cannot be sent is an error in words, not an exception."""
    rtts: list[int] = []
    error = ""
    try:
        target = parse_address("target", ping.target)
        rtts = echo.ping(attachment.netns, _source(ping, attachment, target), target, count=ping.count)
    except InvalidError as refused:
        error = refused.message
    except OSError as failed:
        error = failed.strerror or str(failed)
    sent = 0 if error else ping.count
    return PingResult(
        id=ping.id,
        cluster=ping.cluster,
        node=attachment.node,
        sent=sent,
        received=len(rtts),
        rtts_us=tuple(rtts),
        error=error,
    )


def _source(ping: Ping, attachment: Attachment, target: Address) -> Address:
    for address in attachment.addresses:
        if address.version == target.version:
            return address
    raise InvalidError(f"the pod has no IPv{target.version} address in slice {ping.slice!r}")
