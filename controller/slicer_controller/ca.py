"""The controller's certificate authority: made at first start, signs its own server certificate and its clients'.

Files in the state directory: `ca.key` (0600), `ca.pem`, `server.key` (0600), `server.pem`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slicer.client.files import read_if_there, write_atomic
from slicer.client.identity import render_key
from slicer.model.errors import InvalidError

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
CLIENT_LIFE = timedelta(days=30)
"""Holders renew after two thirds, so that a controller may be down for ten days before anybody is locked out."""
SKEW = timedelta(minutes=5)
"""Clocks of other machines may be this far behind."""


class CertificateAuthority:
    """Signs for one controller."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = _load_or_make_key(directory / "ca.key")
        self._certificate = _load(directory / "ca.pem") or self._make_ca()

    @property
    def path(self) -> Path:
        """Where the CA's certificate lies as PEM."""
        return self._directory / "ca.pem"

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return _pem(self._certificate).decode()

    def issue(self, csr: str, uri: str, *, life: timedelta = CLIENT_LIFE) -> str:
        """A client certificate with `uri` for the key in `csr`; InvalidError if that proves no possession of a key."""
        request = parse_csr(csr)
        name = x509.UniformResourceIdentifier(uri)
        return _pem(self._sign(request.public_key(), [name], ExtendedKeyUsageOID.CLIENT_AUTH, life)).decode()

    def serve_as(self, hosts: Iterable[str]) -> tuple[Path, Path]:
        """Paths of (certificate, key) for a TLS server reached as any of `hosts`; made anew at each call."""
        key = _load_or_make_key(self._directory / "server.key")
        names = [_host_name(host) for host in sorted(set(hosts))]
        certificate = self._sign(key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFE)
        write_atomic(self._directory / "server.pem", _pem(certificate), mode=0o644)
        return self._directory / "server.pem", self._directory / "server.key"

    def _make_ca(self) -> x509.Certificate:
        builder = _builder("slicer controller CA", "slicer controller CA", self._key.public_key(), CA_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(ca=True), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        write_atomic(self.path, _pem(certificate), mode=0o644)
        return certificate

    def _sign(
        self, key: Any, names: list[x509.GeneralName], use: x509.ObjectIdentifier, life: timedelta
    ) -> x509.Certificate:
        builder = _builder("slicer", "slicer controller CA", key, life)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())


def parse_csr(text: str) -> x509.CertificateSigningRequest:
    """The signing request in `text` (PEM), whose signature holds; InvalidError otherwise."""
    try:
        request = x509.load_pem_x509_csr(text.encode())
        valid = isinstance(request.public_key(), ec.EllipticCurvePublicKey) and request.is_signature_valid
    except (ValueError, InvalidSignature):
        valid = False
    if not valid:
        raise InvalidError("csr is not a valid signing request (PEM) for an elliptic curve key")
    return request


def _builder(subject: str, issuer: str, key: Any, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - SKEW,
        not_valid_after=now + life,
    )
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    pem = read_if_there(path)
    if pem is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomic(path, render_key(key))
        return key
    loaded = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise InvalidError(f"{path} is not an elliptic curve key")
    return loaded


def _load(path: Path) -> x509.Certificate | None:
    pem = read_if_there(path)
    return x509.load_pem_x509_certificate(pem) if pem else None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
