"""Watches the API server with kopf, embedded: a thread that keeps `Objects` up to date until it is stopped.

kopf's part is the streams: list, watch, resume, 410, reconnect. Its handlers here are one line each, nothing is
stored in the objects (no annotations, no finalizer of kopf's), and it may not give up: while the API server is away
it tries on. A watch that was cut tells of no removals, so that its kind is listed again after a cut, and now and then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import kopf
from kubernetes.client import Configuration

from slicer.client.kube_api import Api
from slicer.model.errors import NotFoundError, SlicerError, UnavailableError
from slicer_controller.kube.naming import GROUP
from slicer_controller.kube.objects import Objects

log = logging.getLogger(__name__)
RESYNC_S = 300.0
FIRST_S = 5.0
"""After the start, if kopf lists nothing at all."""
RETRY_S = 1.0
STOP_S = 5.0
GATHER_S = 0.5
"""A list tells of many objects at once; one list of ours answers them all."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One kind to watch, in all namespaces."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    keep: Callable[[Json], Json | None] = lambda object_: object_
    """What of an object is kept in memory; None for one that is of no interest."""
    optional: bool = False
    """The kind may be missing in the API server: then there are none."""

    @property
    def path(self) -> str:
        """Of the collection."""
        return (
            f"/apis/{self.group}/{self.version}/{self.plural}" if self.group else f"/api/{self.version}/{self.plural}"
        )


class Backoffs:
    """Seconds between two tries of one request, without end."""

    def __iter__(self) -> Iterator[float]:
        """From the start, for every request."""
        yield from (0.1, 0.3)
        while True:
            yield RETRY_S


class Watcher:
    """One for each controller."""

    def __init__(self, configuration: Configuration, api: Api, objects: Objects, kinds: Sequence[Watched]) -> None:
        self._configuration, self._api, self._objects, self._kinds = configuration, api, objects, tuple(kinds)
        self._stopping = threading.Event()
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._stale: set[Watched] = set()
        """Kinds that are to be listed again."""
        self._heard: set[Watched] = set()
        """Kinds of which kopf has listed anything."""
        self._threads = [
            threading.Thread(target=self._watch, name="watch", daemon=True),
            threading.Thread(target=self._resync, name="resync", daemon=True),
        ]

    def start(self) -> None:
        """Follow what changes since `list_all`."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)

    def list_all(self) -> None:
        """Read every kind whole."""
        for kind in self._kinds:
            self._list(kind)

    def _list(self, kind: Watched) -> None:
        self._objects.expect_list(kind.plural)
        try:
            kept = [kind.keep(object_) for object_ in self._api.each(kind.path)]
        except NotFoundError:
            if not kind.optional:
                raise UnavailableError(f"{kind.path} is not there: are the CRDs installed?") from None
            kept = []
        self._objects.replace(kind.plural, [object_ for object_ in kept if object_ is not None])

    def _resync(self) -> None:
        """List again what may have lost removals: what was cut, and everything now and then.

        At the start that is what went between `list_all` and kopf's own list; of a kind of which nothing is left kopf
        tells nothing.
        """
        self._wake.wait(FIRST_S)
        self._stopping.wait(GATHER_S)
        self._mark(kind for kind in self._kinds if kind not in self._heard)
        while not self._stopping.is_set():
            self._list_stale()
            if not self._wake.wait(RESYNC_S):
                self._mark(self._kinds)
            self._stopping.wait(GATHER_S)

    def _mark(self, kinds: Iterable[Watched]) -> None:
        with self._lock:
            self._stale.update(kinds)
        self._wake.set()

    def _list_stale(self) -> None:
        with self._lock:
            self._wake.clear()
            stale, self._stale = self._stale, set()
        failed = []
        for kind in [kind for kind in self._kinds if kind in stale]:
            try:
                self._list(kind)
            except SlicerError as error:
                failed.append(kind)
                log.warning("not listed", extra={"kind": kind.plural, "error": error.message})
        if failed:
            self._stopping.wait(RETRY_S)
            self._mark(failed)

    def _watch(self) -> None:
        """kopf's operator ends by itself only when something is very wrong; then it is started again."""
        while not self._stopping.is_set():
            try:
                asyncio.run(self._operate())
            except Exception:
                log.exception("watching failed")
            if not self._stopping.wait(RETRY_S):
                log.warning("watching again")
                self._mark(self._kinds)

    async def _operate(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            clusterwide=True,
            standalone=True,
            stop_flag=self._stopping,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(lambda **_: connection_info(self._configuration))
        for kind in self._kinds:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)(self._handler(kind))
        return registry

    def _handler(self, kind: Watched) -> Any:
        async def look_again(event: Any, **_: Any) -> None:
            self.take(kind, event["type"], event["object"])

        return look_again

    def take(self, kind: Watched, type_: str | None, object_: Json) -> None:
        """One event of a watch."""
        kept = kind.keep(object_)
        if type_ == "DELETED" or kept is None:
            self._objects.forget(kind.plural, object_)
        else:
            self._objects.learn(kind.plural, kept)
        if type_ is None:
            # Listed anew: perhaps because the watch was cut, and then removals were missed.
            self._heard.add(kind)
            self._mark((kind,))


def connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """How kopf reaches the same API server, as the same user."""
    header = str(configuration.get_api_key_with_prefix("BearerToken") or "")
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    settings.networking.error_backoffs = Backoffs()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # Not ours: kopf takes its own off every object that none of its handlers wants to hold, and none does.
    settings.persistence.finalizer = f"{GROUP}/watching"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    return settings
