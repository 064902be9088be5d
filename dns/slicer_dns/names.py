"""The names that a slice server has an opinion on, as values: what a question's labels mean, and how names are spelled.

`parse_name` is the only place that knows the layout of `slice.local` and of the reverse zones. Whether the thing named
exists, and who may know of it, is left to `slicer_dns.lookup`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from slicer.model.names import Address, Prefix
from slicer.model.slices import RESERVED_SLICE_NAMES
from slicer.plan.zones import Pointer, reverse_prefix

Labels = tuple[str, ...]
"""A name: its labels without the root, lower case, the leftmost first."""

DOMAIN: Labels = ("slice", "local")
REVERSE_4: Labels = ("in-addr", "arpa")
REVERSE_6: Labels = ("ip6", "arpa")


class Kind(Enum):
    """What a name inside slice.local is."""

    APEX = auto()
    VERSION = auto()
    DNS = auto()
    NAMESERVER = auto()
    SVC = auto()
    NAMESPACE = auto()
    SERVICE = auto()
    PROTOCOL = auto()
    PORT = auto()
    HOST = auto()
    NOTHING = auto()
    """Inside the domain, and no rule makes such names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLocalName:
    """A name in slice.local; `slice` is None for the domain's own names and in KubeSlice's form, which names no
    slice.
    """

    kind: Kind
    slice: str | None = None
    namespace: str = ""
    service: str = ""
    cluster: str = ""
    host: str = ""
    port: str = ""
    protocol: str = ""
    """Lower case: `tcp`, `udp`, `sctp`."""

    def apex(self) -> Labels:
        """The top of the zone that the name is in."""
        return apex(self.slice)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseName:
    """A name in in-addr.arpa or ip6.arpa: the prefix (or, at full length, the address) that its labels stand for."""

    prefix: Prefix
    beyond: bool = False
    """There are further labels to the left that stand for nothing; `prefix` is what the valid ones say."""

    def whole(self) -> Address | None:
        """The address, if the name is that of one."""
        full = self.prefix.prefixlen == self.prefix.max_prefixlen
        return self.prefix.network_address if full and not self.beyond else None


def parse_name(labels: Labels) -> SliceLocalName | ReverseName | None:
    """What `labels` (lower case) name; None outside slice.local, in-addr.arpa and ip6.arpa."""
    if labels[-2:] == DOMAIN:
        return _parse_in_domain(labels[:-2])
    if labels[-2:] == REVERSE_4:
        return _parse_reverse(4, labels[:-2])
    if labels[-2:] == REVERSE_6:
        return _parse_reverse(6, labels[:-2])
    return None


# <relative>.slice.local                 what
# (empty), svc…, dns…, dns-version       the domain's own names, and the services of the asker's slices
# <relative>.<slice>                     the same one zone further down, in that slice
def _parse_in_domain(relative: Labels) -> SliceLocalName:
    if relative and relative[-1] not in RESERVED_SLICE_NAMES:
        return _parse_in_zone(relative[-1], relative[:-1])
    return _parse_in_zone(None, relative)


# <relative>.<zone>                                      kind
# (empty)                                                APEX
# dns-version                                            VERSION
# dns, ns.dns                                            DNS (empty non-terminal), NAMESERVER
# svc, <namespace>.svc                                   SVC, NAMESPACE (empty non-terminals)
# …<service>.<namespace>.svc                             see _parse_in_service
def _parse_in_zone(slice_: str | None, relative: Labels) -> SliceLocalName:
    match relative:
        case ():
            return SliceLocalName(kind=Kind.APEX, slice=slice_)
        case ("dns-version",):
            return SliceLocalName(kind=Kind.VERSION, slice=slice_)
        case ("dns",):
            return SliceLocalName(kind=Kind.DNS, slice=slice_)
        case ("ns", "dns"):
            return SliceLocalName(kind=Kind.NAMESERVER, slice=slice_)
        case ("svc",):
            return SliceLocalName(kind=Kind.SVC, slice=slice_)
        case (namespace, "svc"):
            return SliceLocalName(kind=Kind.NAMESPACE, slice=slice_, namespace=namespace)
        case (*more, service, namespace, "svc"):
            return _parse_in_service(slice_, namespace, service, tuple(more))
    return SliceLocalName(kind=Kind.NOTHING, slice=slice_)


# <relative>.<service>                                   kind
# (empty)                                                SERVICE
# _<protocol>                                            PROTOCOL (empty non-terminal)
# _<port>._<protocol>                                    PORT
# <host>.<cluster>                                       HOST
# <cluster>                                              NOTHING: "<clusterid>.<svc>…" MUST NOT exist (KEP-1645, DNS)
def _parse_in_service(slice_: str | None, namespace: str, service: str, relative: Labels) -> SliceLocalName:
    match relative:
        case ():
            return SliceLocalName(kind=Kind.SERVICE, slice=slice_, namespace=namespace, service=service)
        case (protocol,) if protocol.startswith("_"):
            return SliceLocalName(
                kind=Kind.PROTOCOL, slice=slice_, namespace=namespace, service=service, protocol=protocol[1:]
            )
        case (port, protocol) if port.startswith("_") and protocol.startswith("_"):
            return SliceLocalName(
                kind=Kind.PORT,
                slice=slice_,
                namespace=namespace,
                service=service,
                port=port[1:],
                protocol=protocol[1:],
            )
        case (host, cluster):
            return SliceLocalName(
                kind=Kind.HOST, slice=slice_, namespace=namespace, service=service, cluster=cluster, host=host
            )
    return SliceLocalName(kind=Kind.NOTHING, slice=slice_)


def _parse_reverse(version: int, relative: Labels) -> ReverseName:
    """The longest run of valid digits from the right, at most a whole address."""
    digits: list[int] = []
    for label in reversed(relative):
        digit = _digit(version, label)
        if digit is None or len(digits) == (4 if version == 4 else 32):
            break
        digits.append(digit)
    return ReverseName(prefix=reverse_prefix(version, tuple(digits)), beyond=len(digits) < len(relative))


def _digit(version: int, label: str) -> int | None:
    """The octet or hex digit that a label of a reverse name writes; None if it writes none (`01`, `256`, `g`)."""
    if version == 6:
        return int(label, 16) if len(label) == 1 and label in "0123456789abcdef" else None
    plain = label.isascii() and label.isdigit() and len(label) <= 3 and str(int(label)) == label
    return int(label) if plain and int(label) <= 255 else None


def apex(slice_: str | None) -> Labels:
    """The top of a slice's zone, or of slice.local itself."""
    return DOMAIN if slice_ is None else (slice_, *DOMAIN)


def reverse_apex(prefix: Prefix, address: Address) -> Labels:
    """The top of the reverse zone of `prefix` that `address` is in.

    Prefixes that end inside an octet (hex digit) are several zones, each as large as the next octet (digit) allows.
    """
    step = 8 if prefix.version == 4 else 4
    kept = -(-prefix.prefixlen // step)
    return tuple(address.reverse_pointer.split("."))[-(kept + 2) :]


def service_labels(slice_: str | None, namespace: str, service: str) -> Labels:
    """`<service>.<namespace>.svc.<zone>`."""
    return (service, namespace, "svc", *apex(slice_))


def host_labels(slice_: str | None, pointer: Pointer) -> Labels:
    """`<host>.<cluster>.<service>.<namespace>.svc.<zone>`."""
    return (pointer.host, pointer.cluster, *service_labels(slice_, pointer.namespace, pointer.service))


def fits(name: Labels) -> bool:
    """Whether a name of labels of at most 63 bytes can be a DNS name. RFC 1035, 2.3.4: "255 octets or less"."""
    return sum(len(label) + 1 for label in name) + 1 <= 255
