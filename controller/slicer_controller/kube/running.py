"""The life of a controller in Kubernetes: stand by, lead, serve, and end when another one leads."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from slicer.model.errors import UnavailableError
from slicer_controller.kube.client import own_namespace
from slicer_controller.kube.platform import KubernetesPlatform, Setting
from slicer_controller.kube.probes import Probes
from slicer_controller.main import KubernetesOptions, Options, load_identity, make_controller, stop_on_signals
from slicer_controller.running import Controller

log = logging.getLogger(__name__)


class Life:
    """One process."""

    def __init__(self, options: Options, kubernetes: KubernetesOptions) -> None:
        self._options = options
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._controller: Controller | None = None
        self._lost = False
        self._platform = KubernetesPlatform(
            Setting(
                kubeconfig=kubernetes.kubeconfig,
                namespace=kubernetes.namespace or own_namespace(),
                service=kubernetes.service,
                roles=options.roles,
                cluster=options.cluster,
                directory=options.state,
            ),
            time.time,
        )
        self._probes = Probes(*kubernetes.probes, self._is_ready) if kubernetes.probes else None

    async def run(self) -> None:
        """Until asked to stop; UnavailableError if another one leads, so that the process is started anew."""
        stop_on_signals(self._stop)
        if self._probes is not None:
            self._probes.start()
        try:
            if await asyncio.to_thread(self._platform.lead, self._stopping):
                self._platform.keep_leading(self._lose)
                await self._serve()
        finally:
            await asyncio.to_thread(self._platform.close)
            if self._probes is not None:
                self._probes.stop()
        if self._lost:
            raise UnavailableError("another controller leads now: starting anew, to stand by")

    async def _serve(self) -> None:
        identity = await asyncio.to_thread(load_identity, self._options)
        await asyncio.to_thread(self._platform.keep_files)
        store = await asyncio.to_thread(self._platform.open_store)
        self._controller = make_controller(self._options, identity, store, self._platform)
        if self._stopping.is_set():
            self._controller.stop()
        await self._controller.run()

    def _is_ready(self) -> bool:
        return self._controller is not None and self._controller.is_ready() and self._platform.leads

    def _stop(self) -> None:
        self._stopping.set()
        if self._controller is not None:
            self._controller.stop()

    def _lose(self) -> None:
        """Called by the lease's thread."""
        self._lost = True
        self._loop.call_soon_threadsafe(self._stop)


async def run_in_kubernetes(options: Options, kubernetes: KubernetesOptions) -> None:
    """`slicer-controller --store kubernetes`."""
    await Life(options, kubernetes).run()
