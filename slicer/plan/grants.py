"""Which addresses belong to which pod, wherever in its cluster it runs: what the member grants.

An address of a node's own block is that node's to give, and nobody else is asked. A grant is for the rest: a fixed
address (annotation, membership) that lies outside the block of the node where the pod starts, and the address of a pod
with an identity (StatefulSet), which comes along when the pod moves.

    wish, membership, StatefulSet pod ──▶ grant, not ready ──▶ every node of the cluster sees it, and gives it to
    nobody else ──▶ the node whose block has it yields ──▶ grant, ready ──▶ the pod may have it on any node

So an address is never in use twice, although nobody is asked when a pod attaches: before a grant is ready, the only
node that could give the address away has said that it will not.

Pure. Caller: the controller's member role, for each slice after each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from slicer.model.attachments import AddressGrant, AddressWish, AddressYield, Attachment, AttachmentState
from slicer.model.clusters import NodeBlocks
from slicer.model.documents import key_of
from slicer.model.names import Address, Prefix
from slicer.model.slices import Membership

STATEFUL_LABEL = "statefulset.kubernetes.io/pod-name"
"""Kubernetes' StatefulSet controller writes the pod's own name under it."""

T = TypeVar("T", NodeBlocks, AddressGrant, AddressWish, AddressYield, Attachment, Membership)
Who = tuple[str, str]
"""(namespace, pod)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What one slice of one cluster looks like to whoever grants; other slices' and clusters' values do no harm."""

    slice: str
    cluster: str
    blocks: tuple[Prefix, ...]
    """Of the cluster."""
    nodes: tuple[NodeBlocks, ...] = ()
    resting: tuple[Prefix, ...] = ()
    """Node blocks that were released a moment ago."""
    held: tuple[AddressGrant, ...] = ()
    expired: frozenset[str] = frozenset()
    """Keys of grants that nobody has used for so long that they end."""
    ending: frozenset[str] = frozenset()
    """Keys of grants that end soon: nobody may begin to use them, so that nobody does when they are gone."""
    wishes: tuple[AddressWish, ...] = ()
    memberships: tuple[Membership, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    """Oldest first: of two nodes that say they have a pod, the last is right."""
    yields: tuple[AddressYield, ...] = ()


class _Books:
    """The claims of one slice and cluster, found by pod and by address."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.held = {(grant.namespace, grant.pod): grant for grant in self._own(claims.held)}
        self.asked: dict[Who, list[Address]] = {}
        askers: tuple[AddressWish | Membership, ...] = (*self._own(claims.memberships), *self._own(claims.wishes))
        for one in askers:
            if one.pod is not None and one.addresses:
                self.asked.setdefault((one.namespace, one.pod), []).extend(one.addresses)
        self.users: dict[Address, list[Attachment]] = {}
        self._attachments: dict[Who, list[Attachment]] = {}
        for attachment in self._own(claims.attachments):
            if attachment.pod and attachment.state is AttachmentState.ATTACHED:
                self._attachments.setdefault((attachment.namespace, attachment.pod), []).append(attachment)
                for address in attachment.addresses:
                    self.users.setdefault(address, []).append(attachment)
        self._nodes = self._own(claims.nodes)
        blocks = [(block, node.node) for node in self._nodes for block in node.blocks]
        self._homes = {(block.version, _shift(block), int(block[0]) >> _shift(block)): name for block, name in blocks}
        self._shifts = sorted({(version, shift) for version, shift, _ in self._homes})
        self._routers = {router for node in self._nodes for router in node.router_addresses()}
        self.yielded = {(one.node, address) for one in self._own(claims.yields) for address in one.addresses}

    def pods(self) -> list[Who]:
        """Everybody who could have a grant; most pods have what their node gave them, and cannot."""
        return sorted({*self.held, *self.asked, *(who for who, there in self._attachments.items() if self._any(there))})

    def _any(self, attachments: Iterable[Attachment]) -> bool:
        return any(is_stateful(a) or any(self.home(address) != a.node for address in a.addresses) for a in attachments)

    def placed(self, who: Who) -> list[Attachment]:
        """The pod's attachments on the node where it is; by interface."""
        mine = self._attachments.get(who, [])
        return sorted((a for a in mine if a.node == mine[-1].node), key=lambda a: a.interface)

    def home(self, address: Address) -> str:
        """The node whose blocks have the address; empty if none has."""
        version, number = address.version, int(address)
        for family, shift in self._shifts:
            if family == version and (name := self._homes.get((version, shift, number >> shift))):
                return name
        return ""

    def is_grantable(self, address: Address) -> bool:
        """Whether the cluster may give it to a pod: it lies in the cluster's blocks and is no node's router address."""
        return address not in self._routers and any(address in block for block in self.claims.blocks)

    def _own(self, values: Iterable[T]) -> tuple[T, ...]:
        """Without what belongs to other slices or clusters."""
        return tuple(v for v in values if (v.slice, v.cluster) == (self.claims.slice, self.claims.cluster))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What one pod is to have; most have none."""

    addresses: tuple[Address, ...]
    sticky: bool
    vacant: bool
    """Nobody asks and nothing is attached: the grant only rests."""


def plan_grants(claims: Claims) -> tuple[list[AddressGrant], set[str]]:
    """All grants of the slice in the cluster, by namespace and pod; and the keys of those that are vacant.

    A vacant grant is one that was held, that nobody asks for and no attachment has: it ends when it has rested enough.
    """
    books = _Books(claims)
    wanted = {who: claim for who in books.pods() if (claim := _claim(who, books)).addresses}
    owners = _owners(wanted, books)
    grants = []
    for who, claim in wanted.items():
        mine = tuple(address for address in claim.addresses if owners.get(address) == who)
        if mine:
            grants.append(_grant(who, mine, books, sticky=claim.sticky))
    vacant = {who for who, claim in wanted.items() if claim.vacant}
    return grants, {key_of(grant) for who, grant in books.held.items() if who in vacant}


def is_stateful(attachment: Attachment) -> bool:
    """Whether the pod has an identity that outlives it."""
    return dict(attachment.labels).get(STATEFUL_LABEL) == attachment.pod


def router_clashes(grants: Iterable[AddressGrant], pools: Iterable[tuple[Prefix, int]]) -> Iterator[Prefix]:
    """The blocks of 2**bits addresses, in pools of (prefix, bits), whose router address is a pod's: no node's first."""
    granted = [address for grant in grants for address in grant.addresses]
    for pool, bits in pools:
        for address in granted:
            if address in pool:
                block = type(pool)((int(address) >> bits << bits, pool.max_prefixlen - bits))
                if address in NodeBlocks(slice="any", cluster="any", node="any", blocks=(block,)).router_addresses():
                    yield block


def _claim(who: Who, books: _Books) -> _Claim:
    held, asked, there = books.held.get(who), books.asked.get(who, []), books.placed(who)
    attached = [address for attachment in there for address in attachment.addresses]
    before = held.addresses if held and key_of(held) not in books.claims.expired else ()
    stateful = any(map(is_stateful, there)) or bool(held and held.sticky and before)
    if not asked and stateful:
        # Between two starts, and while its interfaces come one by one, the pod keeps all that it had.
        addresses = before if set(attached) <= set(before) else tuple(attached)
        return _Claim(addresses=addresses, sticky=True, vacant=not there)
    foreign = [a for attachment in there for a in attachment.addresses if books.home(a) != attachment.node]
    live = {*asked, *foreign, *(set(attached) & set(before))}
    vacant = not asked and not there
    kept = before if vacant else tuple(address for address in before if address in live)
    return _Claim(addresses=_unique([*kept, *foreign, *asked]), sticky=False, vacant=vacant)


def _owners(wanted: dict[Who, _Claim], books: _Books) -> dict[Address, Who]:
    """Who gets each address: whoever has it, then who is attached with it, then who asks; what rests comes last."""
    queue = []
    for who, claim in wanted.items():
        attached = {address for attachment in books.placed(who) for address in attachment.addresses}
        before = books.held[who].addresses if who in books.held else ()
        for address in filter(books.is_grantable, claim.addresses):
            if address in before and (claim.sticky or not claim.vacant):
                rank = 0
            else:
                rank = 3 if claim.vacant else 1 if address in attached else 2
            queue.append((rank, who, address))
    owners: dict[Address, Who] = {}
    for _, who, address in sorted(queue, key=lambda entry: entry[:2]):
        owners.setdefault(address, who)
    return owners


def _grant(who: Who, addresses: tuple[Address, ...], books: _Books, *, sticky: bool) -> AddressGrant:
    held, name = books.held.get(who), books.claims.slice
    promised = held.addresses if held and held.ready else ()
    reasons = [text for address in addresses if address not in promised and (text := _against(address, who, books))]
    if held and key_of(held) in books.claims.ending:
        reasons.append(f"pod {who[0]}/{who[1]} has not had its addresses of slice {name!r} for long: they end")
    return AddressGrant(
        slice=name,
        cluster=books.claims.cluster,
        namespace=who[0],
        pod=who[1],
        addresses=addresses,
        sticky=sticky,
        ready=not reasons,
        node=_holder(who, addresses, books),
        message=reasons[0] if reasons else "",
    )


def _against(address: Address, who: Who, books: _Books) -> str:
    """Why the address may not be used yet; empty if it may."""
    what = f"address {address} of slice {books.claims.slice!r}"
    for user in books.users.get(address, ()):
        if (user.namespace, user.pod) != who:
            return f"{what} is in use by {user.namespace}/{user.pod} on node {user.node!r}"
    home = books.home(address)
    if home:
        return (
            "" if (home, address) in books.yielded else f"{what} is in the block of node {home!r}, which still has it"
        )
    rests = any(address in block for block in books.claims.resting)
    return f"{what} was in use a moment ago, and rests" if rests else ""


def _holder(who: Who, addresses: tuple[Address, ...], books: _Books) -> str:
    """The node to which the addresses need routes of their own."""
    for attachment in books.placed(who):
        if any(a in addresses and books.home(a) != attachment.node for a in attachment.addresses):
            return attachment.node
    return ""


def _shift(block: Prefix) -> int:
    """How many bits of an address say which one of the block it is."""
    return block.max_prefixlen - block.prefixlen


def _unique(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(addresses))
