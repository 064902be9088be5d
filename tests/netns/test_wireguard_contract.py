"""What every WireGuard back end promises, on every one that this machine can have."""

from __future__ import annotations

import ipaddress
from base64 import b64encode

import pytest
from node_process import WIREGUARD
from testnet import Machine

from slicer.kernel.wireguard import DeviceState, PeerState, PeerWish, Place, Secret

pytestmark = pytest.mark.root

ONE, TWO = "A" * 42 + "E=", "B" * 42 + "E="
ZERO = "A" * 43 + "="
V4, V6 = ipaddress.ip_network("10.1.0.0/18"), ipaddress.ip_network("fd01::/50")
ENDPOINT = (ipaddress.ip_address("fd00::1"), 51821)
DEVICE = Place("t-07", "w7.0")
KEY = Secret(text="2DA3T1cFnJrAvQ4JwFBcSvpUBPjx1Om8kGz4kvvSaGk=")
PUBLIC = "OVQBKT82fNM49Boiv20I9jkd6nenMibRox5ZrRtC8W4="


@pytest.fixture(scope="module")
def machine():
    """A node without a data plane, with a tunnel namespace."""
    machine = Machine("contract")
    try:
        machine.run("ip link set lo up")
        machine("netns", DEVICE.ns)
        yield machine
    finally:
        machine.stop()


def peer(public_key, *allowed, endpoint=None):
    return PeerState(
        public_key=public_key,
        endpoint=endpoint,
        allowed_ips=allowed,
        keepalive_s=25,
        handshake_at_s=None,
        rx_bytes=0,
        tx_bytes=0,
    )


def wish(public_key, *allowed, endpoint=None):
    return PeerWish(public_key=public_key, endpoint=endpoint, allowed_ips=allowed, keepalive_s=25)


def test_every_back_end_keeps_the_contract(machine):
    """Make, give a key, add, change and remove peers, read it all back, delete twice; a new device is a fresh one."""
    told = {}
    for name in machine("back_ends"):
        say = lambda method, *arguments, name=name: machine("wireguard", name, method, DEVICE, *arguments)  # noqa: E731
        seen = [say("read")]
        say("create", 1420)
        link = machine.run(f"ip -o link show {DEVICE.name}", DEVICE.ns)
        say("set_key", KEY, 51900)
        seen.append(say("read").port)
        public = say("read").public_key
        say("set_peers", (wish(ONE, V4, V6, endpoint=ENDPOINT), wish(TWO)))
        seen.append(say("read"))
        say("set_peers", (wish(TWO, V4), PeerWish(public_key="C" * 42 + "E=", remove=True)))
        seen.append(say("read").peers)
        say("set_peers", (PeerWish(public_key=ONE, remove=True),))
        seen.append(say("read").peers)
        say("delete")
        say("delete")
        seen.append(say("read"))
        say("create", 1420)
        seen.append((say("read").public_key, say("read").peers))
        say("delete")
        told[name] = seen
        assert "mtu 1420" in link
        assert machine.run(f"ip -o link show {DEVICE.name}", DEVICE.ns, check=False).startswith("Device")

    first = DeviceState(public_key=public, port=51900, peers=(peer(ONE, V4, V6, endpoint=ENDPOINT), peer(TWO)))
    promised = [
        None,
        51900,
        first,
        (peer(ONE, V6, endpoint=ENDPOINT), peer(TWO, V4)),
        (peer(TWO, V4),),
        None,
        ("", ()),
    ]
    assert told == dict.fromkeys(told, promised)
    assert set(told) >= {"wireguard-go", WIREGUARD} - {"auto"}
    assert public == PUBLIC


def test_a_peer_with_a_key_of_zeros_is_seen_and_removed(machine):
    """No private key fits it, but it holds addresses: a device that has one can be repaired."""
    for name in machine("back_ends"):
        say = lambda method, *arguments, name=name: machine("wireguard", name, method, DEVICE, *arguments)  # noqa: E731
        say("create", 1420)
        say("set_key", KEY, 51900)
        say("set_peers", (wish(ZERO, V4),))
        there = say("read").peers
        say("set_peers", (PeerWish(public_key=ZERO, remove=True),))
        gone = say("read").peers
        say("delete")

        assert (there, gone) == ((peer(ZERO, V4),), ()), name


def test_every_back_end_holds_more_peers_and_addresses_than_one_message(machine):
    """All are read back, sorted, when they were given at once, when they change, and when one peer takes them over."""
    many = tuple(ipaddress.ip_network(((10 << 24) + (n << 8), 24)) for n in range(1200))
    many6 = tuple(ipaddress.ip_network(((0xFD02 << 112) + (n << 64), 64)) for n in range(700))
    keys = tuple(f"{b64encode(n.to_bytes(31, 'big') + bytes([4])).decode()}" for n in range(1, 60))
    for name in machine("back_ends"):
        say = lambda method, *arguments, name=name: machine("wireguard", name, method, DEVICE, *arguments)  # noqa: E731
        say("create", 1420)
        say("set_key", KEY, 51900)
        say("set_peers", (wish(keys[0], *many, *many6), *(wish(key) for key in keys[1:])))
        first = say("read").peers
        say("set_peers", (wish(keys[1], *many[600:]),))
        second = {peer.public_key: peer.allowed_ips for peer in say("read").peers}
        say("delete")

        assert first == tuple(sorted((peer(keys[0], *many, *many6), *map(peer, keys[1:])), key=key_of_peer)), name
        assert second == {**dict.fromkeys(keys, ()), keys[0]: (*many[:600], *many6), keys[1]: many[600:]}, name


def key_of_peer(state):
    return state.public_key


def test_a_killed_device_reads_as_nothing(machine):
    """What nothing serves is not a device, so that it is made anew; making it works at once."""
    machine("wireguard", "wireguard-go", "create", DEVICE, 1420)
    machine.run("kill -9 $(pidof wireguard-go)")

    assert machine("wireguard", "wireguard-go", "read", DEVICE) is None
    machine("wireguard", "wireguard-go", "delete", DEVICE)
    machine("wireguard", "wireguard-go", "create", DEVICE, 1420)
    made = machine("wireguard", "wireguard-go", "read", DEVICE)
    machine("wireguard", "wireguard-go", "delete", DEVICE)

    assert (made.public_key, made.peers) == ("", ())


def test_a_creation_that_was_cut_off_is_begun_again(machine):
    """A daemon whose device never reached its namespace does not stand in the way of the next attempt."""
    machine("spawn", ["wireguard-go", "--foreground", DEVICE.name])
    machine.run(f"until test -S /var/run/wireguard/{DEVICE.name}.sock; do :; done")
    machine("wireguard", "wireguard-go", "create", DEVICE, 1420)
    inside = machine.run("ip -o link", DEVICE.ns)
    outside = machine.run("ip -o link")
    machine("wireguard", "wireguard-go", "delete", DEVICE)

    assert DEVICE.name in inside
    assert DEVICE.name not in outside
    assert machine("processes").count("wireguard-go") == 0
