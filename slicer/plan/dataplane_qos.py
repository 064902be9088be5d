"""Bandwidth: slices on the tunnels of a gateway, pods at the host end of their interface.

Everything that leaves through the tunnels of a set is led through one IFB with one HTB, a class a slice, so that
slices can lend each other what they do not use. Classes are found by u32 on source and destination, which every kernel
has; marks and priorities do not survive a veth.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from slicer.model.attachments import Attachment
from slicer.model.slices import BITS_MAX, RATE_MIN_BPS, Bandwidth, QosProfile
from slicer.plan.dataplane_topology import LocalState, SliceHere, tunnel_mtu, tunnel_ns
from slicer.plan.dataplane_values import Filter, HtbClass, Item, Link, NodePlan, Qdisc, plan_of

IFB = "ifb0"
ROOT, DEFAULT = 1, 2
"""Minor numbers: the class of the whole uplink, and the one of packets that no filter chose."""
_FIRST_MINOR, _MINORS = 0x10, 0x7F00
"""Two filters a class (IPv4, IPv6) have the preferences 2·minor and 2·minor + 1, which are 16 bits wide."""
DEFAULT_PRIORITY = 4
LEAF_PACKETS = 1000
PROTOCOL = {4: "ip", 6: "ipv6"}


def has_rates(profile: QosProfile | None) -> bool:
    """Whether the slice needs a class of its own (DSCP alone is written by the packet filter)."""
    if profile is None:
        return False
    limits = (profile.guarantee_bps, profile.ceiling_bps)
    return limits != (None, None) or profile.priority != DEFAULT_PRIORITY


def plan_slice_rates(number: int, slices: Sequence[SliceHere], local: LocalState) -> Iterator[Item]:
    """One HTB for the tunnel set, present while one of its slices has rates."""
    shaped = [here for here in slices if has_rates(here.qos)]
    if not shaped:
        return
    ns, uplink = tunnel_ns(number), local.uplink_bps or BITS_MAX
    yield Link(ns=ns, name=IFB, kind="ifb", mtu=tunnel_mtu(local.underlay_mtu))
    yield Qdisc(ns=ns, dev=IFB, parent="root", handle="1:", kind="htb", default=DEFAULT)
    yield HtbClass(ns=ns, dev=IFB, parent="root", classid=_class(ROOT), rate_bps=uplink, ceil_bps=uplink)
    yield from _slice_class(ns, DEFAULT, QosProfile(), uplink, local.leaf)
    minors = _minors({f"{here.vni:06x}": here.vni for here in shaped})
    for here in shaped:
        minor = minors[f"{here.vni:06x}"]
        yield from _slice_class(ns, minor, here.qos or QosProfile(), uplink, local.leaf)
        yield from _slice_filters(ns, minor, here)
    for tunnel in local.tunnels:
        if tunnel.tunnel_set == number:
            yield from _redirect(ns, tunnel.device, "egress")


def _slice_class(ns: str, minor: int, profile: QosProfile, uplink: int, leaf: str) -> Iterator[Item]:
    yield HtbClass(
        ns=ns,
        dev=IFB,
        parent=_class(ROOT),
        classid=_class(minor),
        rate_bps=profile.guarantee_bps or RATE_MIN_BPS,
        ceil_bps=profile.ceiling_bps or uplink,
        prio=profile.priority,
    )
    yield _leaf(ns, minor, leaf)


def _slice_filters(ns: str, minor: int, here: SliceHere) -> Iterator[Filter]:
    for prefix in here.prefixes:
        yield Filter(
            ns=ns,
            dev=IFB,
            parent="1:",
            pref=_pref(minor, prefix.version),
            protocol=PROTOCOL[prefix.version],
            src=prefix,
            dst=prefix,
            flowid=_class(minor),
        )


def _redirect(ns: str, dev: str, direction: str) -> Iterator[Item]:
    """Everything that goes in this direction passes the IFB first and then goes on as before."""
    yield Qdisc(ns=ns, dev=dev, parent="clsact", handle="ffff:", kind="clsact")
    yield Filter(ns=ns, dev=dev, parent=direction, pref=1, protocol="all", redirect=IFB)


def plan_pod_rates(ns: str, attachments: Iterable[Attachment], leaf: str, mtu: int) -> Iterator[Item]:
    """Rates of the pods of one slice on this node: into the pod by TBF, out of it by a class of the namespace's IFB."""
    limited = {a.host_interface: a for a in attachments if a.bandwidth is not None}
    for name, attachment in sorted(limited.items()):
        rates = attachment.bandwidth
        if rates is not None and rates.ingress_bps is not None:
            yield Qdisc(
                ns=ns,
                dev=name,
                parent="root",
                handle="1:",
                kind="tbf",
                rate_bps=rates.ingress_bps,
                burst_bytes=(rates.ingress_burst_bits or 0) // 8,
            )
    senders = {name: a for name, a in limited.items() if a.bandwidth and a.bandwidth.egress_bps is not None}
    if not senders:
        return
    yield Link(ns=ns, name=IFB, kind="ifb", mtu=mtu)
    yield Qdisc(ns=ns, dev=IFB, parent="root", handle="1:", kind="htb")
    minors = _minors({name: crc32(name.encode()) for name in senders})
    for name, attachment in sorted(senders.items()):
        yield from _pod_sends(ns, attachment, minors[name], leaf)


def _pod_sends(ns: str, attachment: Attachment, minor: int, leaf: str) -> Iterator[Item]:
    rates = attachment.bandwidth
    if rates is None or rates.egress_bps is None:
        return
    yield HtbClass(
        ns=ns,
        dev=IFB,
        parent="root",
        classid=_class(minor),
        rate_bps=rates.egress_bps,
        ceil_bps=rates.egress_bps,
        burst_bytes=(rates.egress_burst_bits or 0) // 8,
    )
    yield _leaf(ns, minor, leaf)
    for address in attachment.addresses:
        yield Filter(
            ns=ns,
            dev=IFB,
            parent="1:",
            pref=_pref(minor, address.version),
            protocol=PROTOCOL[address.version],
            src=ipaddress.ip_network(address),
            flowid=_class(minor),
        )
    yield from _redirect(ns, attachment.host_interface, "ingress")


def _leaf(ns: str, minor: int, kind: str) -> Qdisc:
    limit = LEAF_PACKETS if kind == "pfifo" else 0
    return Qdisc(ns=ns, dev=IFB, parent=_class(minor), handle=f"{minor:x}:", kind=kind, limit=limit)


def _class(minor: int) -> str:
    return f"1:{minor:x}"


def _pref(minor: int, version: int) -> int:
    return 2 * minor + (version == 6)


def _minors(wishes: dict[str, int]) -> dict[str, int]:
    """A class number for each name, near its wish: it moves only if another name with the same wish comes or goes."""
    taken: dict[int, str] = {}
    for name in sorted(wishes):
        minor = wishes[name] % _MINORS
        while minor in taken:
            minor = (minor + 1) % _MINORS
        taken[minor] = name
    return {name: minor + _FIRST_MINOR for minor, name in taken.items()}


def scope_of_pods(ns: str, plan: NodePlan) -> NodePlan:
    """The part of an observed plan that `plan_pod_rates` answers for."""
    links = [link for link in plan.links if (link.ns, link.name) == (ns, IFB)]
    shaping: tuple[Item, ...] = (*plan.qdiscs, *plan.classes, *plan.filters)
    return plan_of([*links, *(item for item in shaping if item.ns == ns)])


def read_pod_rates(plan: NodePlan, ns: str, attachment: Attachment) -> Bandwidth:
    """The rates that an observed plan keeps for one pod."""
    dev = attachment.host_interface
    into = [qdisc.rate_bps for qdisc in plan.qdiscs if (qdisc.ns, qdisc.dev, qdisc.kind) == (ns, dev, "tbf")]
    sources = {ipaddress.ip_network(address) for address in attachment.addresses}
    chosen = {f.flowid for f in plan.filters if (f.ns, f.dev) == (ns, IFB) and f.src in sources}
    out = [c.rate_bps for c in plan.classes if (c.ns, c.dev) == (ns, IFB) and c.classid in chosen]
    led_there = any((f.ns, f.dev, f.redirect) == (ns, dev, IFB) for f in plan.filters)
    return Bandwidth(ingress_bps=into[0] if into else None, egress_bps=out[0] if out and led_there else None)
