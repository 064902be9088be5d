"""One controller, put together and run: store, state, server, and the loop that reconciles after every change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from slicer.client.identity import Identity
from slicer.model.clusters import Cluster, Surroundings
from slicer.model.errors import DeniedError, StaleError, UnauthenticatedError, UnavailableError
from slicer.model.names import Prefix
from slicer_controller.access import Door, load_admin_token
from slicer_controller.api.app import make_app
from slicer_controller.ca import CertificateAuthority
from slicer_controller.context import Context
from slicer_controller.history import Recorder
from slicer_controller.hub import Hub
from slicer_controller.member import Member
from slicer_controller.platform import Part, Platform
from slicer_controller.reports import Reports
from slicer_controller.server import ABORT_S, Server, make_server
from slicer_controller.state import State
from slicer_controller.store import Store
from slicer_controller.store.sqlite import SqliteStore
from slicer_controller.upstream import Upstream

log = logging.getLogger(__name__)
GATHER_S = 0.05
RETRY_S = 1.0
"""After something that could not be stored."""
TIDY_S = 30.0
"""Without any change the loop looks this often: rests and reservations end by time alone."""
RENEW_SERVER_S = 24 * 3600.0
"""The server's own certificate is made anew this often; it lives for a year."""


class Controller:
    """A hub, a member, or both."""

    def __init__(
        self,
        *,
        roles: frozenset[str],
        directory: Path,
        host: str,
        port: int,
        advertise: str,
        cluster: str,
        cidrs: tuple[Prefix, ...],
        identity: Identity | None,
        clock: Callable[[], float],
        hosts: frozenset[str] = frozenset(),
        store: Store | None = None,
        platform: Platform | None = None,
        rotate_every_s: int = 0,
    ) -> None:
        self._roles, self._directory, self._clock, self._platform = roles, directory, clock, platform
        self._said: set[str] = set()
        """What the last round could not do; said once."""
        self._loop, self._again = asyncio.get_running_loop(), asyncio.Event()
        self._hosts = _names({host, str(urlsplit(advertise).hostname), *hosts}, platform)
        self._store = store or SqliteStore(directory / "store.db", clock=clock)
        self._context = build_context(
            self._store,
            directory,
            roles=roles,
            cluster=cluster,
            url=advertise,
            clock=clock,
            ready=self.is_ready,
            platform=platform,
            rotate_every_s=rotate_every_s,
        )
        self._state, self._hub, self._closing = self._context.state, self._context.hub, self._context.closing
        self._authority, self._upstream = self._context.authority, self._make_upstream(identity, cidrs)
        surroundings = platform.surroundings if platform else lambda _node: Surroundings()
        self._member = Member(self._state, cluster, clock, surroundings) if "member" in roles else None
        self._own = Cluster(name=cluster, cidrs=cidrs) if len(roles) == 2 else None
        self._server = self._make_server(host, port)

    def stop(self) -> None:
        """Let `run` return soon: streams end, the last writes are on disk."""
        self._closing.set()
        self._state.wake()
        if not self._server.should_exit:
            self._server.should_exit = True
            asyncio.get_running_loop().call_later(ABORT_S, self._server.drop_connections)

    async def run(self) -> None:
        """Serve until `stop`."""
        if self._platform is not None:
            self._platform.start(self._context, self.wake)
        if self._own is not None and f"cluster/{self._own.name}" not in self._state.documents:
            self._state.put(self._own)
        if self._upstream is not None:
            self._upstream.start()
        parts = (self._reconcile(), self._renew_server(), self._context.history.run())
        tasks = [asyncio.create_task(part) for part in parts]
        log.info("started", extra={"roles": sorted(self._roles), "state": str(self._directory)})
        try:
            await self._server.serve()
        finally:
            self.stop()
            for task in tasks:
                task.cancel()
            if self._upstream is not None:
                await asyncio.to_thread(self._upstream.stop)
            await asyncio.to_thread(self._store.close)
            log.info("ended")

    def wake(self) -> None:
        """Look at everything again soon; may be called by any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._again.set)

    async def _reconcile(self) -> None:
        """Level-triggered: after any change, and now and then, everything is looked at again."""
        with self._state.listening(self._again):
            while not self._closing.is_set():
                self._again.clear()
                self._reconcile_once()
                if self._platform is not None:
                    # Pods and objects change in bursts, and one look answers them all.
                    await asyncio.sleep(GATHER_S)
                try:
                    await asyncio.wait_for(self._again.wait(), self._rest_s())
                except TimeoutError:
                    continue

    def _rest_s(self) -> float:
        return TIDY_S if self._member is None else min(TIDY_S, self._member.again_s)

    def _reconcile_once(self) -> None:
        """Each part on its own: one that fails now keeps no other from its work."""
        waiting: set[str] = set()
        with self._store.batch():
            for part in self._parts():
                try:
                    part()
                except (UnavailableError, StaleError, DeniedError, UnauthenticatedError) as error:
                    # The store or the API server is away, was quicker, or does not know our rights yet (it has just
                    # started): what needs it waits, and the rest goes on.
                    if error.message not in self._said:
                        log.warning("not done yet", extra={"error": error.message})
                    waiting.add(error.message)
                    self._loop.call_later(RETRY_S, self._again.set)
                except Exception:
                    # The loop must outlive a mistake: the next change may be the one that mends it.
                    log.exception("reconcile failed")
        self._said = waiting

    def _parts(self) -> Iterator[Part]:
        if self._platform is not None:
            yield from self._platform.intake()
        if "hub" in self._roles:
            yield self._hub.reconcile
        if self._member is not None and (self._upstream is None or self._upstream.synced):
            yield self._member.reconcile
        if self._upstream is not None:
            yield self._upstream.publish
        if self._platform is not None:
            yield from self._platform.telling()

    async def _renew_server(self) -> None:
        """Once a day: a new certificate for new connections, and old join tokens go."""
        while True:
            self._context.door.forget_expired()
            await asyncio.sleep(RENEW_SERVER_S)
            certificate, key = self._authority.serve_as(self._hosts)
            context = self._server.config.ssl
            if context is not None:
                context.load_cert_chain(certificate, key)

    def is_ready(self) -> bool:
        """Whether views can be served."""
        return self._upstream is None or self._upstream.synced

    def _make_server(self, host: str, port: int) -> Server:
        certificate, key = self._authority.serve_as(self._hosts)
        app = make_app(self._context, self._platform.routes(self._context) if self._platform else None)
        return make_server(app, host, port, certificate=certificate, key=key, ca=self._authority.path)

    def _make_upstream(self, identity: Identity | None, cidrs: tuple[Prefix, ...]) -> Upstream | None:
        if identity is None:
            return None
        cache = self._directory / "view.json"
        return Upstream(self._state, identity, cache, cidrs, asyncio.get_running_loop())


def _names(told: set[str], platform: Platform | None) -> set[str]:
    """What the server's certificate is for."""
    own = platform.hosts if platform else frozenset()
    return (told | own | {"localhost", "127.0.0.1", "::1"}) - {"0.0.0.0", "::"}


def build_context(
    store: Store,
    directory: Path,
    *,
    roles: frozenset[str],
    cluster: str,
    url: str,
    clock: Callable[[], float],
    ready: Callable[[], bool] = lambda: True,
    platform: Platform | None = None,
    rotate_every_s: int = 0,
) -> Context:
    """The parts of a controller over a store; CA and administrator's token are made in `directory` if missing."""
    lost = (directory / "ca.pem").exists() and store.revision == 0
    state, authority = State(store), CertificateAuthority(directory)
    reports = Reports(state, clock)
    hub = Hub(state, clock, rotate_every_s)
    if lost:
        log.warning("store is empty but the CA is not new: was it lost?", extra={"epoch": store.epoch})
        hub.skip_vnis(store.epoch)
    return Context(
        roles=roles,
        cluster=cluster,
        state=state,
        authority=authority,
        door=Door(store, authority, clock, url=url, cluster=cluster),
        hub=hub,
        reports=reports,
        history=Recorder(state, reports, cluster, clock),
        admin_token=load_admin_token(directory / "admin.token"),
        clock=clock,
        ready=ready,
        closing=asyncio.Event(),
        admit_user=platform.admit_user if platform else None,
        identify=platform.identify if platform else None,
    )
