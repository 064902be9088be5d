"""What a join token says to whom, as time goes by."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slicer.client.identity import parse_token
from slicer.model.errors import ConflictError, UnauthenticatedError


def request() -> str:
    """A signing request with a key of its own."""
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def test_a_used_token_says_so_for_as_long_as_it_is_known(hub: Any) -> None:
    """Who comes second learns that somebody was first, also when the token's life is over; the first learns that."""
    token = parse_token(hub.create("join-tokens", {"kind": "cluster", "name": "c", "ttl_s": 60})["status"]["token"])
    door, mine = hub.context.door, request()
    door.join(token.id, token.secret, mine, None)
    hub.clock.now_s += 61

    with pytest.raises(ConflictError, match="slicer://cluster/c was used already"):
        door.join(token.id, token.secret, request(), None)
    with pytest.raises(UnauthenticatedError, match="has expired"):
        door.join(token.id, token.secret, mine, None)


def test_an_unused_token_expires(hub: Any) -> None:
    """The moment its life is over it lets nobody in."""
    token = parse_token(hub.create("join-tokens", {"kind": "cluster", "name": "c", "ttl_s": 60})["status"]["token"])
    hub.clock.now_s += 60

    with pytest.raises(UnauthenticatedError, match="has expired; make a new one"):
        hub.context.door.join(token.id, token.secret, request(), None)
