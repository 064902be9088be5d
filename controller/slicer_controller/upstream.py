"""A member's link to its hub: what the hub says is mirrored into the store, what the cluster reports is sent.

The follower and the reporter are threads; everything here that touches the state runs in the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from slicer.client.follow import Follower
from slicer.client.identity import Identity
from slicer.client.report import CLUSTER, Reporter
from slicer.model.attachments import AddressGrant
from slicer.model.clusters import Cluster, Gateway, NodeBlocks
from slicer.model.documents import Document, Documents
from slicer.model.names import Prefix
from slicer_controller.access import Peer, is_author
from slicer_controller.state import State

log = logging.getLogger(__name__)
_MARK = "member/adopted"
"""In the store once the hub's copy of this cluster's allocations was looked at: later the store knows better."""


class Upstream:
    """See above."""

    def __init__(
        self, state: State, identity: Identity, cache: Path, cidrs: tuple[Prefix, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._state, self._loop = state, loop
        self._peer = Peer(kind="cluster", cluster=identity.cluster, name=identity.cluster)
        self._cluster = Cluster(name=identity.cluster, cidrs=cidrs)
        self._follower = Follower(identity, "/v1/views/cluster", cache, self._heard)
        self._reporter = Reporter(identity, CLUSTER)

    @property
    def synced(self) -> bool:
        """Whether the hub was ever heard, now or before a restart."""
        return self._state.store.get(_MARK) is not None

    def start(self) -> None:
        """Begin to follow and to report."""
        self._follower.start()
        self._reporter.start()

    def stop(self) -> None:
        """End both threads."""
        self._follower.stop()
        self._reporter.stop()

    def publish(self) -> None:
        """Report what the documents say now of this cluster; nothing before the hub was heard."""
        if not self.synced:
            return
        mine = {key: value for key, value in self._state.documents.items() if is_author(self._peer, value)}
        self._reporter.publish(mine | {f"cluster/{self._cluster.name}": self._cluster})

    def _heard(self, view: Documents) -> None:
        """Called by the follower's thread."""
        self._loop.call_soon_threadsafe(self._mirror, view)

    def _mirror(self, view: Documents) -> None:
        """Make the store's copy of what others say the same as the view."""
        with self._state.store.batch():
            self._adopt(view)
            theirs = {key: value for key, value in view.items() if not is_author(self._peer, value)}
            for value in theirs.values():
                self._state.put(value)
            for key, value in list(self._state.documents.items()):
                if key not in theirs and not is_author(self._peer, value):
                    self._state.delete(key)

    def _adopt(self, view: Documents) -> None:
        """With an empty store: take back from the hub what this cluster had promised its nodes."""
        if self.synced:
            return
        for value in view.values():
            if _is_allocation(value) and is_author(self._peer, value):
                self._state.put(value)
        self._state.store.put(_MARK, {})


def _is_allocation(value: Document) -> bool:
    return isinstance(value, NodeBlocks | Gateway | AddressGrant)
