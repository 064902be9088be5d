"""ADD: lines A1 to A16 of the black-box list; each looks at the kernel afterwards."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from slicer.kernel import netns, podview
from tests.conformance.node import Node, Pod, configuration, eventually, links_of, sh

pytestmark = pytest.mark.root
HOP, HOP6 = ipaddress.ip_address("169.254.1.1"), ipaddress.ip_address("fe80::1")


def routes(name: str) -> str:
    """IPv4 and IPv6 routes of a namespace, without those of the attached interfaces."""
    return "\n".join(
        line for line in sh(f"ip -n {name} route; ip -n {name} -6 route").splitlines() if "net" not in line
    )


def test_A1_interface_is_there_exactly(pod: Pod) -> None:
    """The interface has the asked name and the told MAC and MTU, lies in the sandbox and is up."""
    told = pod.add().ok().json["interfaces"][1]
    link = pod.contents().link("net1")

    assert link is not None
    assert told == {"name": "net1", "mac": link.mac, "mtu": link.mtu, "sandbox": pod.path}
    assert link.up
    assert link.mtu == 1420


def test_A2_all_that_the_result_says_is_there(pod: Pod) -> None:
    """Addresses, routes and gateway of the Result are in the sandbox."""
    result = pod.add().ok().json
    contents = pod.contents()
    index = contents.link("net1").index
    address = ipaddress.ip_interface(result["ips"][0]["address"])

    assert address.network.prefixlen == 32
    assert contents.addresses_of(index) >= {address.ip}
    assert [(r["dst"], r["gw"]) for r in result["routes"]] == [("10.22.0.0/16", str(HOP))]
    assert (ipaddress.ip_network("10.22.0.0/16"), HOP) in contents.routes_of(index)
    assert any(holder == index and hop == HOP for holder, hop, _ in contents.neighbours)


def test_A2_nothing_else_changed(pod: Pod) -> None:
    """eth0, the default route and the namespace's settings are what they were."""
    settings = f"ip netns exec {pod.name} sysctl -a 2>/dev/null | grep -v -e 'net1' -e cookie -e nf_conntrack -e random"
    settings = f"{settings} | grep -e '^net.ipv' -e '^net.core'"
    eventually(lambda: "tentative" not in sh(f"ip -n {pod.name} addr show eth0"))  # the kernel ends that by itself
    before = (routes(pod.name), sh(f"ip -n {pod.name} addr show eth0"), sh(settings))
    pod.add().ok()

    assert before == (routes(pod.name), sh(f"ip -n {pod.name} addr show eth0"), sh(settings))


def test_A3_host_interface(pod: Pod, node: Node) -> None:
    """The host end in the Result exists in the slice's namespace, up, and has no sandbox in the Result."""
    told = pod.add().ok().json["interfaces"][0]
    link = next(link for link in podview.links(netns.path_of(node.slice_netns())) if link.name == told["name"])

    assert link.up
    assert link.mac == told["mac"]
    assert "sandbox" not in told


def test_A4_second_add_is_refused(pod: Pod) -> None:
    """The same interface twice is an error that names it, and the first attachment is untouched."""
    pod.add().ok()
    before = pod.contents()

    assert "net1" in pod.add().error(101)
    assert before.links == pod.contents().links
    assert before.routes == pod.contents().routes


def test_A4_foreign_interface_of_that_name(pod: Pod, node: Node) -> None:
    """An interface that somebody else made under the name is an error, stays, and nothing of ours is left."""
    sh(f"ip -n {pod.name} link add net1 type veth peer name net1peer")

    assert "net1" in pod.add().error(101)
    assert pod.contents().link("net1") is not None
    assert links_of(node.slice_netns()) == {"lo"}
    assert not node.service.attacher.journal.all()


@pytest.mark.parametrize("path", ["/run/netns/there-is-none", "/etc/hostname", "/"])
def test_A5_missing_netns(pod: Pod, node: Node, path: str) -> None:
    """What is no namespace is an error that names it; no link, no address, no record remains."""
    assert path in pod.add(CNI_NETNS=path).error(8)
    assert links_of(node.slice_netns()) == {"lo"}
    assert not node.service.attacher.journal.all()


def test_A6_own_netns(pod: Pod) -> None:
    """The node's own namespace is refused with code 8."""
    pod.add(CNI_NETNS="/proc/self/ns/net").error(8)


def test_A7_agent_down(pod: Pod) -> None:
    """Without the agent an ADD says "try again later"."""
    pod.node.stop()

    assert "agent" in pod.add().error(11)


def test_A7_agent_dies_during_the_call(bare_node: Node) -> None:
    """A connection that ends without an answer is "try again later", too."""
    import socket

    bare_node.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bare_node.run / "cni.sock"))
        listener.listen()

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()

        bare_node.pod().add().error(11)
        thread.join()


def test_A8_pool_exhausted(node: Node) -> None:
    """A pool without a free address is named."""
    node.add_slice("tiny", ("10.30.0.0/30",), prefixes=(ipaddress.ip_network("10.30.0.0/24"),))
    node.pod().add(configuration(slice_name="tiny")).ok()

    message = node.pod().add(configuration(slice_name="tiny")).error(102)
    assert "10.30.0.0/30" in message
    assert "tiny" in message


def test_A9_requested_address_and_mac(pod: Pod) -> None:
    """Asked-for address and MAC are what the pod gets."""
    wish = {"ips": ["10.22.5.17/24"], "mac": "02:00:0A:16:05:11"}
    result = pod.add(configuration(runtimeConfig=wish)).ok().json
    link = pod.contents().link("net1")

    assert result["ips"][0]["address"] == "10.22.5.17/32"
    assert link.mac == "02:00:0a:16:05:11"
    assert ipaddress.ip_address("10.22.5.17") in pod.contents().addresses_of(link.index)


@pytest.mark.parametrize(
    ("wish", "code", "named"),
    [
        ({"ips": ["10.23.0.1"]}, 7, "10.23.0.1"),
        ({"ips": ["10.22.9.9"]}, 101, "10.22.9.9"),
        ({"ips": ["10.22.5.1"]}, 101, "10.22.5.1"),
        ({"ips": ["10.22.5.7", "10.22.5.8"]}, 7, "10.22.5.8"),
        ({"ips": ["fd00::1"]}, 7, "fd00::1"),
        ({"ips": ["10.22.5"]}, 7, "10.22.5"),
        ({"ips": "10.22.5.7"}, 7, "10.22.5.7"),
        ({"mac": "03:00:00:00:00:01"}, 7, "03:00:00:00:00:01"),
        ({"mac": "zz"}, 7, "zz"),
    ],
)
def test_A9_refused_rather_than_changed(pod: Pod, wish: dict[str, object], code: int, named: str) -> None:
    """An address or MAC that cannot be had is refused, showing it: outside, another node's, the node's, odd."""
    assert named in pod.add(configuration(runtimeConfig=wish)).error(code)
    assert pod.contents().link("net1") is None


@pytest.mark.parametrize("way", ["runtimeConfig", "args", "CNI_ARGS"])
def test_A9_three_ways_to_ask(pod: Pod, way: str) -> None:
    """runtimeConfig, args.cni and CNI_ARGS all can ask for an address."""
    wish = {"ips": ["10.22.5.20"], "mac": "02:00:00:00:00:14"}
    config = {"runtimeConfig": {"runtimeConfig": wish}, "args": {"args": {"cni": wish}}, "CNI_ARGS": {}}[way]
    asked = "IP=10.22.5.20;MAC=02:00:00:00:00:14" if way == "CNI_ARGS" else ""

    assert pod.add(configuration(**config), CNI_ARGS=asked).ok().json["ips"][0]["address"] == "10.22.5.20/32"


def test_A9_precedence(pod: Pod) -> None:
    """runtimeConfig outweighs args.cni, which outweighs CNI_ARGS."""
    config = configuration(runtimeConfig={"ips": ["10.22.5.21"]}, args={"cni": {"ips": ["10.22.5.22"]}})

    assert pod.add(config, CNI_ARGS="IP=10.22.5.23").ok().json["ips"][0]["address"] == "10.22.5.21/32"


def test_A10_address_in_use(node: Node) -> None:
    """An address that another pod has is refused, naming the pod."""
    first = node.pod()
    first.add(configuration(runtimeConfig={"ips": ["10.22.5.30"]})).ok()
    message = node.pod().add(configuration(runtimeConfig={"ips": ["10.22.5.30"]})).error(101)

    assert f"shop/{first.name}" in message
    assert "10.22.5.30" in message


def test_A10_released_address_rests(node: Node) -> None:
    """A released address is not given to the next pod."""
    first = node.pod().add().ok().json
    assert first["ips"][0]["address"] == "10.22.5.2/32"
    pod = node.pod()
    second = pod.add().ok().json["ips"][0]["address"]
    pod.delete().ok()

    assert node.pod().add().ok().json["ips"][0]["address"] not in {second, "10.22.5.2/32"}


def test_A11_one_network_twice(pod: Pod) -> None:
    """Two interfaces of one network in one pod work, each with its own address and route."""
    first, second = pod.add(interface="net1").ok().json, pod.add(interface="net2").ok().json
    contents = pod.contents()

    assert first["ips"][0]["address"] != second["ips"][0]["address"]
    for name in ("net1", "net2"):
        link = contents.link(name)
        assert (ipaddress.ip_network("10.22.0.0/16"), HOP) in contents.routes_of(link.index)


def test_A12_parallel_adds(node: Node) -> None:
    """Twenty ADDs at once all succeed, with twenty addresses."""
    pods = [node.pod() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda pod: pod.add().ok().json, pods))

    assert len({answer["ips"][0]["address"] for answer in answers}) == 20


def test_A13_killed_shim(node: Node) -> None:
    """A shim that is killed in the middle of an ADD leaves nothing that a DEL does not remove."""
    for _ in range(10):
        pod = node.pod()
        process = subprocess.Popen(
            [node.executable], env=pod.environment("ADD"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        process.stdin.write(json.dumps(configuration()).encode())
        process.stdin.close()
        process.kill()
        process.wait()
        pod.delete().ok()
        eventually(lambda pod=pod: pod.contents().link("net1") is None)

    eventually(lambda: links_of(node.slice_netns()) == {"lo"})
    assert not node.service.attacher.journal.all()


def test_A14_after_another_plugin(pod: Pod) -> None:
    """In a chain the previous Result comes back with ours added, and our addresses point at our interface."""
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": pod.path}],
        "ips": [{"address": "10.244.0.9/24", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.96.0.10"]},
    }
    result = pod.add(configuration(prevResult=previous)).ok().json

    assert [interface["name"] for interface in result["interfaces"]][::2] == ["eth0", "net1"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 2]
    assert result["routes"][0] == {"dst": "0.0.0.0/0"}
    assert result["dns"] == {"nameservers": ["10.96.0.10"]}


def test_A15_ipv6(node: Node) -> None:
    """A slice of IPv6 alone gives an IPv6 address that is usable at once (no duplicate detection)."""
    node.add_slice("six", ("fd22:5::/122",))
    pod = node.pod()
    result = pod.add(configuration(slice_name="six")).ok().json

    assert result["ips"][0] == {"address": "fd22:5::2/128", "gateway": "fe80::1", "interface": 1}
    assert "tentative" not in sh(f"ip -n {pod.name} -6 addr show dev net1 scope global")
    assert (ipaddress.ip_network("fd22:5::/48"), HOP6) in pod.contents().routes_of(pod.contents().link("net1").index)


def test_A15_ipv6_switched_off_in_the_pod(node: Node) -> None:
    """Where the pod's namespace has IPv6 off, it is switched on for our interface only."""
    node.add_slice("six", ("fd22:5::/122",))
    pod = node.pod()
    sh(f"ip netns exec {pod.name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    pod.add(configuration(slice_name="six")).ok()

    assert ipaddress.ip_address("fd22:5::2") in pod.contents().addresses_of(pod.contents().link("net1").index)
    assert sh(f"ip netns exec {pod.name} sysctl -n net.ipv6.conf.eth0.disable_ipv6") == "1\n"


def test_A15_dual_stack(node: Node) -> None:
    """A dual-stack slice gives one address a family, IPv4 first, and both reach the host end."""
    name = node.add_slice("both", ("10.40.0.0/26", "fd40::/122"))
    pod = node.pod()
    result = pod.add(configuration(slice_name="both")).ok().json
    sh(f"ip -n {name} link set lo up; ip -n {name} addr add 10.40.0.1/32 dev lo; ip -n {name} addr add fd40::1 dev lo")

    assert [ip["address"] for ip in result["ips"]] == ["10.40.0.2/32", "fd40::2/128"]
    sh(f"ip netns exec {pod.name} ping -c1 -W5 10.40.0.1")
    sh(f"ip netns exec {pod.name} ping -c1 -W5 fd40::1")


def test_A16_stdout_is_one_document(pod: Pod) -> None:
    """stdout has one JSON document and nothing else; stderr is empty."""
    answer = pod.add().ok()

    assert json.loads(answer.stdout.decode())["cniVersion"] == "1.1.0"
    assert answer.stdout.count(b"\n") == 1
    assert answer.stderr == b""
