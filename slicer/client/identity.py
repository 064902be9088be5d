"""Who this process is to its controller: a key made here, a certificate got for a join token, mutual TLS from then on.

Files in the identity's directory, in the order in which they are written (a kill between any two is mended by joining
again with the same token and the same key, which the server answers again):
`key.pem` (0600), `server.json` (the controller's URL), `ca.pem` (its CA), `certificate.pem`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from slicer.client.files import read_if_there, write_atomic
from slicer.client.http import httpx
from slicer.client.rest import TIMEOUT, ask
from slicer.model.errors import DeniedError, InvalidError, UnauthenticatedError

log = logging.getLogger(__name__)
TOKEN_START = "slicer1."  # noqa: S105  # the mark that a token begins with, not a token
SERVICE_ACCOUNT = "service-account"
"""`id` of a join token whose secret is the token of a Kubernetes service account (slicer.client.joining)."""
_TOKEN_MAX = 16384
"""Characters; a real token has about 250, one made of a service account's token about 2000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What `slicectl join-token` printed: where to join, which CA to believe, and a secret for one use."""

    url: str
    ca_sha256: str
    id: str
    secret: str = field(repr=False)


def render_token(token: JoinToken) -> str:
    """The text form: `slicer1.` and the fields as base64url of JSON, without padding."""
    data = {"url": token.url, "ca_sha256": token.ca_sha256, "id": token.id, "secret": token.secret}
    return TOKEN_START + base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def parse_token(text: str) -> JoinToken:
    """The token in `text`; InvalidError otherwise. The text is a secret: it never enters a message."""
    text = text.strip()
    if not text.startswith(TOKEN_START) or len(text) > _TOKEN_MAX:
        raise InvalidError(f"the join token does not begin with {TOKEN_START!r} or is too long; copy it whole")
    try:
        body = text.removeprefix(TOKEN_START)
        data = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
        token = JoinToken(**data)
    except (ValueError, TypeError, binascii.Error):
        raise InvalidError("the join token is damaged; copy it whole") from None
    if not all(isinstance(value, str) and value for value in data.values()) or not token.url.startswith("https://"):
        raise InvalidError("the join token is damaged; copy it whole")
    return token


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A joined process: where its controller is, and the files that prove who it is."""

    server: str
    uri: str
    """`slicer://cluster/<cluster>`, `slicer://node/<cluster>/<node>` or `slicer://dns/<cluster>/<name>`."""
    directory: Path

    @property
    def kind(self) -> str:
        """`cluster`, `node` or `dns`."""
        return self.uri.removeprefix("slicer://").split("/")[0]

    @property
    def cluster(self) -> str:
        """Name of the cluster that this process belongs to."""
        return self.uri.removeprefix("slicer://").split("/")[1]

    @property
    def name(self) -> str:
        """Name of the cluster, node or DNS server."""
        return self.uri.rpartition("/")[2]


def load(directory: Path) -> Identity | None:
    """The identity in `directory`, or None before it has joined; InvalidError if its files are damaged."""
    certificate = read_if_there(directory / "certificate.pem")
    if certificate is None:
        return None
    try:
        server = json.loads((directory / "server.json").read_bytes())["url"]
        uri = uri_of(x509.load_pem_x509_certificate(certificate))
        _tls(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidError(f"identity in {directory} is damaged ({error}); remove it and join again") from None
    return Identity(server=server, uri=uri, directory=directory)


def load_or_join(directory: Path, token_text: str | None, *, expect: str | None = None) -> Identity:
    """The identity in `directory`; joins with the token if there is none yet.

    `expect` is the URI that the caller means to be (`slicer://node/*/a-n1`; see `is_expected`):
    another one is refused, so that a node started with its neighbour's token says so. Joins once; afterwards no token
    is needed.
    """
    identity = load(directory)
    if identity is None:
        if token_text is None:
            raise UnauthenticatedError(f"there is no identity in {directory} and no join token was given")
        identity = _join(directory, parse_token(token_text), expect)
    _check_expected(identity.uri, expect)
    return identity


def is_expected(uri: str, expect: str) -> bool:
    """Whether an identity is the one that is meant: `*` stands for any one part, a trailing `/` for all below."""
    parts, wanted = uri.split("/"), expect.split("/")
    if not wanted[-1]:
        wanted.pop()
        parts = parts[: len(wanted)]
    return len(parts) == len(wanted) and all(want in {"*", part} for part, want in zip(parts, wanted, strict=True))


def _check_expected(uri: str, expect: str | None) -> None:
    if expect is None or is_expected(uri, expect):
        return
    raise DeniedError(f"the join token or identity is for {uri}, but this is {expect}", reason="WrongIdentity")


def _join(directory: Path, token: JoinToken, expect: str | None) -> Identity:
    key = _load_or_make_key(directory)
    ca = fetch_ca(token.url, token.ca_sha256)
    with _client(token.url, _believing(ca)) as client:
        body = {"id": token.id, "secret": token.secret, "csr": _render_csr(key), "expect": expect}
        answer = ask(client, "POST", "/v1/join", json=body)
    uri = uri_of(x509.load_pem_x509_certificate(answer["certificate"].encode()))
    write_atomic(directory / "server.json", json.dumps({"url": token.url}).encode())
    write_atomic(directory / "ca.pem", ca.encode(), mode=0o644)
    write_atomic(directory / "certificate.pem", answer["certificate"].encode(), mode=0o644)
    log.info("joined", extra={"server": token.url, "identity": uri})
    return Identity(server=token.url, uri=uri, directory=directory)


def fetch_ca(url: str, sha256: str) -> str:
    """The controller's CA as PEM, if it is the one with this fingerprint (SHA-256 of the DER form, hex)."""
    context = ssl.create_default_context()
    # Nobody is believed yet: the fingerprint from the token decides, and nothing secret is sent on this connection.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _client(url, context) as client:
        pem: str = ask(client, "GET", "/v1/ca")["ca"]
    if not hmac.compare_digest(fingerprint(pem), sha256):
        raise UnauthenticatedError(
            f"the controller at {url} shows another CA than the join token's; is it the right one?"
        )
    return pem


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate's DER form, in hex."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError:
        raise UnauthenticatedError("the controller's CA is not a PEM certificate") from None


def uri_of(certificate: x509.Certificate) -> str:
    """The URI in a certificate's subject alternative name; ValueError if there is not exactly one."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError(f"certificate has {len(uris)} URI names instead of one")
    return uris[0]


def http_client(identity: Identity) -> httpx.Client:
    """A client of the controller that shows this identity's certificate and believes only the controller's CA."""
    return _client(identity.server, _tls(identity.directory))


def renewal_due(identity: Identity, now: datetime | None = None) -> bool:
    """Whether two thirds of the certificate's life are over."""
    return (now or datetime.now(UTC)) >= _due_at((identity.directory / "certificate.pem").read_bytes())


@lru_cache(4)
def _due_at(pem: bytes) -> datetime:
    """Asked with each sign of life of the controller, answered from the same certificate for weeks."""
    certificate = x509.load_pem_x509_certificate(pem)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * 2 / 3


def renew(identity: Identity) -> None:
    """Get a new certificate for the same key and put it in the old one's place; connections made later show it."""
    key = _load_or_make_key(identity.directory)
    with http_client(identity) as client:
        answer = ask(client, "POST", "/v1/renew", json={"csr": _render_csr(key)})
    write_atomic(identity.directory / "certificate.pem", answer["certificate"].encode(), mode=0o644)
    log.info("certificate renewed", extra={"identity": identity.uri})


def _load_or_make_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    path = directory / "key.pem"
    pem = read_if_there(path)
    if pem is not None:
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidError(f"{path} is not an elliptic curve key; remove {directory} and join again")
        return key
    made = ec.generate_private_key(ec.SECP256R1())
    write_atomic(path, render_key(made))
    return made


def render_key(key: Any) -> bytes:
    """A private key as PEM (PKCS 8). A secret: for a file with mode 0600 and nothing else."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem: bytes = key.private_bytes(encoding, form, serialization.NoEncryption())
    return pem


def _render_csr(key: ec.EllipticCurvePrivateKey) -> str:
    """A signing request that proves possession of the key; the controller, not the asker, decides on the name."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slicer")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _tls(directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


def _believing(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca)


def _client(url: str, context: ssl.SSLContext) -> httpx.Client:
    return httpx.Client(base_url=url, verify=context, timeout=TIMEOUT, trust_env=False)
