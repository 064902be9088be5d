"""Puts planned changes into the kernel, in their order; what fails is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from slicer.kernel import commands
from slicer.kernel.commands import Errors
from slicer.kernel.keys import Keys
from slicer.kernel.nft import NftReader
from slicer.kernel.observer import Observer
from slicer.kernel.wireguard import PeerWish, Place, WireGuard
from slicer.plan.dataplane_commands import Change, Verb
from slicer.plan.dataplane_values import Link, WgDevice, WgPeer


class Applier:
    """Runs changes by the tool that each one names."""

    def __init__(self, observer: Observer, nft: NftReader, wireguard: WireGuard | None, keys: Keys) -> None:
        self._observer = observer
        self._nft = nft
        self._wireguard = wireguard
        self._keys = keys

    def apply(self, changes: Sequence[Change]) -> Errors:
        """Run them all; the errors of those that failed."""
        errors: Errors = {}
        tools: dict[str, Callable[[list[Change]], Errors]] = {
            "netns": self._namespaces,
            "nft": self._tables,
            "sysctl": commands.run_sysctls,
            "wireguard": self._devices,
            "wg": self._wg,
        }
        for run in commands.runs(changes):
            try:
                errors |= tools.get(run[0].tool, commands.run_batch)(run)
            except (OSError, ValueError) as error:
                errors |= dict.fromkeys(run, str(error))
        return errors

    def _namespaces(self, changes: Sequence[Change]) -> Errors:
        errors: Errors = {}
        for change in changes:
            if change.verb is Verb.DELETE:
                self._observer.forget(change.item.ns)
            errors |= commands.run_netns(change)
        return errors

    def _tables(self, changes: Sequence[Change]) -> Errors:
        errors: Errors = {}
        for change in changes:
            errors |= commands.run_nft(change)
            if change not in errors:
                self._nft.loaded(change.ns)
        return errors

    def _devices(self, changes: Sequence[Change]) -> Errors:
        back_end = self._back_end()
        errors: Errors = {}
        for change in changes:
            link = change.item
            assert isinstance(link, Link)
            try:
                if change.verb is Verb.DELETE or "delete" in change.text:
                    back_end.delete(Place(link.ns, link.name))
                else:
                    back_end.create(Place(link.ns, link.name), link.mtu)
            except OSError as error:
                errors[change] = str(error)
        return errors

    def _wg(self, changes: Sequence[Change]) -> Errors:
        """Keys first as planned; all peers of one device in one operation, so that a moved prefix is never nobody's."""
        errors: Errors = {}
        for device, group in groupby(changes, key=_device_of):
            run = list(group)
            try:
                self._configure(Place(run[0].ns, device), run)
            except OSError as error:
                errors |= dict.fromkeys(run, str(error))
        return errors

    def _configure(self, device: Place, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change.item, WgDevice):
                key = self._keys.private(change.item.tunnel)
                self._back_end().set_key(device, key, change.item.port)
        peers = tuple(_wish(change.item, change.verb) for change in changes if isinstance(change.item, WgPeer))
        if peers:
            self._back_end().set_peers(device, peers)

    def _back_end(self) -> WireGuard:
        if self._wireguard is None:
            raise OSError("this node has neither kernel WireGuard nor wireguard-go")
        return self._wireguard


def _device_of(change: Change) -> str:
    item = change.item
    return item.name if isinstance(item, WgDevice) else item.dev if isinstance(item, WgPeer) else ""


def _wish(peer: WgPeer, verb: Verb) -> PeerWish:
    if verb is Verb.DELETE:
        return PeerWish(public_key=peer.public_key, remove=True)
    return PeerWish(
        public_key=peer.public_key,
        endpoint=peer.endpoint,
        allowed_ips=peer.allowed_ips,
        keepalive_s=peer.keepalive_s,
    )
