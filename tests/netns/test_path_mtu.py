"""Ways between clusters that swallow large packets and say nothing: firewalls, other people's tunnels.

The network is drawn in guarded.py. What is swallowed is dropped where it arrives at a gateway, without an ICMP error.
"""

from __future__ import annotations

import re

import pytest
from guarded import GATEWAYS, Guarded, running, until

pytestmark = pytest.mark.root

OUTER = 1380
"""bytes: what the way carries of WireGuard's packets, 60 bytes around those of the pods."""
NARROW = (
    "nft 'add table inet narrow; add chain inet narrow in { type filter hook prerouting priority -300; };"
    f" add rule inet narrow in udp sport 51820-51899 meta length > {OUTER} drop'"
)
TOP = 1420
SERVER = (
    "import socket; s = socket.create_server(('%s', 7001), family=%s); c = s.accept()[0]; n = 0\n"
    "while d := c.recv(65536): n += len(d)\n"
    "print(n)"
)
CLIENT = "import socket; s = socket.create_connection(('%s', 7001), 20); s.settimeout(20); s.sendall(bytes(3000000))"


@pytest.fixture
def guarded():
    """Two clusters of three nodes, two of them gateways, that look after themselves."""
    with running(Guarded()) as network:
        yield network


def mtus(guarded, node):
    """Of each route to the other cluster the MTU, by family."""
    machine = guarded.net.nodes[node].machine
    return {
        version: {int(found) for found in re.findall(r"nhid .* mtu (?:lock )?(\d+)", machine.run(words, "t-00"))}
        for version, words in ((4, "ip -4 route show"), (6, "ip -6 route show"))
    }


def swallow(guarded, *nodes):
    """From now on these gateways get no large packets of the other cluster's.

    Packets arrive one by one: what the kernel would carry as one large packet is none on a wire.
    """
    for node in GATEWAYS:
        guarded.net.nodes[node].machine.run("ip link set eth0 gso_max_segs 1")
    for node in nodes:
        guarded.net.nodes[node].machine.run(NARROW)


def narrow_towards(guarded, cluster):
    """The MTU that the gateways of one cluster found, once they all found the same, less than the device's."""
    nodes = [node for node in GATEWAYS if node.startswith(cluster)]

    def found():
        sizes = [size for node in nodes for family in mtus(guarded, node).values() for size in family]
        return sizes[0] if len(set(sizes)) == 1 and 1280 < sizes[0] < TOP else 0

    return until(found, f"the gateways of {cluster} found out what gets through")


def test_a_way_that_carries_all_is_left_alone(guarded):
    """Packets of the devices' size pass, and every route says that size."""
    one, two = guarded.pods["a-n3"], guarded.pods["b-n3"]

    assert {node: mtus(guarded, node) for node in GATEWAYS} == {node: {4: {TOP}, 6: {TOP}} for node in GATEWAYS}
    assert one.ping(two.address(4), options=f"-M do -s {TOP - 28}")
    assert not any(guarded.net.nodes[node].machine("health").path_mtus for node in GATEWAYS)


def test_what_gets_through_is_found_out_and_senders_are_told(guarded):
    """Each family's senders learn the size, a TCP stream flows, and the packets at the limit do get through."""
    one, two = guarded.pods["a-n3"], guarded.pods["b-n3"]
    swallow(guarded, *GATEWAYS)
    size = narrow_towards(guarded, "a")
    assert narrow_towards(guarded, "b") == size
    assert size <= OUTER - 60

    too_large = one.run(f"ping -n -c 1 -W 2 -M do -s {TOP - 28} {two.address(4)}", check=False)
    assert f"mtu = {size}" in too_large or f"mtu={size}" in too_large, too_large
    too_large = one.run(f"ping -n -c 1 -W 2 -M do -s {TOP - 48} {two.address(6)}", check=False)
    assert f"mtu: {size}" in too_large or f"mtu={size}" in too_large or f"mtu = {size}" in too_large, too_large
    assert one.ping(two.address(4), 3, options=f"-M do -s {size - 28}")
    assert one.ping(two.address(6), 3, options=f"-M do -s {size - 48}")

    for version, family in ((4, "socket.AF_INET"), (6, "socket.AF_INET6")):
        address, served = two.address(version), f"/run/served{version}"
        two.run(f'timeout 60 python3 -c "{SERVER % (address, family)}" > {served} 2>&1 &')
        until(lambda: "7001" in two.run("ss -ltnH"), "the server listens")
        one.run(f'python3 -c "{CLIENT % address}"')
        until(lambda path=served: two.run(f"cat {path}").strip() == "3000000", "all bytes of the stream have arrived")


def test_only_the_direction_that_is_narrow_gets_small_packets(guarded):
    """What arrives in b is swallowed: the gateways of a send less, those of b as much as before."""
    swallow(guarded, "b-n1", "b-n2")

    narrow_towards(guarded, "a")

    assert [mtus(guarded, node) for node in ("b-n1", "b-n2")] == [{4: {TOP}, 6: {TOP}}] * 2
