"""Makes the state directory of an agent whose controller is gone: an identity, and a view on disk.

The agent then does everything from that view, as it must (static stability).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from slicer.client.codec import encode_documents
from slicer.model.clusters import ClusterBlocks, Gateway, Node, NodeBlocks, TunnelEndpoint
from slicer.model.documents import Document, key_of
from slicer.model.slices import Slice, SliceState

NOWHERE = "https://127.0.0.1:9"
"""Port 9 (discard): nobody listens there."""
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def write_identity(state: Path, uri: str = "slicer://node/a/a-n1") -> None:
    """A certificate that the agent believes in and nobody else."""
    directory = state / "identity"
    directory.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slicer")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (directory / "certificate.pem").write_bytes(pem)
    (directory / "ca.pem").write_bytes(pem)
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (directory / "server.json").write_text(json.dumps({"url": NOWHERE}))


def write_view(state: Path, documents: Iterable[Document]) -> None:
    """The view that the agent finds at its start."""
    values = encode_documents({key_of(document): document for document in documents})
    kept = {"epoch": "e1", "revision": 1, "documents": values, "inherited": []}
    (state / "view.json").write_text(json.dumps(kept))


def two_clusters(vni: int = 0x00A001, *, prefix: str = "10.22.0.0/16") -> list[Document]:
    """Slice red over clusters a (this node, a-n1) and b, with one gateway each."""
    network = ipaddress.ip_network(prefix)
    own, theirs = list(network.subnets(new_prefix=24))[1:3]
    own_node, their_node = next(own.subnets(new_prefix=26)), next(theirs.subnets(new_prefix=26))
    underlay = {"a": ipaddress.ip_address("198.18.1.11"), "b": ipaddress.ip_address("198.18.2.11")}
    return [
        SliceState(spec=Slice(name="red", prefixes=(network,)), vni=vni, tunnel_set=1),
        ClusterBlocks(slice="red", cluster="a", blocks=(own,)),
        ClusterBlocks(slice="red", cluster="b", blocks=(theirs,)),
        NodeBlocks(slice="red", cluster="a", node="a-n1", blocks=(own_node,)),
        NodeBlocks(slice="red", cluster="b", node="b-n1", blocks=(their_node,)),
        Node(cluster="a", name="a-n1", addresses=(underlay["a"],), vtep_mac="02:00:00:00:00:01"),
        Gateway(cluster="a", tunnel_set=1, slot=0, node="a-n1", addresses=(underlay["a"],)),
        Gateway(
            cluster="b",
            tunnel_set=1,
            slot=0,
            node="b-n1",
            addresses=(underlay["b"],),
            tunnels=(TunnelEndpoint(tunnel_set=1, index=0, public_key=KEY, port=51820),),
        ),
    ]
