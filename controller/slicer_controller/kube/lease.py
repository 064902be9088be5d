"""Leader election by a Lease (coordination.k8s.io/v1): one of several controllers writes, the others wait.

As in client-go: a lease is taken over when its record has not changed for `DURATION_S` by *our* clock, so that clocks
of different machines are never compared; the holder renews every `RETRY_S` and leads no more after `DEADLINE_S` without
success, before anybody else may take over. It begins no write after `WRITE_S` without success, so that the longest one
(slicer.client.kube_api) has ended by then. Unlike in client-go it goes on living: while the API server is away
nobody else can lead, and what needs no writing is still served.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slicer.client.kube_api import Api
from slicer.model.errors import NotFoundError, SlicerError

log = logging.getLogger(__name__)
DURATION_S = 15.0
DEADLINE_S = 10.0
WRITE_S = 5.0
RETRY_S = 2.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds; see above."""

    duration_s: float = DURATION_S
    deadline_s: float = DEADLINE_S
    write_s: float = WRITE_S
    retry_s: float = RETRY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which lease, and who wants it."""

    namespace: str
    name: str
    identity: str


class Lease:
    """One candidate."""

    def __init__(
        self, api: Api, place: Place, *, clock: Callable[[], float] = time.monotonic, timing: Timing | None = None
    ) -> None:
        self._api, self._name, self._identity, self._clock = api, place.name, place.identity, clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{place.namespace}/leases"
        self._timing = timing or Timing()
        self._seen: tuple[Any, float] | None = None
        self._renewed_s = float("-inf")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether nobody else can be the leader at this moment."""
        return self._clock() - self._renewed_s < self._timing.deadline_s

    @property
    def writable(self) -> bool:
        """Whether a write that begins now ends before anybody else can be the leader."""
        return self.held and self._clock() - self._renewed_s < self._timing.write_s

    def acquire(self, stopping: threading.Event) -> bool:
        """Wait until this is the leader; False if `stopping` was set before."""
        told = ""
        while not stopping.is_set():
            holder = self._try()
            if holder == self._identity:
                log.info("leading", extra={"lease": self._name, "identity": self._identity})
                return True
            if holder != told:
                log.info("standing by", extra={"lease": self._name, "holder": holder})
                told = holder
            stopping.wait(self._timing.retry_s)
        return False

    def keep(self, lost: Callable[[], None]) -> None:
        """Renew from a thread until `release`; `lost` is called once if another one leads."""
        self._thread = threading.Thread(target=self._renew, args=(lost,), name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop renewing and give the lease back, so that the next leader need not wait; nothing may be on its way."""
        self.abandon()
        if self.held:
            self._renewed_s = float("-inf")
            self._give_back()

    def abandon(self) -> None:
        """Stop renewing: the next leader waits for the lease to end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _renew(self, lost: Callable[[], None]) -> None:
        """While the API server is away nobody can take over: then nothing is written, but the process goes on."""
        told = False
        while not self._stopping.wait(self._timing.retry_s):
            holder = self._try()
            if holder not in {"", self._identity}:
                self._renewed_s = float("-inf")
                log.error("leadership lost", extra={"lease": self._name, "holder": holder})
                lost()
                return
            if told == self.held:
                told = not self.held
                log.warning("lease %s", "not held: writes wait" if told else "held again", extra={"lease": self._name})

    def _try(self) -> str:
        """One attempt: who holds the lease now; empty if that could not be found out."""
        try:
            return self._attempt()
        except SlicerError as error:
            log.warning("lease not renewed", extra={"lease": self._name, "error": error.message})
            return ""

    def _attempt(self) -> str:
        # Read before the request: the lease must end on our clock no later than on anybody else's.
        now = self._clock()
        try:
            found = self._api.get(f"{self._collection}/{self._name}")
        except NotFoundError:
            self._api.create(self._collection, self._record({}, now_text()))
            self._renewed_s = now
            return self._identity
        spec = found.get("spec", {})
        holder = str(spec.get("holderIdentity") or "")
        if holder not in {"", self._identity} and not self._expired(spec, now):
            return holder
        found["spec"] = self._record(spec, now_text())["spec"]
        self._api.replace(f"{self._collection}/{self._name}", found)
        self._renewed_s = now
        return self._identity

    def _expired(self, spec: Json, now: float) -> bool:
        state = (spec.get("holderIdentity"), spec.get("renewTime"))
        if self._seen is None or self._seen[0] != state:
            self._seen = (state, now)
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds") or self._timing.duration_s)

    def _record(self, before: Json, now: str) -> Json:
        mine = before.get("holderIdentity") == self._identity
        changes = int(before.get("leaseTransitions") or 0)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._timing.duration_s)),
                "acquireTime": before.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": changes if mine or not before else changes + 1,
            },
        }

    def _give_back(self) -> None:
        try:
            found = self._api.get(f"{self._collection}/{self._name}")
            if found["spec"].get("holderIdentity") == self._identity:
                found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                self._api.replace(f"{self._collection}/{self._name}", found)
        except SlicerError as error:
            log.warning("lease not given back", extra={"lease": self._name, "error": error.message})


def now_text() -> str:
    """The time as a MicroTime of the Kubernetes API."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
