"""The agent's small parts: memberships, probes, results, requests, journal, bells."""

from __future__ import annotations

import ipaddress
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.agent.changes import Changes
from slicer.agent.cni_request import CniError, parse_request
from slicer.agent.cni_result import render_result
from slicer.agent.cni_server import answer, split_input
from slicer.agent.journal import Journal, Record
from slicer.agent.pods import wish_of
from slicer.agent.sandboxes import SandboxDirectory, parse_sandbox
from slicer.kernel.echo import checksum
from slicer.model.attachments import AttachedBy, Attachment
from slicer.model.clusters import NodeBlocks
from slicer.model.documents import Document, key_of
from slicer.model.errors import InvalidError
from slicer.model.slices import Bandwidth, Membership, Slice, SliceState
from slicer.plan.membership import Sandbox, free_interface, plan_memberships
from slicer.plan.probes import LOSSES_DOWN, Heard, path_health, plan_targets

PREFIX = ipaddress.ip_network("10.22.0.0/16")


def attachment(**changes: Any) -> Attachment:
    """An attachment of container c1."""
    values: dict[str, Any] = {
        "container_id": "c1",
        "interface": "net1",
        "slice": "red",
        "cluster": "a",
        "node": "a-n1",
        "namespace": "shop",
        "pod": "web",
        "netns": "/run/netns/x",
        "addresses": (ipaddress.ip_address("10.22.5.2"),),
        "mac": "02:00:00:00:00:01",
        "host_interface": "p00000001",
        "mtu": 1420,
    }
    return Attachment(**{**values, **changes})


def sandbox(container: str = "c1", **changes: Any) -> Sandbox:
    """A running pod."""
    return Sandbox(**{"container_id": container, "namespace": "shop", "name": "web", "netns": "/n", **changes})


def member(name: str = "m", **changes: Any) -> Membership:
    """A membership of the whole namespace shop in red."""
    return Membership(**{"name": name, "slice": "red", "cluster": "a", "namespace": "shop", **changes})


def view(*documents: Document) -> dict[str, Document]:
    """A view with slice red."""
    red = SliceState(spec=Slice(name="red", prefixes=(PREFIX,)), vni=7, tunnel_set=0)
    return {key_of(document): document for document in (red, *documents)}


@pytest.mark.parametrize(
    ("membership", "covered"),
    [
        (member(), True),
        (member(namespace="bank"), False),
        (member(cluster="b"), False),
        (member(slice="blue"), False),
        (member(pod="web"), True),
        (member(pod="db"), False),
        (member(labels=(("app", "web"),)), True),
        (member(labels=(("app", "web"), ("tier", "1"))), False),
    ],
)
def test_who_is_covered(membership: Membership, covered: bool) -> None:
    """Cluster, slice, namespace, pod and all labels have to fit."""
    pods = {"c1": sandbox(labels=(("app", "web"), ("v", "2")))}

    assert bool(plan_memberships(view(membership), "a", pods, [], 0.0).attach) is covered


def test_what_cni_attached_counts_and_stays() -> None:
    """A pod that CNI put on the slice is not attached again, nor detached when no membership covers it."""
    pods = {"c1": sandbox()}

    assert plan_memberships(view(member()), "a", pods, [attachment()], 0.0).attach == ()
    assert plan_memberships(view(), "a", pods, [attachment()], 0.0).detach == ()


def test_end_of_the_membership_and_of_the_pod() -> None:
    """What a membership attached is ended with it, or with the pod."""
    ours = attachment(by=AttachedBy.MEMBERSHIP, membership="m")

    assert plan_memberships(view(member()), "a", {"c1": sandbox()}, [ours], 0.0).detach == ()
    assert plan_memberships(view(), "a", {"c1": sandbox()}, [ours], 0.0).detach == (ours,)
    assert plan_memberships(view(member()), "a", {}, [ours], 0.0).detach == (ours,)


def test_another_membership_keeps_it() -> None:
    """When one of two memberships ends, the pod stays as it is."""
    ours = attachment(by=AttachedBy.MEMBERSHIP, membership="m")
    plan = plan_memberships(view(member("other")), "a", {"c1": sandbox()}, [ours], 0.0)

    assert (plan.attach, plan.detach) == ((), ())


def test_a_membership_ends_by_the_nodes_own_clock() -> None:
    """Nobody has removed it, because nobody is there who could: from its last second on it attaches and keeps none."""
    ours = attachment(by=AttachedBy.MEMBERSHIP, membership="m")
    held, pods = view(member(until_s=1000)), {"c1": sandbox()}

    assert plan_memberships(held, "a", pods, [ours], 999.9).detach == ()
    assert len(plan_memberships(held, "a", pods, [], 999.9).attach) == 1
    assert plan_memberships(held, "a", pods, [ours], 1000.0).detach == (ours,)
    assert plan_memberships(held, "a", pods, [], 1000.0).attach == ()


def test_another_membership_outlives_one_that_ends() -> None:
    """The pod stays as it is while any membership covers it."""
    ours = attachment(by=AttachedBy.MEMBERSHIP, membership="m")
    held = view(member(until_s=1000), member("other"))

    plan = plan_memberships(held, "a", {"c1": sandbox()}, [ours], 2000.0)

    assert (plan.attach, plan.detach) == ((), ())


def test_changed_wish_attaches_anew() -> None:
    """Another interface name or address in the membership ends the old interface and makes a new one."""
    ours = attachment(by=AttachedBy.MEMBERSHIP)
    wish = member(pod="web", addresses=(ipaddress.ip_address("10.22.5.9"),))
    plan = plan_memberships(view(wish), "a", {"c1": sandbox()}, [ours], 0.0)

    assert plan.detach == (ours,)
    assert plan.attach == ((wish, sandbox()),)


@pytest.mark.parametrize(
    "wish", [{"mac": "02:00:0a:16:00:05", "pod": "web"}, {"bandwidth": Bandwidth(ingress_bps=9000)}]
)
def test_hardware_address_and_rates_of_a_membership_hold(wish: dict[str, Any]) -> None:
    """They are asked for; what is attached otherwise is attached anew, and what is attached so stays."""
    wished = member(**wish)
    asked = wish_of(wished, sandbox(), "net1")
    assert (asked.mac, asked.bandwidth) == (wish.get("mac"), wish.get("bandwidth"))

    other = attachment(by=AttachedBy.MEMBERSHIP, mac="02:00:00:00:00:99")
    plan = plan_memberships(view(wished), "a", {"c1": sandbox()}, [other], 0.0)
    assert (plan.attach, plan.detach) == (((wished, sandbox()),), (other,))

    done = attachment(by=AttachedBy.MEMBERSHIP, **{key: value for key, value in wish.items() if key != "pod"})
    plan = plan_memberships(view(wished), "a", {"c1": sandbox()}, [done], 0.0)
    assert (plan.attach, plan.detach) == ((), ())


def test_free_interface() -> None:
    """The wished name counts; else the first of net1, net2, … that the pod does not have."""
    assert free_interface(member(interface="slice0"), {"net1"}) == "slice0"
    assert free_interface(member(), {"eth0", "net1", "net3"}) == "net2"


def test_probes_go_to_remote_gateways_only() -> None:
    """The view holds remote nodes' blocks only for gateways; own nodes are no targets; source is our own router."""
    blocks = [
        NodeBlocks(slice="red", cluster=cluster, node=node, blocks=(ipaddress.ip_network(block),))
        for cluster, node, block in (
            ("a", "a-n1", "10.22.1.0/26"),
            ("a", "a-n2", "10.22.1.64/26"),
            ("b", "b-n1", "10.22.2.0/26"),
        )
    ]
    (target,) = plan_targets(view(*blocks), "a", "a-n1")

    assert (str(target.source), str(target.address)) == ("10.22.1.1", "10.22.2.1")
    assert (target.remote_cluster, target.remote_node, target.vni) == ("b", "b-n1", 7)


def test_path_is_down_after_three_losses_and_up_with_one_answer() -> None:
    """A path that never answered is down; one answer makes it up, three losses in a row down."""
    heard = Heard()
    assert not heard.up
    heard = heard.reply(500)
    assert heard.up
    for _ in range(LOSSES_DOWN):
        assert heard.up
        heard = heard.silence()

    assert not heard.up
    assert heard.reply(400).up


def test_path_of_a_cluster_is_its_best_gateway() -> None:
    """A cluster is up while one gateway answers; the quickest gives name and round trip."""
    blocks = [
        NodeBlocks(slice="red", cluster=cluster, node=node, blocks=(ipaddress.ip_network(block),))
        for cluster, node, block in (
            ("a", "a-n1", "10.22.1.0/26"),
            ("b", "b-n1", "10.22.2.0/26"),
            ("b", "b-n2", "10.22.2.64/26"),
        )
    ]
    first, second = plan_targets(view(*blocks), "a", "a-n1")
    (path,) = path_health("a", "a-n1", {first: Heard(), second: Heard().reply(700).reply(900).reply(800)})

    assert (path.up, path.gateway, path.rtt_us) == (True, "b-n2", 800)


def test_results_of_all_versions_say_the_same() -> None:
    """V7: converted up, the Results of all versions are equal."""
    both = attachment(addresses=(ipaddress.ip_address("10.22.5.2"), ipaddress.ip_address("fd22::2")))
    plain = []
    for version in ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"):
        result = render_result(both, (PREFIX, ipaddress.ip_network("fd22::/48")), version=version, previous=None)
        for ip in result["ips"]:
            ip.pop("version", None)
        for interface in result["interfaces"]:
            interface.pop("mtu", None)
        plain.append({**result, "cniVersion": ""})

    assert all(result == plain[0] for result in plain)
    assert [route["gw"] for route in plain[0]["routes"]] == ["169.254.1.1", "fe80::1"]


@given(st.dictionaries(st.text(), st.text()), st.binary())
def test_any_input_is_refused_or_parsed(environment: dict[str, str], stdin: bytes) -> None:
    """No environment and no stdin makes the parser raise anything but a CNI error."""
    code = 0
    try:
        parse_request({"CNI_CONTAINERID": "c", "CNI_IFNAME": "i", "CNI_COMMAND": "DEL", **environment}, stdin)
    except CniError as error:
        code = error.code

    assert code in {0, 1, 4, 6, 7}


def test_fault_of_ours_is_an_answer() -> None:
    """An exception that nobody foresaw becomes an error object, not a silence."""

    def fail(_: object) -> bytes:
        raise RuntimeError("oh")

    stdin = b'{"cniVersion":"1.1.0","name":"n","slicer":{"slice":"red"}}'
    code, stdout = answer({"CNI_COMMAND": "STATUS"}, stdin, fail)

    assert code == 1
    assert b'"code":999' in stdout


@given(
    st.lists(st.tuples(st.text("ABC_", min_size=1), st.text("xyz=", min_size=0)), unique_by=lambda p: p[0]), st.binary()
)
def test_shim_protocol_round_trip(pairs: list[tuple[str, str]], stdin: bytes) -> None:
    """What a shim sends comes out as environment and stdin, whatever they hold."""
    data = b"".join(f"{name}={value}\0".encode() for name, value in pairs) + b"\0" + stdin

    assert split_input(data) == (dict(pairs), stdin)


def test_journal_survives(tmp_path: Path) -> None:
    """A journal opened again has the same records; a released one rests, a forgotten one is gone."""
    journal = Journal(tmp_path)
    records = [Record(attachment=attachment(container_id=f"c{n}"), vni=7, netns_cookie=n) for n in range(3)]
    for record in records:
        journal.put(record)
    journal.rest(("c1", "net1"))
    journal.forget(("c2", "net1"))
    again = Journal(tmp_path)

    assert again.all() == records[:1]
    assert again.resting() == {"red": {ipaddress.ip_address("10.22.5.2")}}


def test_rest_ends(tmp_path: Path) -> None:
    """An address has rested enough a minute after its release, and its file goes."""
    journal = Journal(tmp_path)
    journal.put(Record(attachment=attachment(), vni=7))
    journal.rest(("c1", "net1"))
    (file,) = (tmp_path / "resting").iterdir()
    os.utime(file, (file.stat().st_mtime - 61,) * 2)
    again = Journal(tmp_path)

    assert again.resting() == {}
    assert not file.exists()


def test_resting_follows_releases_and_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking before a release, between two and after their minute gives what is true then; so does a clock set back."""
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    journal = Journal(tmp_path)
    first, second = (ipaddress.ip_address(text) for text in ("10.22.5.2", "10.22.5.3"))
    for container, address in (("c1", first), ("c2", second)):
        journal.put(Record(attachment=attachment(container_id=container, addresses=(address,)), vni=7))

    assert journal.resting() == {}
    journal.rest(("c1", "net1"))
    assert journal.resting() == {"red": {first}}
    now[0] += 30
    journal.rest(("c2", "net1"))
    assert journal.resting() == journal.resting() == {"red": {first, second}}
    now[0] += 31
    assert journal.resting() == {"red": {second}}
    now[0] -= 3600
    assert journal.resting() == {}


def test_remains_of_a_killed_write(tmp_path: Path) -> None:
    """A temporary file is removed at the next start; it never was a record."""
    Journal(tmp_path)
    (tmp_path / "attachments" / ".c9:net1.json.77").write_text("{")

    assert Journal(tmp_path).all() == []
    assert list((tmp_path / "attachments").iterdir()) == []


def test_sandboxes_come_change_and_go(tmp_path: Path) -> None:
    """Each change of the directory is seen by the next look and rings once; what cannot be read is left out."""
    changed = Changes()
    directory = SandboxDirectory(tmp_path, changed)
    text = '{"id":"c1","namespace":"shop","name":"web","netns":"/n","labels":{"b":"2","a":"1"}}'
    (tmp_path / "c1.json").write_text(text)
    (tmp_path / "bad.json").write_text("{")
    directory.look()
    directory.look()
    assert directory.all() == {"c1": sandbox(labels=(("a", "1"), ("b", "2")))}
    assert changed.count == 1
    (tmp_path / "c1.json").unlink()
    directory.look()

    assert directory.all() == {}
    assert changed.count == 2


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"{}", b'{"id":1}', b'{"id":"x","namespace":"y","name":"z","labels":5,"netns":"n"}']
)
def test_what_is_no_sandbox(text: bytes) -> None:
    """Anything else in a sandbox file is refused in words."""
    with pytest.raises(InvalidError, match="not a sandbox"):
        parse_sandbox(text)


def test_a_ring_before_waiting_is_not_lost() -> None:
    """Who looked, and then waits, hears what rang in between; and a ring wakes who waits."""
    changes = Changes()
    seen = changes.count
    changes.ring()
    assert changes.wait_beyond(seen, 0)
    seen = changes.count
    assert not changes.wait_beyond(seen, 0)
    threading.Thread(target=changes.ring).start()

    assert changes.wait_beyond(seen, 30)


@given(st.binary(max_size=64))
def test_checksum_makes_the_sum_zero(data: bytes) -> None:
    """RFC 1071: a packet with its checksum in it sums up to zero."""
    even = data + b"\0" * (len(data) % 2)

    assert checksum(even + checksum(even).to_bytes(2, "big")) == 0
