"""Certificates of a test cluster: one authority, elliptic curves, valid for a day."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = dt.timedelta(days=1)
USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates; `pair` is its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = _key_usage(signs_certificates=True)
        certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.pair = _pair(certificate, self._key)

    def issue(self, name: str, *, groups: Sequence[str] = (), reachable_as: Sequence[str] = ()) -> Pair:
        """A certificate for user `name` in `groups`, also for a server at these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name, groups), self._name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        if reachable_as:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_general, reachable_as)), critical=False)
        return _pair(builder.sign(self._key, hashes.SHA256()), key)


def render_kubeconfig(*, cluster: str, server: str, authority: Pair, user: Pair) -> dict[str, Any]:
    """A kubeconfig with everything in it; its one context is named like the cluster."""
    client = {"client-certificate-data": _text(user.certificate), "client-key-data": _text(user.key)}
    there = {"server": server, "certificate-authority-data": _text(authority.certificate)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [{"name": cluster, "cluster": there}],
        "users": [{"name": cluster, "user": client}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
    }


def write_pair(directory: Path, name: str, pair: Pair) -> None:
    """`<name>.crt` and `<name>.key` in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.crt").write_bytes(pair.certificate)
    (directory / f"{name}.key").touch(mode=0o600)
    (directory / f"{name}.key").write_bytes(pair.key)


def _builder(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        subject_name=name,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(minutes=1),
        not_valid_after=now + LIFE,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    encoding = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return Pair(
        certificate=certificate.public_bytes(encoding),
        key=key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, plain),
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(where: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(where))
    except ValueError:
        return x509.DNSName(where)


def _text(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
