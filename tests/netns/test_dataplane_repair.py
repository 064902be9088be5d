"""What somebody or something breaks comes back; what is right is not touched; what is not wanted any more is gone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
from testnet import Network

pytestmark = pytest.mark.root

GATEWAY_DRIFT = {
    "a route": ("s-000001", "ip route del 10.77.64.0/18"),
    "the route to a node": ("s-000001", "ip -6 route del fd77:0:0:800::/54"),
    "all routes": ("s-000001", "ip route flush proto 83; ip -6 route flush proto 83"),
    "a neighbour": ("s-000001", "ip neigh del 10.77.8.1 dev vx0"),
    "a wrong neighbour": ("s-000001", "ip neigh replace 10.77.8.1 lladdr 02:ff:ff:ff:ff:ff dev vx0 nud permanent"),
    "a forwarding entry": ("s-000001", "bridge fdb del 02:00:00:00:01:02 dev vx0 dst 198.18.1.12 self"),
    "the trunk": ("s-000001", "ip link del tk0"),
    "the VXLAN": ("s-000001", "ip link del vx0"),
    "the VXLAN set down": ("s-000001", "ip link set vx0 down"),
    "an address": ("s-000001", "ip addr del 10.77.4.1/32 dev lo"),
    "a table": ("s-000001", "nft delete table inet slicer"),
    "a rule of a table": ("t-00", "nft flush chain inet slicer forward"),
    "forwarding": ("t-00", "sysctl -w net.ipv4.ip_forward=0"),
    "a nexthop group": (
        "t-00",
        "ip nexthop | grep group | cut -d' ' -f2 | xargs -n1 ip nexthop del id",
    ),
    "all nexthops": ("t-00", "ip nexthop flush proto 83"),
    "a tunnel set down": ("t-00", "ip link set w0.0 down"),
    "a tunnel device": ("t-00", "ip link del w0.0"),
    "a rule that delivers here": ("t-00", "ip rule add pref 0 lookup local"),
    "a whole namespace": ("", "ip netns del t-00"),
    "the slice's namespace": ("", "ip netns del s-000001"),
}
DAEMON_DRIFT = {
    "the tunnel's process": ("", "kill -9 $(pidof wireguard-go)"),
    "the tunnel's socket": ("", "rm /var/run/wireguard/w0.0.sock"),
}
"""Only where wireguard-go does the work."""


@pytest.fixture(scope="module")
def small():
    """One node a cluster and slice red only, so that breaking things disturbs nobody else."""
    with running_small() as network:
        yield network


@pytest.fixture(scope="module")
def small_go(small):
    """The same with wireguard-go, whatever the kernel can do."""
    if small.back_end == "wireguard-go":
        yield small
        return
    with running_small(wireguard="wireguard-go") as network:
        yield network


@contextmanager
def running_small(**options):
    network = Network(nodes_each=2, **options)
    try:
        network.start()
        network.add_slice("red", 1, "10.77.0.0/16", "fd77::/48")
        network.converge()
        yield network
    finally:
        network.stop()


@pytest.fixture
def pair(small):
    """Pods on a gateway and on the other cluster's far node."""
    yield from paired(small)


@pytest.fixture
def pair_go(small_go):
    """The same with wireguard-go."""
    yield from paired(small_go)


def paired(small):
    """Pods made anew for each test: a namespace that goes takes its pods along."""
    small.converge()
    pods = [small.add_pod(f"pod{next(_numbers)}", node, "red") for node in ("a-n1", "b-n2")]
    small.converge()
    yield pods
    for pod in pods:
        pod.node.pods = [other for other in pod.node.pods if other is not pod]
        pod.node.machine.run(f"ip netns del {pod.name}")
        pod.node.machine.run(f"ip link del {pod.attachment.host_interface}", "s-000001", check=False)


def _count():
    number = 0
    while True:
        number += 1
        yield number


_numbers = _count()


@pytest.mark.parametrize("what", [*GATEWAY_DRIFT])
def test_what_was_broken_by_hand_comes_back(small, pair, what):
    """One reconcile repairs it, packets pass again, and the next reconcile finds nothing to do."""
    comes_back(small, pair, what, *GATEWAY_DRIFT[what])


@pytest.mark.parametrize("what", [*DAEMON_DRIFT])
def test_a_tunnel_without_its_daemon_is_made_anew(small_go, pair_go, what):
    """A killed wireguard-go and one that cannot be spoken to are replaced."""
    comes_back(small_go, pair_go, what, *DAEMON_DRIFT[what])


def comes_back(small, pair, what, ns, command):
    one, two = pair
    assert one.ping(two.address(4), tries=20, wait=0.5)
    small.nodes["a-n1"].machine.run(command, ns)
    if what == "the slice's namespace":
        one.node.pods = []
        one.node.machine.run(f"ip netns del {one.name}")
        small.converge()
        one = pair[0] = small.add_pod(f"pod{next(_numbers)}", "a-n1", "red")
    _settle(small)

    assert one.ping(two.address(4), tries=30, wait=0.5)
    assert one.ping(two.address(6))
    small.converge()
    assert {name: node.outcome.changes for name, node in small.nodes.items()} == dict.fromkeys(small.nodes, ())


def _settle(small):
    """As the agent does: reconcile, and start handshakes afresh while a peer has never answered."""
    small.converge()
    assert small.nodes["a-n1"].outcome.changes
    for node in small.nodes.values():
        node.machine("call", "retry_handshakes")


def test_a_restarted_agent_changes_nothing(small, pair):
    """A new DataPlane finds keys, ports, daemons and tables as they were, and a running ping loses nothing."""
    before = {name: node.local.tunnels for name, node in small.nodes.items()}
    for node in small.nodes.values():
        node.machine("start")
    small.converge()

    assert {name: node.local.tunnels for name, node in small.nodes.items()} == before
    assert {name: node.outcome.changes for name, node in small.nodes.items()} == dict.fromkeys(small.nodes, ())
    assert pair[0].ping(pair[1].address(4))


def test_keys_are_for_root_only_and_nowhere_else(small_go):
    """Key files have mode 0600; no key is in an argument list, an environment or a log."""
    machine = small_go.nodes["a-n1"].machine
    key = machine.run("cat /run/slicer-state/keys/0-0.key").strip()
    as_hex = machine.run(f"echo {key} | base64 -d | od -An -v -tx1 | tr -d ' \\n'").strip()

    assert machine.run("stat -c %a /run/slicer-state/keys/0-0.key").strip() == "600"
    spoken = machine.run(
        "cat /proc/*/cmdline /proc/*/environ /run/slicer/wireguard/*.log | tr '\\0' '\\n'", check=False
    )
    assert "wireguard-go" in spoken
    assert key not in spoken
    assert as_hex not in spoken


def test_a_new_slice_leaves_the_others_alone(small, pair):
    """A slice more, and a slice less, in the same tunnel set: no command touches red's devices, routes or session."""
    small.add_slice("more", 9, "10.79.0.0/16")
    small.converge()
    added = {name: node.outcome.changes for name, node in small.nodes.items()}
    del small.slices["more"]
    small.converge()
    removed = {name: node.outcome.changes for name, node in small.nodes.items()}

    for changes in (*added.values(), *removed.values()):
        assert not [change for change in changes if "s-000001" in change or "route replace 10.77" in change]
    assert pair[0].ping(pair[1].address(4))


def test_a_removed_slice_takes_its_pods_interfaces_whoever_holds_its_namespace(small):
    """A process inside, with a copy of the mounts, keeps the namespace alive, but no device in it."""
    small.add_slice("short", 7, "10.81.0.0/16")
    small.converge()
    pod = small.add_pod(f"pod{next(_numbers)}", "a-n2", "short")
    small.converge()
    pod.node.machine("spawn", ["sleep", "infinity"], "s-000007")
    assert "net1" in pod.run("ip -br link")

    pod.node.pods.remove(pod)
    del small.slices["short"]
    small.converge()

    assert "net1" not in pod.run("ip -br link")
    assert "s-000007" not in pod.node.machine.run("ls /run/netns")


def test_a_pod_interface_that_is_gone_is_told_and_stops_nothing(small, pair):
    """An attachment without its interface is named as a failure; everything else is as it should be."""
    node = small.nodes["a-n2"]
    ghost = replace(pair[0].attachment, container_id="ghost", host_interface="pdeadbeef")
    local = replace(node.local, attachments=(ghost,))

    assert node.machine("call", "reconcile", small.view(), local).failures == (
        "pod interface pdeadbeef is not in s-000001",
    )


def devices(node):
    """WireGuard devices of the node's tunnel namespaces."""
    words = node.machine.run("for ns in /run/netns/t-*; do ip -n ${ns##*/} -br link; done").split()
    return sorted(word for word in words if word.startswith("w"))


def test_removing_everything_leaves_nothing():
    """After remove_everything there is no namespace, device, process or socket of ours, on gateways and others."""
    network = Network()
    try:
        network.start()
        network.add_slice("red", 1, "10.77.0.0/16", "fd77::/48", qos=None)
        network.add_slice("blue", 2, "10.77.0.0/16", tunnel_set=1)
        network.converge()
        network.add_pod("pod", "a-n1", "red")
        network.converge()
        daemons = 2 if network.back_end == "wireguard-go" else 0
        assert network.nodes["a-n1"].machine("processes").count("wireguard-go") == daemons
        assert devices(network.nodes["a-n1"]) == ["w0.0", "w1.0"]
        outcomes = [node.machine("call", "remove_everything") for node in network.nodes.values()]

        assert [outcome.failures for outcome in outcomes] == [()] * 4
        for node in network.nodes.values():
            assert "wireguard-go" not in node.machine("processes")
            assert node.machine("files", "/run/wireguard") == []
            assert set(node.machine("files", "/run/netns")) <= {"pod"}
            links = node.machine.run("ip -o link").splitlines()
            assert [line.split(": ")[1].split("@")[0] for line in links] == ["lo", "eth0"]
    finally:
        network.stop()
