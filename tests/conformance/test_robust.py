"""Results and robustness: lines V7 and R1 to R5 of the black-box list."""

from __future__ import annotations

import json
import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.node import VERSIONS, Node, Pod, configuration, eventually

pytestmark = pytest.mark.root


@pytest.mark.parametrize("version", VERSIONS)
def test_V7_result_of_each_version(pod: Pod, version: str) -> None:
    """Each version's Result has exactly that version's keys."""
    result = pod.add(configuration(version)).ok().json
    old, newest = version.startswith("0."), version == "1.1.0"

    assert result["cniVersion"] == version
    assert set(result["ips"][0]) == {"address", "gateway", "interface"} | ({"version"} if old else set())
    assert set(result["interfaces"][1]) == {"name", "mac", "sandbox"} | ({"mtu"} if newest else set())
    assert result["ips"][0].get("version", "4") == "4"


def test_R1_unknown_keys_elsewhere(pod: Pod) -> None:
    """Keys that are not ours are none of our business."""
    pod.add(configuration(futureKey={"a": 1}, ipMasq=True, ipam={}, dns={"nameservers": []})).ok()


@pytest.mark.parametrize("section", [{"slice": "red", "mtu": 9000}, {"slcie": "red"}])
def test_R1_own_typos(pod: Pod, section: dict[str, Any]) -> None:
    """An unknown key in our own section is code 2, with key and value."""
    message = pod.add(configuration(slicer=section)).error(2)
    key = next(key for key in section if key != "slice")

    assert f"slicer.{key}" in message
    assert json.dumps(section[key]) in message


@pytest.mark.parametrize("section", [None, {}, {"slice": ""}, {"slice": 5}, {"slice": "Red!"}, "red", []])
def test_R1_no_usable_section(pod: Pod, section: object) -> None:
    """A missing or unusable section is code 7."""
    pod.add(configuration(slicer=section)).error(7)


@pytest.mark.parametrize("ips", ["ips", "IPs", "Ips"])
def test_R2_key_case(pod: Pod, ips: str) -> None:
    """Go's decoders ignore the case of keys, so capability arguments may come in any."""
    wish = {
        ips: ["10.22.5.17"],
        "Mac": "02:00:00:00:00:11",
        "Bandwidth": {"IngressRate": 8_000_000, "IngressBurst": 80_000},
    }
    pod.add(configuration(runtimeConfig=wish)).ok()
    attachment = pod.node.service.attacher.journal.attachments()[0]

    assert str(attachment.addresses[0]) == "10.22.5.17"
    assert attachment.mac == "02:00:00:00:00:11"
    assert attachment.bandwidth.ingress_bps == 8_000_000
    assert attachment.bandwidth.ingress_burst_bits == 80_000
    assert attachment.bandwidth.egress_bps is None


def test_R2_multus_zeroes(pod: Pod) -> None:
    """Multus always sends all four bandwidth numbers; zeroes are no wish."""
    zeroes = {"ingressRate": 0, "ingressBurst": 0, "egressRate": 0, "egressBurst": 0}
    pod.add(configuration(runtimeConfig={"bandwidth": zeroes})).ok()

    assert pod.node.service.attacher.journal.attachments()[0].bandwidth is None


@pytest.mark.parametrize(
    "bandwidth",
    [{"ingressRate": -1}, {"ingressRate": "8M"}, {"ingressBurst": 5}, {"egressRate": 1}, {"egressRate": True}],
)
def test_R2_impossible_rates(pod: Pod, bandwidth: dict[str, object]) -> None:
    """A rate that cannot be kept is refused, not ignored."""
    pod.add(configuration(runtimeConfig={"bandwidth": bandwidth})).error(7)


def test_port_mappings_cannot_be_done(pod: Pod) -> None:
    """A port mapping that gets here cannot be done: refused, not ignored (NPWG specification)."""
    mapping = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]

    assert "8080" in pod.add(configuration(runtimeConfig={"portMappings": mapping})).error(2)


def test_R3_secrets_are_not_repeated(pod: Pod) -> None:
    """What other plugins' sections hold never comes back, in success or failure."""
    secret = "hunter2hunter2"
    answers = [
        pod.add(configuration(otherPlugin={"password": secret})),
        pod.add(configuration(otherPlugin={"password": secret})),
        pod.add(configuration(slice_name="none", otherPlugin={"password": secret}), interface="net2"),
    ]

    assert [answer.code for answer in answers] == [0, 1, 1]
    assert all(secret.encode() not in answer.stdout + answer.stderr for answer in answers)


def test_R4_modes(pod: Pod, node: Node) -> None:
    """State files and the socket are for root only."""
    pod.add().ok()
    node.stop()
    pod.delete(interface="net9").ok()
    paths = [*node.state.rglob("*")]
    node.start()

    assert {path.stat().st_mode & 0o077 for path in paths if path.exists()} == {0}
    assert (node.run / "cni.sock").stat().st_mode & 0o777 == 0o600


def test_R4_links_are_not_followed(bare_node: Node) -> None:
    """A symbolic link in the journal's place is neither read nor written through."""
    victim = bare_node.state / "victim"
    journal = bare_node.state / "attachments"
    journal.mkdir(parents=True)
    victim.write_text("precious")
    pod = bare_node.pod()
    (journal / f"{pod.container}:net1.json").symlink_to(victim)
    bare_node.start()
    pod.add().ok()

    assert victim.read_text() == "precious"
    assert not (journal / f"{pod.container}:net1.json").is_symlink()


def test_R4_tombstone_links_are_not_followed(pod: Pod, node: Node) -> None:
    """Nor is one in a tombstone's place: the DEL says "try again" instead."""
    victim = node.state / "victim"
    node.stop()
    (node.state / "tombstones" / f"{pod.container}:net1").symlink_to(victim)
    pod.delete().error(11)

    assert not victim.exists()


def test_R5_forty_at_once(node: Node) -> None:
    """Forty ADDs, then forty DELs at once, as under Multus: all succeed, and nothing is left."""
    pods = [node.pod() for _ in range(40)]
    with ThreadPoolExecutor(40) as pool:
        added = list(pool.map(lambda pod: pod.add().ok().json["ips"][0]["address"], pods))
        list(pool.map(lambda pod: pod.delete().ok(), pods))

    assert len(set(added)) == 40
    assert not node.service.attacher.journal.all()


def test_too_many_open_files_pass(pod: Pod, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A call that could not be taken for want of a file descriptor does not end the taking of calls."""
    caplog.set_level("INFO", "slicer.agent")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as waiting:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            waiting.connect(str(node.run / "cni.sock"))
            eventually(lambda: "cni.accept_failed" in caplog.messages)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    pod.add().ok()


@pytest.mark.parametrize("data", [b"", b"CNI_COMMAND=ADD", b"\0", b"CNI_COMMAND=ADD\0\0{", b"\xff\xfe\0\0\0\0"])
def test_garbage_on_the_socket(pod: Pod, node: Node, data: bytes) -> None:
    """Whatever comes in by the socket, the agent goes on serving."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(node.run / "cni.sock"))
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        answer = link.recv(65536)

    assert answer[:1] in {b"", b"1"}
    pod.add().ok()
