"""The attach path: a pod's veth, its addresses, routes and neighbours, in two netlink batches; gone again in one.

    pod netns                                    slice netns s-<vni>
    net1: address /32, /128 (nodad)   veth       p<8 hex>: up, no address
      route prefix via 169.254.1.1 onlink ------ route address/32 dev p<8 hex> proto 83
      neighbour 169.254.1.1 -> HOST_MAC          neighbour address -> MAC of net1

Measured reasons for the shape (docs/reference/cni.md): the peer is born in the pod's namespace, because moving a link
costs a barrier under RTNL; one queue each, because more wait for a grace period; deletion is "down and into the dead
group" now, and one message for the whole group a moment later, because each delete alone waits 20 ms.
Callers: the agent's attacher. Who gets which address is decided before (`slicer.plan.attach`).
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from slicer.kernel import netns
from slicer.kernel.rtnl import (
    CREATE,
    DELLINK,
    EXCL,
    GETLINK,
    NEWADDR,
    NEWLINK,
    NEWNEIGH,
    NEWROUTE,
    REPLACE,
    SETLINK,
    Channel,
    KernelError,
    Message,
    attribute,
    mac_bytes,
    nested,
    text,
    u32,
)
from slicer.model.errors import ConflictError, NotFoundError, SlicerError, UnavailableError
from slicer.model.names import Address, Prefix
from slicer.plan.attach import HOST_MAC
from slicer.plan.dataplane_slice import NEXT_HOP
from slicer.plan.dataplane_topology import slice_ns
from slicer.plan.dataplane_values import ROUTE_PROTOCOL

DEAD_GROUP = 777
"""Link group of the host ends that wait for their deletion."""
REAP_DELAY_S = 0.05
"""Long enough that a burst of DELs ends in one deletion, short enough that nobody sees the remains."""
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_GROUP, _IFLA_NET_NS_FD = 1, 3, 4, 18, 27, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTNH_F_ONLINK, _RT_TABLE_MAIN, _RTN_UNICAST, _SCOPE_LINK = 4, 254, 1, 253
_NUD_PERMANENT, _NDA_DST, _NDA_LLADDR = 0x80, 1, 2
_ONE_QUEUE = attribute(_IFLA_NUM_TX_QUEUES, u32(1)) + attribute(_IFLA_NUM_RX_QUEUES, u32(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What one attachment looks like in the kernel."""

    vni: int
    netns: str
    """Path of the pod's namespace."""
    name: str
    """In the pod."""
    mac: str
    mtu: int
    host_name: str
    """In the slice's namespace; made by `new_host_name`, it tells both ends' interface index as well."""
    addresses: tuple[Address, ...]
    prefixes: tuple[Prefix, ...]
    """What the pod reaches through this interface."""
    metric: int = 0
    """0, or more for the second, third … interface of one pod in the same slice."""

    @property
    def index(self) -> int:
        """Interface index of both ends."""
        return int(self.host_name[1:], 16)


def new_host_name() -> str:
    """A host end's name, `p` and the interface index in 8 hex digits; random, so that no counter has to be kept.

    The range lies above what the kernel numbers by itself.
    """
    return f"p{(1 << 28) + secrets.randbelow(1 << 30):08x}"


def is_host_name(name: str) -> bool:
    """Whether a link of this name in a slice's namespace can only be a host end."""
    return len(name) == 9 and name[0] == "p" and all(c in "0123456789abcdef" for c in name[1:])


def new_mac() -> str:
    """A random unicast MAC address of the locally administered range."""
    return "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))


class Attacher:
    """Makes and removes pods' interfaces. Thread-safe; keeps one socket a slice namespace and a reaper thread."""

    def __init__(self, *, on_error: Callable[[str, Exception], None]) -> None:
        self._on_error = on_error
        self._lock = threading.Lock()
        self._channels: dict[str, tuple[tuple[int, int], Channel]] = {}
        self._dead: set[str] = set()
        self._wake = threading.Condition()
        self._reaping = threading.Lock()
        threading.Thread(target=self._reap_forever, name="reaper", daemon=True).start()

    def channel(self, name: str) -> Channel:
        """The socket in the slice namespace `name`; UnavailableError while there is none."""
        try:
            status = netns.path_of(name).stat()
            identity = (status.st_ino, status.st_ctime_ns)  # inode numbers alone are used again
        except FileNotFoundError:
            self.forget(name)
            raise UnavailableError(f"the network namespace {name} of the slice is not there yet") from None
        with self._lock:
            known = self._channels.get(name)
            if known and known[0] == identity:
                return known[1]
            if known:
                known[1].close()
            try:
                self._channels[name] = (identity, Channel(netns.path_of(name)))
            except OSError:  # the file of a namespace that is being made, not yet mounted
                self._channels.pop(name, None)
                raise UnavailableError(f"the network namespace {name} of the slice is not ready yet") from None
            return self._channels[name][1]

    def forget(self, name: str) -> None:
        """Let go of a slice namespace: an open socket would keep a removed one alive."""
        with self._lock:
            known = self._channels.pop(name, None)
        if known:
            known[1].close()

    def forget_removed(self) -> None:
        """Let go of all namespaces that are gone."""
        for name in list(self._channels):
            if not netns.exists(netns.path_of(name)):
                self.forget(name)

    def attach(self, wanted: Interface) -> int:
        """Make the interface and return the cookie of the pod's namespace; on any error nothing is left.

        ConflictError when the pod has an interface of that name, NotFoundError when its namespace is gone,
        UnavailableError when the slice's is not there (yet).
        """
        channel = self.channel(slice_ns(wanted.vni))
        try:
            return self._make(channel, wanted)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise _translated(error, wanted) from error
        self.reap()  # an interface that was just detached may still hold the name
        try:
            return self._make(channel, wanted)
        except KernelError as error:
            raise _translated(error, wanted) from error

    @staticmethod
    def _make(channel: Channel, wanted: Interface) -> int:
        try:
            pod = open(wanted.netns, "rb")  # noqa: SIM115  # closed by the with below
        except OSError as error:
            raise NotFoundError(f"network namespace {wanted.netns!r}: {error.strerror}") from error
        with pod:
            errors = channel.run(host_batch(wanted, pod.fileno()))
        if errors and errors[0].index == 0:
            raise errors[0]  # no veth was made: what holds the name is not ours to remove
        try:
            _raise_first(errors)
            return configure_pod(wanted)
        except BaseException:
            channel.run([_kill(wanted.host_name), _dead_group()])
            raise

    def detach(self, vni: int, host_name: str) -> None:
        """Take the host end down (its routes and neighbours go with that) and leave it to the reaper; idempotent."""
        name = slice_ns(vni)
        try:
            errors = self.channel(name).run([_kill(host_name)])
        except UnavailableError:
            return  # the slice's namespace is gone, and its links with it
        if errors and errors[0].errno != errno.ENODEV:
            raise errors[0]
        with self._wake:
            self._dead.add(name)
            self._wake.notify()

    def reap(self) -> None:
        """Delete all dead host ends now: one message, one wait a slice. Waits for a deletion that is going on."""
        with self._reaping:
            with self._wake:
                names, self._dead = self._dead, set()
            for name in names:
                self._reap_in(name)

    def _reap_in(self, name: str) -> None:
        """On a socket of its own: a deletion waits 20 ms, and whoever attaches meanwhile must not wait for it."""
        try:
            reaper = Channel(netns.path_of(name))
        except OSError:
            return  # the namespace is gone, and its links with it
        try:
            reaper.run([_dead_group()])
        except OSError as error:
            self._on_error(name, error)
        finally:
            reaper.close()

    def _reap_forever(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._dead)
            time.sleep(REAP_DELAY_S)
            self.reap()


def host_batch(wanted: Interface, pod_fd: int) -> list[Message]:
    """The veth with its peer already in the pod, a route and a neighbour for each address, in the slice's namespace."""
    return [
        Message(NEWLINK, CREATE | EXCL, _veth(wanted, pod_fd), f"interface {wanted.name} with {wanted.host_name}"),
        *(_host_route(wanted.index, address) for address in wanted.addresses),
        *(_neighbour(wanted.index, address, wanted.mac) for address in wanted.addresses),
    ]


def pod_batch(wanted: Interface) -> list[Message]:
    """Interface up, addresses, the next hops' neighbours, routes to the slice's prefixes, in the pod's namespace."""
    source = {address.version: address for address in wanted.addresses}
    up = struct.pack("=BxHiII", 0, 0, wanted.index, _IFF_UP, _IFF_UP)
    return [
        Message(SETLINK, 0, up, f"interface {wanted.name} up"),
        *(_address(wanted.index, address) for address in wanted.addresses),
        *(_neighbour(wanted.index, NEXT_HOP[version], HOST_MAC) for version in source),
        *(_pod_route(wanted, prefix, source[prefix.version]) for prefix in wanted.prefixes if prefix.version in source),
    ]


def configure_pod(wanted: Interface) -> int:
    """Run the pod's batch in its namespace and return the namespace's cookie.

    Where IPv6 is switched off, it is switched on for this interface only.
    """
    channel = Channel(wanted.netns)
    try:
        cookie = channel.cookie
        errors = channel.run(pod_batch(wanted))
        if errors and errors[0].errno in {errno.EACCES, errno.EPERM} and _has_ipv6(wanted.addresses):
            _enable_ipv6(wanted)
            errors = [e for e in channel.run(pod_batch(wanted)) if e.errno != errno.EEXIST]
    finally:
        channel.close()
    _raise_first(errors)
    return cookie


def _raise_first(errors: list[KernelError]) -> None:
    if errors:
        raise errors[0]


def _has_ipv6(addresses: Iterable[Address]) -> bool:
    return any(address.version == 6 for address in addresses)


def _enable_ipv6(wanted: Interface) -> None:
    with netns.entered(wanted.netns):
        Path(f"/proc/sys/net/ipv6/conf/{wanted.name}/disable_ipv6").write_text("0")


def _veth(wanted: Interface, pod_fd: int) -> bytes:
    link = struct.pack("=BxHiII", 0, 0, wanted.index, _IFF_UP, _IFF_UP)
    peer = struct.pack("=BxHiII", 0, 0, wanted.index, 0, 0)  # IFF_UP here is ENOTCONN: its peer does not exist yet
    mtu = attribute(_IFLA_MTU, u32(wanted.mtu)) + _ONE_QUEUE
    peer += attribute(_IFLA_IFNAME, text(wanted.name)) + attribute(_IFLA_ADDRESS, mac_bytes(wanted.mac)) + mtu
    peer += attribute(_IFLA_NET_NS_FD, u32(pod_fd))
    link += attribute(_IFLA_IFNAME, text(wanted.host_name)) + attribute(_IFLA_ADDRESS, mac_bytes(HOST_MAC)) + mtu
    # IFLA_INFO_KIND = 1, IFLA_INFO_DATA = 2, VETH_INFO_PEER = 1
    return link + nested(_IFLA_LINKINFO, attribute(1, b"veth"), nested(2, attribute(1, peer)))


def _route(prefix: Prefix, scope: int, flags: int, attributes: bytes) -> bytes:
    family = socket.AF_INET if prefix.version == 4 else socket.AF_INET6
    fixed = (family, prefix.prefixlen, 0, 0, _RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, _RTN_UNICAST, flags)
    return struct.pack("=8BI", *fixed) + attribute(_RTA_DST, prefix.network_address.packed) + attributes


def _host_route(index: int, address: Address) -> Message:
    body = _route(
        ipaddress.ip_network(address), _SCOPE_LINK if address.version == 4 else 0, 0, attribute(_RTA_OIF, u32(index))
    )
    return Message(NEWROUTE, CREATE | REPLACE, body, f"route {address} in the slice")


def _pod_route(wanted: Interface, prefix: Prefix, source: Address) -> Message:
    hop = attribute(_RTA_GATEWAY, NEXT_HOP[prefix.version].packed) + attribute(_RTA_OIF, u32(wanted.index))
    hop += attribute(_RTA_PREFSRC, source.packed)
    if wanted.metric:
        hop += attribute(_RTA_PRIORITY, u32(wanted.metric + (1024 if prefix.version == 6 else 0)))
    body = _route(prefix, 0, _RTNH_F_ONLINK, hop)
    return Message(NEWROUTE, CREATE | EXCL, body, f"route {prefix} in the pod")


def _address(index: int, address: Address) -> Message:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack("=4BI", family, address.max_prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
    body += attribute(_IFA_FLAGS, u32(_IFA_F_PERMANENT | (_IFA_F_NODAD if address.version == 6 else 0)))
    return Message(NEWADDR, CREATE | EXCL, body, f"address {address} in the pod")


def _neighbour(index: int, address: Address, mac: str) -> Message:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack("=BxxxiHBB", family, index, _NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, mac_bytes(mac))
    return Message(NEWNEIGH, CREATE | REPLACE, body, f"neighbour {address}")


def _kill(host_name: str) -> Message:
    body = struct.pack("=BxHiII", 0, 0, 0, 0, _IFF_UP) + attribute(_IFLA_IFNAME, text(host_name))
    return Message(SETLINK, 0, body + attribute(_IFLA_GROUP, u32(DEAD_GROUP)), f"interface {host_name} down")


def empty(path: Path) -> None:
    """Delete every device in the namespace at `path`; OSError if there is none.

    A namespace lives on in whatever else holds it (a mount namespace that was copied meanwhile, an open socket), and
    the pods' ends with it: so its devices go before its name does.
    """
    channel = Channel(path)
    try:
        links = [header for header, attributes in channel.dump(GETLINK) if attributes[_IFLA_IFNAME] != b"lo\0"]
        indexes = [struct.unpack_from("=i", header, 4)[0] for header in links]
        if indexes:
            channel.run([*map(_condemn, indexes), _dead_group()])
    finally:
        channel.close()


def _condemn(index: int) -> Message:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0)
    return Message(SETLINK, 0, body + attribute(_IFLA_GROUP, u32(DEAD_GROUP)), f"interface {index} condemned")


def _dead_group() -> Message:
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(_IFLA_GROUP, u32(DEAD_GROUP))
    return Message(DELLINK, 0, body, "dead interfaces")


def _translated(error: KernelError, wanted: Interface) -> SlicerError:
    """The kernel's error in the words of the attachment."""
    if error.errno == errno.EEXIST and error.index == 0:
        return ConflictError(f"interface {wanted.name!r} exists already in {wanted.netns}", reason="InterfaceExists")
    if error.errno == errno.EEXIST:
        return ConflictError(f"{wanted.netns} has it already: {error.strerror}", reason="RouteExists")
    return UnavailableError(f"interface {wanted.name!r} in {wanted.netns}: {error.strerror}")
