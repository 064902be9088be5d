"""What we compare with: the plain thing between the same two machines of a lab, without anything of ours.

machine A  eth0 ---- underlay ---- eth0  machine B
  bare device 192.0.2.1            bare device 192.0.2.2
"""

from __future__ import annotations

import tempfile
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.bench.lab import Lab, capture
from tests.bench.network import Path as Route

MTU = 1420
"""The slices' own, so that both sides send packets of one size."""
WIREGUARD_PORT, OPENVPN_PORT, VXLAN_PORT = 40001, 40002, 40003


def wireguard(lab: Lab, one: str, two: str) -> Route:
    """One WireGuard tunnel between two machines, by the same back end that the agents use."""
    keys = {machine: X25519PrivateKey.generate() for machine in (one, two)}
    for machine, peer, address in ((one, two, "192.0.2.1"), (two, one, "192.0.2.2")):
        job = {
            "private_key": b64encode(keys[machine].private_bytes_raw()).decode(),
            "public_key": b64encode(keys[peer].public_key().public_bytes_raw()).decode(),
            "endpoint": _underlay(lab, peer),
            "port": WIREGUARD_PORT,
            "mtu": MTU,
        }
        lab.python(machine, "tests.bench.bare_worker", job, timeout_s=30)
        _up(lab, machine, "bare0", address)
    return Route(client=one, server=two, address="192.0.2.2")


def vxlan(lab: Lab, one: str, two: str) -> Route:
    """One VXLAN between two machines, without learning of multicast or anything on top."""
    for machine, peer, address in ((one, two, "192.0.2.5"), (two, one, "192.0.2.6")):
        ends = ("local", _underlay(lab, machine), "remote", _underlay(lab, peer))
        lab.run(machine, "ip", "link", "add", "bare1", "type", "vxlan", "id", "99", "dstport", str(VXLAN_PORT), *ends)
        _up(lab, machine, "bare1", address)
    return Route(client=one, server=two, address="192.0.2.6")


def openvpn(lab: Lab, one: str, two: str) -> Route:
    """One OpenVPN tunnel between two machines: TLS, UDP, its default cipher."""
    directory = Path(tempfile.mkdtemp(prefix="slicer-bench-"))
    prints = {machine: _certificate(directory, machine) for machine in (one, two)}
    ends = (one, two, "192.0.2.9", "192.0.2.10"), (two, one, "192.0.2.10", "192.0.2.9")
    for machine, peer, address, remote in ends:
        role = ("--tls-server", "--dh", "none") if machine == two else ("--tls-client",)
        words = (
            *("openvpn", "--daemon", "--dev", "bare2", "--dev-type", "tun", "--proto", "udp", *role),
            *("--local", _underlay(lab, machine), "--lport", str(OPENVPN_PORT)),
            *("--remote", _underlay(lab, peer), str(OPENVPN_PORT), "--ifconfig", address, remote),
            *("--cert", str(directory / f"{machine}.crt"), "--key", str(directory / f"{machine}.key")),
            *("--peer-fingerprint", prints[peer], "--tun-mtu", str(MTU), "--log", str(directory / f"{machine}.log")),
            *("--cipher", "AES-256-GCM"),
        )
        lab.run(machine, *words)
    return Route(client=one, server=two, address="192.0.2.10")


def _underlay(lab: Lab, machine: str) -> str:
    return str(lab.layout.machine(machine).addresses[0])


def _up(lab: Lab, machine: str, device: str, address: str) -> None:
    lab.run(machine, "ip", "address", "add", f"{address}/30", "dev", device)
    lab.run(machine, "ip", "link", "set", device, "mtu", str(MTU), "up")


def _certificate(directory: Path, machine: str) -> str:
    """A self-signed certificate beside its key; its fingerprint."""
    key, certificate = directory / f"{machine}.key", directory / f"{machine}.crt"
    made = (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={machine}",
    )
    capture(("openssl", "req", "-x509", *made, "-keyout", str(key), "-out", str(certificate)), timeout_s=30)
    shown = capture(("openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"), timeout_s=30)
    return shown.strip().partition("=")[2]
