"""Who may do what: join tokens, client certificates, the administrator's token, and whose document is whose.

Join tokens live in the store as `token/<id>`: only the SHA-256 of the secret is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from slicer.client.files import read_if_there, write_atomic
from slicer.client.identity import JoinToken, fingerprint, is_expected, render_token
from slicer.model.attachments import (
    AddressDemand,
    AddressGrant,
    AddressWish,
    AddressYield,
    Attachment,
    EndpointSet,
    LostCluster,
    PathHealth,
    PingResult,
    TunnelHealth,
)
from slicer.model.clusters import Cluster, Gateway, MeshSilence, Node, NodeBlocks, Resolvers
from slicer.model.documents import Document, key_of
from slicer.model.errors import ConflictError, DeniedError, InvalidError, StaleError, UnauthenticatedError
from slicer.model.names import check_label, check_range, check_subdomain
from slicer.model.slices import Membership
from slicer.plan.validation import DECLARED_PREFIX, NAMESPACE_PREFIX, POD_PREFIX
from slicer_controller.ca import CertificateAuthority, parse_csr
from slicer_controller.store import Entry, Store

TTL_MAX_S = 7 * 24 * 3600
FORGET_S = 24 * 3600
_AGENT_KINDS = (
    Node,
    Attachment,
    PathHealth,
    TunnelHealth,
    LostCluster,
    MeshSilence,
    AddressDemand,
    AddressWish,
    AddressYield,
    PingResult,
)
_MEMBER_KINDS = (*_AGENT_KINDS, Gateway, NodeBlocks, EndpointSet, AddressGrant, Resolvers)


_REVOKED = "revoked/"
USER, PLATFORM = "user", "platform"
"""Who sent a peer away: a user, who has to let it in again, or the platform that lost sight of it."""
ANY = "*"
"""In a token for a cluster: one that never joined, which says its name when it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenSpec:
    """Who a join token lets in. A hub takes clusters, a member nodes and DNS servers of its cluster."""

    kind: str
    name: str
    ttl_s: int = 3600

    def __post_init__(self) -> None:
        if self.kind not in {"cluster", "node", "dns"}:
            raise InvalidError(f"kind {self.kind!r} is not cluster, node or dns")
        if self.kind == "node":
            check_subdomain("node name", self.name)
        elif (self.kind, self.name) != ("cluster", ANY):
            check_label(f"{self.kind} name", self.name)
        check_range("ttl_s", self.ttl_s, 1, TTL_MAX_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is on the other side, as its certificate says."""

    kind: str
    cluster: str
    name: str

    @classmethod
    def parse(cls, uri: str) -> Peer:
        """The peer of a certificate's URI; UnauthenticatedError for one that this controller never wrote."""
        kind, _, rest = uri.removeprefix("slicer://").partition("/")
        cluster, _, name = rest.partition("/")
        if kind not in {"cluster", "node", "dns"} or not cluster or (kind != "cluster" and not name):
            raise UnauthenticatedError(f"certificate name {uri!r} is not one of this controller's")
        return cls(kind=kind, cluster=cluster, name=name or cluster)

    @property
    def uri(self) -> str:
        """The certificate's URI."""
        return f"slicer://{self.kind}/{self.cluster}" + ("" if self.kind == "cluster" else f"/{self.name}")


class Door:
    """Lets in who has a token or a certificate."""

    def __init__(
        self, store: Store, authority: CertificateAuthority, clock: Callable[[], float], *, url: str, cluster: str
    ) -> None:
        self._store, self._authority, self._clock = store, authority, clock
        self._url, self._cluster = url, cluster

    def make_token(self, id_: str, spec: JoinTokenSpec) -> tuple[Entry, str]:
        """A new token: its record, and the text that only the answer to this call ever shows."""
        secret = secrets.token_urlsafe(24)
        record = {
            "kind": spec.kind,
            "name": spec.name,
            "ttl_s": spec.ttl_s,
            "expires_at_s": self._clock() + spec.ttl_s,
            "secret_sha256": _digest(secret),
            "used_by": None,
        }
        entry = self._store.put(f"token/{id_}", record, expected=0)
        ca = fingerprint(self._authority.pem)
        return entry, render_token(JoinToken(url=self._url, ca_sha256=ca, id=id_, secret=secret))

    def join(self, id_: str, secret: str, csr: str, expect: str | None) -> tuple[Peer, str]:
        """The peer and its certificate for a token that was never used with another key."""
        entry = self._store.get(f"token/{id_}")
        if entry is None or not hmac.compare_digest(entry.value["secret_sha256"], _digest(secret)):
            raise UnauthenticatedError(
                "the join token is not known here; it was deleted, or it is another controller's"
            )
        key = _key_digest(csr)
        peer = self._newcomer(expect) if entry.value["name"] == ANY else self._peer_of(entry)
        self._check(entry, peer, key, expect)
        self._spend(entry, peer, key)
        self._store.delete(_revoked_key(peer))
        return peer, self._authority.issue(csr, peer.uri)

    def join_as(self, peer: Peer, csr: str, expect: str | None) -> str:
        """The certificate for a peer whose platform has said who it is."""
        if expect and not is_expected(peer.uri, expect):
            raise DeniedError(f"this pod's token is for {peer.uri}, not for {expect}", reason="WrongIdentity")
        self._store.delete(_revoked_key(peer))
        return self._authority.issue(csr, peer.uri)

    def forget_expired(self) -> None:
        """Remove tokens that nobody can use any more; a day later, so that who comes too late is told why."""
        for entry in self._store.list("token/"):
            if entry.value["expires_at_s"] + FORGET_S < self._clock():
                self._store.delete(entry.key)

    def renew(self, peer: Peer, csr: str) -> str:
        """A new certificate for a peer that has one."""
        return self._authority.issue(csr, peer.uri)

    def revoke(self, peer: Peer, by: str = USER) -> None:
        """From now on the peer's certificates are worth nothing, until it joins again (or `by` readmits it)."""
        self._store.put(_revoked_key(peer), {"at_s": self._clock(), "by": by})

    def revoked(self, by: str) -> list[Peer]:
        """Whom `by` sent away, and who has not joined again."""
        entries = [entry for entry in self._store.list(_REVOKED) if entry.value.get("by") == by]
        return [Peer.parse(entry.key.removeprefix(_REVOKED)) for entry in entries]

    def readmit(self, peer: Peer) -> None:
        """The peer's certificates hold again."""
        self._store.delete(_revoked_key(peer))

    def admit(self, uri: str | None) -> Peer:
        """The peer that showed a certificate with `uri`."""
        if uri is None:
            raise UnauthenticatedError("show a client certificate of this controller (join first)")
        peer = Peer.parse(uri)
        if is_revoked(self._store, peer):
            raise UnauthenticatedError(f"{peer.kind} {peer.name!r} was deleted here; join again with a new token")
        return peer

    def _newcomer(self, expect: str | None) -> Peer:
        """The cluster that joins by a token for any: never one whose identity somebody has already."""
        name = (expect or "").removeprefix("slicer://cluster/")
        if not expect or name == expect:
            raise InvalidError("the join token is for a cluster that says its name: join as slicer://cluster/NAME")
        peer = Peer(kind="cluster", cluster=check_label("cluster name", name), name=name)
        if name == self._cluster or self._store.get(_joined_key(peer)) is not None:
            error = f"a cluster {name!r} has joined here already: take another name, or a token for {name!r}"
            raise ConflictError(error, reason="Exists")
        return peer

    def _peer_of(self, entry: Entry) -> Peer:
        kind, name = entry.value["kind"], entry.value["name"]
        return Peer(kind=kind, cluster=name if kind == "cluster" else self._cluster, name=name)

    def _check(self, entry: Entry, peer: Peer, key: str, expect: str | None) -> None:
        # Said also when its life is over: somebody else has joined with it.
        if entry.value["used_by"] not in {None, key}:
            raise _used(peer)
        if entry.value["expires_at_s"] <= self._clock():
            raise UnauthenticatedError(f"the join token for {peer.uri} has expired; make a new one", reason="Expired")
        if expect and not is_expected(peer.uri, expect):
            raise DeniedError(f"the join token is for {peer.uri}, not for {expect}", reason="WrongIdentity")

    def _spend(self, entry: Entry, peer: Peer, key: str) -> None:
        """Tie the token to one key: the same asker may repeat a join whose answer was lost, nobody else can use it."""
        if entry.value["used_by"] != key:
            spent = {**entry.value, "used_by": key, "name": peer.name}
            try:
                self._store.put(entry.key, spent, expected=entry.revision)
            except StaleError:
                raise _used(peer) from None
        if peer.kind == "cluster":
            self._store.put(_joined_key(peer), {"at_s": self._clock()})


def is_revoked(store: Store, peer: Peer) -> bool:
    """Whether the peer was deleted, and has not come back."""
    return store.get(_revoked_key(peer)) is not None


def _joined_key(peer: Peer) -> str:
    return f"joined/{peer.uri}"


def _revoked_key(peer: Peer) -> str:
    return f"{_REVOKED}{peer.uri}"


def load_admin_token(path: Path) -> str:
    """The administrator's token; made at first start (0600)."""
    found = read_if_there(path)
    if found is None:
        found = secrets.token_urlsafe(32).encode()
        write_atomic(path, found + b"\n")
    return found.decode().strip()


def check_report(peer: Peer, documents: Mapping[str, Document]) -> None:
    """DeniedError unless the peer is the author of all these documents; InvalidError for a key that does not fit."""
    for key, value in documents.items():
        if key != key_of(value):
            raise InvalidError(f"document key {key!r} does not fit its value, whose key is {key_of(value)!r}")
        if not is_author(peer, value) and not (isinstance(value, Cluster) and value.name == peer.cluster == peer.name):
            raise DeniedError(f"{peer.uri} may not report {key}")


def is_author(peer: Peer, value: Document) -> bool:
    """Whether the document is one of those that this peer alone reports."""
    if peer.kind == "cluster":
        if isinstance(value, Membership):
            return value.declared_in == value.cluster == peer.cluster and _is_named_for(value.name, peer.cluster)
        return isinstance(value, _MEMBER_KINDS) and value.cluster == peer.cluster
    if peer.kind != "node" or not isinstance(value, _AGENT_KINDS):
        return False
    node = value.name if isinstance(value, Node) else value.node
    return (value.cluster, node) == (peer.cluster, peer.name)


def _is_named_for(membership: str, cluster: str) -> bool:
    """Whether only objects of `cluster` can declare a membership of that name: it takes no other cluster's place."""
    prefixes = (DECLARED_PREFIX, POD_PREFIX, NAMESPACE_PREFIX)
    return membership.startswith(tuple(f"{prefix}{cluster}." for prefix in prefixes))


def _used(peer: Peer) -> ConflictError:
    return ConflictError(f"the join token for {peer.uri} was used already; make a new one", reason="TokenUsed")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key_digest(csr: str) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(parse_csr(csr).public_key().public_bytes(serialization.Encoding.DER, form)).hexdigest()
