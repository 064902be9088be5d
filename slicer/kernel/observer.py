"""The whole node, read: every namespace of ours with its devices, tables, settings and WireGuard's own state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from time import time

from slicer.kernel import netns
from slicer.kernel.nft import NftReader
from slicer.kernel.observe import NamespaceReader, read_sysctls
from slicer.kernel.wireguard import DeviceState, PeerState, Place, WireGuard
from slicer.plan.dataplane_values import Item, Link, Namespace, NodePlan, Sysctl, WgDevice, WgPeer, collect

SESSION_S = 180
"""WireGuard's reject-after-time: without a handshake in this time there is no session."""
DEAD = "dead"
"""Kind of a WireGuard device that nothing serves any more: no wish is like it, so it is made anew."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there, and the host ends of pods as (namespace, name): those belong to the attach path."""

    plan: NodePlan
    pod_links: frozenset[tuple[str, str]]
    wireguard: tuple[tuple[WgDevice, DeviceState], ...]


class Observer:
    """Reads the node; keeps a socket in each of our namespaces from one reading to the next."""

    def __init__(self, nft: NftReader, wireguard: WireGuard | None) -> None:
        self._nft = nft
        self._wireguard = wireguard
        self._readers: dict[str, NamespaceReader] = {}
        self._devices: tuple[WgDevice, ...] = ()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._nft.close()

    def forget(self, ns: str) -> None:
        """Let go of a namespace that is to be removed: an open socket would keep it alive."""
        if ns in self._readers:
            self._readers.pop(ns).close()
        self._nft.forget(ns)

    def read(self) -> Observed:
        """Everything of ours but the kernel's settings."""
        items: list[Item] = []
        pods: set[tuple[str, str]] = set()
        states: list[tuple[WgDevice, DeviceState]] = []
        present = netns.names()
        for ns in self._readers.keys() - set(present):
            self.forget(ns)
        for ns in present:
            found, names = self._reader(ns).read()
            table = self._nft.read(ns)
            items += [Namespace(ns=ns), *([table] if table else []), *found]
            pods |= {(ns, name) for name in names}
        for link in [item for item in items if isinstance(item, Link) and item.kind == "wireguard"]:
            items += self._wireguard_items(link, states)
        self._devices = tuple(device for device, _ in states)
        return Observed(collect(items), frozenset(pods), tuple(states))

    def read_wireguard(self) -> list[tuple[WgDevice, DeviceState]]:
        """The WireGuard devices of the last reading, as they are now."""
        found = [(device, self._wireguard_state(device.ns, device.name)) for device in self._devices]
        return [(device, state) for device, state in found if state is not None]

    def read_sysctls(self, wanted: Sequence[Sysctl]) -> tuple[Sysctl, ...]:
        """These settings as they are, in namespaces that exist."""
        found: list[Sysctl] = []
        for ns, group in groupby(wanted, key=lambda sysctl: sysctl.ns):
            found += read_sysctls(ns, list(group)) if ns in self._readers else []
        return tuple(found)

    def _reader(self, ns: str) -> NamespaceReader:
        reader = self._readers.get(ns)
        if reader is None or not reader.is_current():
            if reader is not None:
                reader.close()
            reader = self._readers[ns] = NamespaceReader(ns)
        return reader

    def _wireguard_state(self, ns: str, name: str) -> DeviceState | None:
        return self._wireguard.read(Place(ns, name)) if self._wireguard else None

    def _wireguard_items(self, link: Link, states: list[tuple[WgDevice, DeviceState]]) -> Iterator[Item]:
        state = self._wireguard_state(link.ns, link.name)
        if state is None:
            yield replace(link, kind=DEAD)
            return
        device = WgDevice(ns=link.ns, name=link.name, port=state.port, public_key=state.public_key)
        states.append((device, state))
        yield device
        yield from (_peer(device, peer) for peer in state.peers)


def _peer(device: WgDevice, peer: PeerState) -> WgPeer:
    return WgPeer(
        ns=device.ns,
        dev=device.name,
        public_key=peer.public_key,
        endpoint=peer.endpoint,
        allowed_ips=peer.allowed_ips,
        keepalive_s=peer.keepalive_s,
        alive=peer.handshake_at_s is not None and time() - peer.handshake_at_s < SESSION_S,
    )
