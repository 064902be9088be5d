"""What has to change so that the observed data plane becomes the desired one: ordered commands, additions first.

Whole values are compared, so that a setting missing from the wish is reset. Applying the changes and observing again
gives an empty diff, or a shorter one where an object had to be made anew and took others along.
"""

from __future__ import annotations

from dataclasses import fields

from slicer.plan.dataplane_commands import Change, delete, put
from slicer.plan.dataplane_values import Item, Link, Namespace, NodePlan, Qdisc, Sysctl, WgPeer, list_of, order

POD_LINKS = "p"
"""Host ends of pods: made and removed by the attach path, together with their routes and neighbours."""


def diff(desired: NodePlan, observed: NodePlan) -> tuple[Change, ...]:
    """The changes in the order in which they are to be made."""
    puts: list[Change] = []
    deletes: list[Change] = []
    gone = _gone(desired, observed)
    for kind in fields(NodePlan):
        want = {item.key: item for item in getattr(desired, kind.name)}
        have = {item.key: item for item in getattr(observed, kind.name)}
        for key, item in want.items():
            if not _same(item, have.get(key)):
                puts += put(_settled(item, have.get(key)), have.get(key))
        extra = [item for key, item in have.items() if key not in want and not _spared(item, gone)]
        deletes += [change for item in sorted(extra, key=order) for change in delete(item)]
    return (*sorted(puts, key=_phase), *sorted(deletes, key=_phase, reverse=True))


_PHASES = [kind.name for kind in fields(NodePlan)]


def _phase(change: Change) -> int:
    """When an object is added: as the lists of a plan stand, but the queue of a class after the class."""
    item = change.item
    leaf = isinstance(item, Qdisc) and item.parent not in {"root", "clsact"}
    return 2 * _PHASES.index("classes" if leaf else list_of(item)) + leaf


def _same(desired: Item, observed: Item | None) -> bool:
    if isinstance(desired, Link) and isinstance(observed, Link) and not desired.mac:
        observed = _with_mac(observed, "")
    return _settled(desired, observed) == observed


def _with_mac(link: Link, mac: str) -> Link:
    return Link(ns=link.ns, name=link.name, kind=link.kind, mtu=link.mtu, mac=mac, up=link.up, vxlan=link.vxlan)


def _settled(desired: Item, observed: Item | None) -> Item:
    """A peer with a session keeps the endpoint it roamed to: that is where its packets come from."""
    if isinstance(desired, WgPeer) and isinstance(observed, WgPeer) and observed.alive:
        return WgPeer(
            ns=desired.ns,
            dev=desired.dev,
            public_key=desired.public_key,
            endpoint=observed.endpoint,
            allowed_ips=desired.allowed_ips,
            keepalive_s=desired.keepalive_s,
        )
    return desired


def _gone(desired: NodePlan, observed: NodePlan) -> set[tuple[object, ...]]:
    """Namespaces and links that are to go: what is in them goes along."""
    return {item.key for kind in ("namespaces", "links") for item in getattr(observed, kind)} - {
        item.key for kind in ("namespaces", "links") for item in getattr(desired, kind)
    }


def _spared(item: Item, gone: set[tuple[object, ...]]) -> bool:
    """Whether an object that nobody wants is left alone: it goes with another, or is not ours to remove."""
    if isinstance(item, Namespace | Link):
        return False
    dev = getattr(item, "dev", "")
    if isinstance(item, Sysctl) or (item.ns,) in gone or (item.ns, dev) in gone:
        return True
    return dev.startswith(POD_LINKS) and type(item).__name__ in {"Route", "Neighbour"}
