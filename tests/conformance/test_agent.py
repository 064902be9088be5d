"""The whole agent, as a process on a machine of its own, with a view on disk and nobody to talk to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from slicer.model.slices import Membership
from tests.conformance.machine import Machine
from tests.conformance.node import configuration, eventually

pytestmark = pytest.mark.root
ROUTER = "10.22.1.1"
MEMBERS = Membership(name="m", slice="red", cluster="a", namespace="shop", labels=(("app", "web"),))


@pytest.fixture
def machine(tmp_path: Path, executable: Path) -> Iterator[Machine]:
    """A machine with a running agent."""
    machine = Machine(tmp_path, executable)
    try:
        machine.start()
        yield machine
    finally:
        machine.close()


def has_net1(machine: Machine, pod: str) -> bool:
    """Whether the pod has the interface."""
    return bool(machine.run(f"ip -n {pod} link show net1", ok=False))


def test_kill_and_restart_lose_nothing(machine: Machine) -> None:
    """A running ping loses no packet while the agent is killed and started again, and the address stays."""
    machine.add_pod("p1")
    address = machine.cni("ADD", "p1").ok().json["ips"][0]["address"]
    ping = machine.background(f"ip netns exec p1 ping -i 0.02 -c 150 -W 2 {ROUTER}")
    machine.kill(SIGKILL)
    machine.start()
    output = ping.communicate()[0]

    assert "150 received" in output
    assert address.removesuffix("/32") in machine.run("ip -n p1 addr show dev net1")
    machine.cni("DEL", "p1").ok()


def test_sigterm_leaves_the_data_plane(machine: Machine) -> None:
    """SIGTERM ends the agent with 0; interface, routes and tunnels stay; then an ADD is to be tried again later."""
    machine.add_pod("p1")
    machine.cni("ADD", "p1").ok()

    assert machine.kill(SIGTERM) == 0
    machine.run(f"ip netns exec p1 ping -c1 -W5 {ROUTER}")
    machine.run("ip netns exec t-01 ip link show w1.0")
    machine.cni("ADD", "p2").error(11)


def test_restart_changes_nothing(machine: Machine) -> None:
    """A second start finds everything as it should be, and changes and says nothing."""
    machine.add_pod("p1")
    machine.cni("ADD", "p1").ok()
    eventually(lambda: "health.changed" in machine.events())  # the far end is not there, which the probes find out
    machine.kill(SIGTERM)
    before = (
        machine.run("ip netns exec s-00a001 ip -d addr; ip -n s-00a001 route; ip -n t-01 route"),
        len(machine.events()),
    )
    machine.start()
    eventually(lambda: "agent.started" in machine.events()[before[1] :])
    machine.cni("CHECK", "p1").error(7)  # a call goes through, so the agent is past its first look

    assert machine.run("ip netns exec s-00a001 ip -d addr; ip -n s-00a001 route; ip -n t-01 route") == before[0]
    assert set(machine.events()[before[1] :]) == {"agent.started", "cni.refused"}


def test_rates_are_there_with_the_answer(machine: Machine) -> None:
    """An ADD with bandwidth is answered when the kernel has the rates; CHECK then agrees."""
    machine.add_pod("p1")
    rates = {"ingressRate": 20_000_000, "ingressBurst": 160_000, "egressRate": 5_000_000, "egressBurst": 80_000}
    config = configuration(runtimeConfig={"bandwidth": rates})
    result = machine.cni("ADD", "p1", config).ok().json

    assert "rate 20Mbit" in machine.run(f"tc -n s-00a001 qdisc show dev {result['interfaces'][0]['name']}")
    assert "rate 5Mbit" in machine.run("tc -n s-00a001 class show dev ifb0")
    machine.cni("CHECK", "p1", {**config, "prevResult": result}).ok()
    machine.cni("DEL", "p1", config).ok()
    eventually(lambda: "rate 5Mbit" not in machine.run("tc -n s-00a001 class show dev ifb0", ok=False))


def test_deleted_parts_come_back(machine: Machine) -> None:
    """What somebody deletes is made again: a device of the data plane, and a pod's interface with its address."""
    machine.add_pod("p1")
    machine.cni("ADD", "p1").ok()
    machine.run("ip -n s-00a001 link del tk0; ip -n p1 link del net1")

    eventually(lambda: machine.run("ip -n s-00a001 link show tk0", ok=False))
    eventually(lambda: machine.run(f"ip netns exec p1 ping -c1 -W1 {ROUTER}", ok=False))


def test_forgotten_pod_is_released(machine: Machine) -> None:
    """A pod that ended without a DEL leaves nothing."""
    machine.add_pod("p1")
    machine.cni("ADD", "p1").ok()
    machine.remove_pod("p1")

    eventually(lambda: not list((machine.state / "attachments").iterdir()))


def test_live_membership(tmp_path: Path, executable: Path) -> None:
    """A membership attaches the running pods that match and those that come; others stay without; its end detaches."""
    machine = Machine(tmp_path, executable, [MEMBERS])
    try:
        machine.start()
        machine.add_pod("p1", app="web")
        machine.add_pod("p2", app="db")
        eventually(lambda: has_net1(machine, "p1"))
        machine.run(f"ip netns exec p1 ping -c1 -W5 {ROUTER}")
        assert not has_net1(machine, "p2")
        machine.kill(SIGTERM)
        machine.write_view()
        machine.start()

        eventually(lambda: not has_net1(machine, "p1"))
        assert "membership.detached" in machine.events()
    finally:
        machine.close()


def test_cleanup(machine: Machine) -> None:
    """cleanup is refused beside a running agent; afterwards it leaves no namespace, link, process or record of ours."""
    machine.add_pod("p1")
    machine.cni("ADD", "p1").ok()
    command = f"{Path(sys.executable).with_name('slicer-agent')} --state {machine.state} cleanup"
    assert machine.run(f"{command}; echo $?").endswith("5\n")
    machine.kill(SIGTERM)
    machine.run(command)

    assert machine.run("ip -o netns list").split() == ["p1"]
    assert not has_net1(machine, "p1")
    names = "ip -o link | cut -d' ' -f2 | cut -d@ -f1 | tr -d :"
    fresh = machine.run(f'unshare --net sh -c "{names}"').split()  # some kernels put devices into each new namespace
    assert set(machine.run(names).split()) == {*fresh, "eth0", "inet0"}
    eventually(lambda: not machine.run("pgrep -r D,R,S wireguard-go", ok=False))
    assert not (machine.state / "attachments").exists()


def test_no_key_in_the_log(machine: Machine) -> None:
    """No private key gets into the log."""
    keys = [path.read_text().strip() for path in (machine.state / "keys").iterdir()]

    assert keys
    assert all(key not in machine.log() for key in keys)
