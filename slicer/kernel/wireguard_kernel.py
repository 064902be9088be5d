"""WireGuard by the kernel, over pyroute2's generic netlink.

A device is made from the host's namespace straight into its own: its UDP socket stays in the host's. `make test-kernel`
runs it on a kernel that has WireGuard.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from slicer.kernel import netns
from slicer.kernel.commands import run_host
from slicer.kernel.wireguard import DeviceState, PeerState, PeerWish, Place, Secret, by_family

_ALLOWED_A_MESSAGE = 500
"""A netlink attribute holds 64 KiB; an allowed address takes up to 36 bytes."""


class KernelWireGuard:
    """The back end for kernels with WireGuard."""

    name = "kernel"

    def create(self, device: Place, mtu: int) -> None:
        made = ("name", device.name, "netns", device.ns, "mtu", str(mtu), "type", "wireguard")
        run_host("ip", "link", "add", *made)

    def delete(self, device: Place) -> None:
        with suppress(OSError):
            run_host("ip", "-n", device.ns, "link", "delete", "dev", device.name)

    def read(self, device: Place) -> DeviceState | None:
        with suppress(OSError), _opened(device.ns) as wireguard:
            return parse_messages(wireguard.info(device.name))
        return None

    def set_key(self, device: Place, key: Secret, port: int) -> None:
        with _opened(device.ns) as wireguard:
            wireguard.set(device.name, private_key=key.text, listen_port=port)

    def set_peers(self, device: Place, peers: tuple[PeerWish, ...]) -> None:
        with _opened(device.ns) as wireguard:
            for peer in peers:
                for message in peer_messages(peer):
                    wireguard.set(device.name, peer=message)


@contextmanager
def _opened(ns: str) -> Iterator[Any]:
    """A socket of the namespace; pyroute2's errors become OSError."""
    from pyroute2 import WireGuard
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with netns.entered(netns.path_of(ns)), WireGuard() as wireguard:
            yield wireguard
    except NetlinkError as error:
        raise OSError(error.code, f"WireGuard: {error}") from error


def peer_messages(peer: PeerWish) -> Iterator[dict[str, object]]:
    """The peer as pyroute2 takes it: the first message replaces the allowed addresses, the others add to them."""
    if peer.remove:
        yield {"public_key": peer.public_key, "remove": True}
        return
    first: dict[str, object] = {
        "public_key": peer.public_key,
        "persistent_keepalive": peer.keepalive_s,
        "replace_allowed_ips": True,
    }
    if peer.endpoint is not None:
        first |= {"endpoint_addr": str(peer.endpoint[0]), "endpoint_port": peer.endpoint[1]}
    allowed = [str(prefix) for prefix in peer.allowed_ips]
    yield first | {"allowed_ips": allowed[:_ALLOWED_A_MESSAGE]}
    for start in range(_ALLOWED_A_MESSAGE, len(allowed), _ALLOWED_A_MESSAGE):
        part = allowed[start : start + _ALLOWED_A_MESSAGE]
        yield {"public_key": peer.public_key, "update_only": True, "allowed_ips": part}


def parse_messages(messages: Iterable[Any]) -> DeviceState:
    """The device that these messages describe; a peer with many allowed addresses comes in several pieces."""
    public_key, port = "", 0
    pieces: dict[str, list[Any]] = {}
    for message in messages:
        public_key = _unless_zero(_text(message.get_attr("WGDEVICE_A_PUBLIC_KEY"))) or public_key
        port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or port
        for piece in message.get_attr("WGDEVICE_A_PEERS") or ():
            pieces.setdefault(_text(piece.get_attr("WGPEER_A_PUBLIC_KEY")), []).append(piece)
    peers = tuple(_peer(key, found) for key, found in sorted(pieces.items()))
    return DeviceState(public_key=public_key, port=port, peers=peers)


def _peer(public_key: str, pieces: Sequence[Any]) -> PeerState:
    first = pieces[0]
    handshake = first.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    endpoint: Mapping[str, Any] | None = first.get_attr("WGPEER_A_ENDPOINT")
    allowed = {
        ipaddress.ip_network(entry["addr"]) for piece in pieces for entry in piece.get_attr("WGPEER_A_ALLOWEDIPS") or ()
    }
    return PeerState(
        public_key=public_key,
        endpoint=(ipaddress.ip_address(endpoint["addr"]), int(endpoint["port"])) if endpoint else None,
        allowed_ips=tuple(sorted(allowed, key=by_family)),
        keepalive_s=first.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        handshake_at_s=(handshake["tv_sec"] or None) if handshake else None,
        rx_bytes=first.get_attr("WGPEER_A_RX_BYTES") or 0,
        tx_bytes=first.get_attr("WGPEER_A_TX_BYTES") or 0,
    )


def _text(key: Any) -> str:
    """A key in base64."""
    return key.decode() if isinstance(key, bytes) else str(key or "")


def _unless_zero(key: str) -> str:
    """A device without a key has one of 32 zero bytes; of a peer that would be a key like any other."""
    return "" if key.strip("A=") == "" else key
