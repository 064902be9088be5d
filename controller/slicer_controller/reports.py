"""Takes in reports: each source's documents replace its last ones; what was not sent again is gone, nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from slicer.model.clusters import Cluster
from slicer.model.documents import Document
from slicer.model.errors import ConflictError, DeniedError
from slicer_controller.access import Peer, check_report, is_author
from slicer_controller.state import State


class Reports:
    """The last report of each source, in the state; and when each was heard of, in memory."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self.heard_at_s: dict[str, float] = {}
        """By the source's URI; empty after a restart."""

    def replace(self, peer: Peer, documents: Mapping[str, Document]) -> None:
        """The whole report of `peer`."""
        check_report(peer, documents)
        owned = [key for key, value in self._state.documents.items() if is_author(peer, value)]
        with self._state.store.batch():
            self._put(documents)
            self._remove(key for key in owned if key not in documents)
            if self._state.store.get(_marker(peer)) is None:
                self._state.store.put(_marker(peer), {})
        self._heard(peer)

    def change(self, peer: Peer, documents: Mapping[str, Document], removed: Collection[str]) -> None:
        """Some documents of `peer`; ConflictError if its whole report was never heard."""
        if self._state.store.get(_marker(peer)) is None:
            raise ConflictError(f"no whole report of {peer.uri} is known here; PUT it first", reason="NoReport")
        check_report(peer, documents)
        self._check_removed(peer, removed)
        with self._state.store.batch():
            self._put(documents)
            self._remove(removed)
        self._heard(peer)

    def forget(self, peer: Peer) -> None:
        """Remove all that `peer` reported: it was deleted."""
        with self._state.store.batch():
            self._remove([key for key, value in self._state.documents.items() if is_author(peer, value)])
            self._state.store.delete(_marker(peer))
        self.heard_at_s.pop(peer.uri, None)

    def _check_removed(self, peer: Peer, removed: Collection[str]) -> None:
        for key in removed:
            value = self._state.documents.get(key)
            if value is not None and not is_author(peer, value):
                raise DeniedError(f"{peer.uri} may not remove {key}")

    def _put(self, documents: Mapping[str, Document]) -> None:
        for value in documents.values():
            if isinstance(value, Cluster):
                self._learn_cidrs(value)
            else:
                self._state.put(value)

    def _learn_cidrs(self, told: Cluster) -> None:
        """The hub is the author of clusters; a member only tells the CIDRs of its own, if it knows any."""
        if told.cidrs or f"cluster/{told.name}" not in self._state.documents:
            self._state.put(told)

    def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._state.delete(key)

    def _heard(self, peer: Peer) -> None:
        self.heard_at_s[peer.uri] = self._clock()


def _marker(peer: Peer) -> str:
    return f"source/{peer.uri}"
