"""What each CNI verb does here. One instance serves all calls; the attacher does the work and knows the state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from slicer.agent import log
from slicer.agent.attacher import Attacher
from slicer.agent.cni_check import check_attachment
from slicer.agent.cni_request import BAD_NETNS, DEGRADED, NOT_AVAILABLE, CniError, Request
from slicer.agent.cni_result import render_result, to_stdout
from slicer.kernel import netns
from slicer.model.attachments import AttachedBy, Attachment, PathHealth
from slicer.model.errors import SlicerError
from slicer.plan.attach import Wish, choose_addresses
from slicer.plan.membership import Sandbox


class Verbs:
    """Handles checked requests; the answer is what goes to stdout."""

    def __init__(
        self,
        attacher: Attacher,
        *,
        sandbox: Callable[[str], Sandbox | None],
        paths: Callable[[], Iterable[PathHealth]],
        shape: Callable[[int, Attachment], None],
        bury: Callable[[tuple[str, str]], None],
    ) -> None:
        self._attacher, self._sandbox, self._paths, self._shape, self._bury = attacher, sandbox, paths, shape, bury

    def __call__(self, request: Request) -> bytes:
        """Do what the request says."""
        match request.command:
            case "ADD":
                return self.add(request)
            case "DEL":
                self.delete(request)
            case "CHECK":
                self.check(request)
            case "GC":
                self.collect(request)
            case _:
                self.status(request)
        return b""

    def add(self, request: Request) -> bytes:
        """The Result, once the kernel has the interface."""
        check_netns(request.netns)
        self._bury((request.container_id, request.interface))
        attachment = self._attacher.attach(self._wish(request))
        try:
            state = self._attacher.slice(request.slice)
            self._shape(state.vni, attachment)
        except SlicerError:
            self._attacher.detach((request.container_id, request.interface))
            raise
        log.event("cni.added", **_named(attachment), addresses=[str(a) for a in attachment.addresses])
        prefixes = state.spec.prefixes
        return to_stdout(render_result(attachment, prefixes, version=request.version, previous=request.previous))

    def delete(self, request: Request) -> None:
        """Gone is gone: a DEL of what nobody knows succeeds, as often as it comes."""
        if request.netns and netns.exists(Path(request.netns)):
            _refuse_own(request.netns)
        attachment = self._attacher.detach((request.container_id, request.interface))
        if attachment:
            log.event("cni.deleted", **_named(attachment))

    def check(self, request: Request) -> None:
        """CniError with every deviation, if there is one."""
        check_netns(request.netns)
        assert request.previous is not None
        record = self._attacher.journal.get((request.container_id, request.interface))
        check_attachment(request, record, request.previous)

    def collect(self, request: Request) -> None:
        """Remove this network's attachments that the runtime no longer lists, as many as can be; then say which not."""
        if request.valid is None:
            return
        failed = []
        for attachment in self._attacher.journal.attachments():
            key = (attachment.container_id, attachment.interface)
            if attachment.network != request.network or attachment.by is not AttachedBy.CNI or key in request.valid:
                continue
            try:
                self._attacher.detach(key)
                log.event("cni.collected", **_named(attachment))
            except (SlicerError, OSError) as error:
                failed.append(f"{key[0]}/{key[1]}: {error}")
        if failed:
            raise CniError(
                5, f"{len(failed)} attachments of {request.network!r} could not be removed", "; ".join(failed)
            )

    def status(self, request: Request) -> None:
        """50: an ADD would fail now. 51: it might work, but the slice reaches no other cluster."""
        try:
            self._ready(request.slice)
        except SlicerError as error:
            raise CniError(NOT_AVAILABLE, error.message, error.reason) from error
        paths = [path for path in self._paths() if path.slice == request.slice]
        if paths and not any(path.up for path in paths):
            lost = ", ".join(sorted(path.remote_cluster for path in paths))
            raise CniError(DEGRADED, f"slice {request.slice!r} reaches none of its other clusters ({lost})")

    def _ready(self, name: str) -> None:
        situation = self._attacher.situation()
        state = situation.slice(name)
        self._attacher.kernel.channel(f"s-{state.vni:06x}")
        choose_addresses(Wish(container_id="status", interface="any", slice=name, netns=""), state, situation)

    def _wish(self, request: Request) -> Wish:
        """CNI_ARGS tell the pod; a runtime without them (cnitool) is known by its sandbox, if there is one."""
        sandbox = self._sandbox(request.container_id)
        args = request.args
        return Wish(
            container_id=request.container_id,
            interface=request.interface,
            slice=request.slice,
            netns=request.netns,
            namespace=args.get("K8S_POD_NAMESPACE") or (sandbox.namespace if sandbox else ""),
            pod=args.get("K8S_POD_NAME") or (sandbox.name if sandbox else ""),
            pod_uid=args.get("K8S_POD_UID") or (sandbox.uid if sandbox else ""),
            labels=sandbox.labels if sandbox else (),
            addresses=request.addresses,
            mac=request.mac,
            bandwidth=request.bandwidth,
            network=request.network,
        )


def check_netns(path: str) -> None:
    """CniError 8 unless `path` is a network namespace, and neither the agent's own nor a slice's or tunnel's."""
    if not netns.is_network(path):
        raise CniError(BAD_NETNS, f"CNI_NETNS {path!r} is not a network namespace")
    if netns.is_ours(path):
        raise CniError(BAD_NETNS, f"CNI_NETNS {path!r} is not a pod's network namespace, but one of Slicer's")
    _refuse_own(path)


def _refuse_own(path: str) -> None:
    own, theirs = os.stat("/proc/self/ns/net"), os.stat(path)  # noqa: PTH116  # two numbers, on the hot path
    if own.st_ino == theirs.st_ino:
        raise CniError(BAD_NETNS, f"CNI_NETNS {path!r} is the node's own network namespace")


def _named(attachment: Attachment) -> dict[str, str]:
    return {
        "container": attachment.container_id,
        "interface": attachment.interface,
        "slice": attachment.slice,
        "pod": f"{attachment.namespace}/{attachment.pod}",
    }
