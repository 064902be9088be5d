"""What `status` finds, and how far `--wait` is."""

from __future__ import annotations

import pytest

from slicer.cli.commands.health import render_status
from slicer.cli.diagnosis import CURES, problems, summary
from slicer.cli.output import show
from slicer.cli.progress import render_steps
from slicer.cli.slice_steps import steps_of
from tests.unit.cli import samples
from tests.unit.cli.samples import NOW


def whats(world: dict[str, list[samples.Resource]]) -> list[str]:
    """The problems' first sentences."""
    return [one.what for one in problems(world, NOW)]


def test_a_healthy_system_has_no_problems() -> None:
    """And the summary counts what there is."""
    world = samples.healthy()

    assert whats(world) == []
    assert ("tunnels", "2", "2 up") in summary(world, NOW)
    assert ("nodes", "3", "2 in a, 1 in b") in summary(world, NOW)


def test_an_empty_hub_asks_for_a_cluster() -> None:
    """That is no fault: nothing is broken."""
    found = problems({name: [] for name in samples.healthy()}, NOW)

    assert [(one.what, one.hint) for one in found] == [("no cluster has joined yet", True)]
    assert "slicectl join-token" in found[0].cure


def test_causes_come_before_consequences() -> None:
    """The lost cluster, its tunnel, the slice that suffers, the service without endpoints."""
    world = samples.healthy()
    world["clusters"][1] = samples.a_cluster("b", connected=False)
    world["tunnels"] = [samples.a_tunnel("a", "b", None), samples.a_tunnel("b", "a", int(NOW) - 300)]
    world["slices"][0]["status"]["conditions"] = [
        samples.condition("Ready", "PathDown", "no packet passes a → b"),
        samples.condition("Connected", "PathDown", "no packet passes a → b"),
    ]
    world["exports"] = [samples.a_service({"b": []})]

    assert whats(world) == [
        "cluster b is not connected to the hub; what runs there goes on with what it knows",
        "tunnel a/a-n1 → b/b-n1: no handshake yet",
        "tunnel b/b-n1 → a/a-n1: last handshake 5m ago",
        "slice red: no packet passes a → b",
        "service shop/web of slice red has no endpoints",
    ]


def test_a_tunnel_that_probes_do_not_pass_is_down_whatever_its_handshake() -> None:
    """The handshake is 12 s old; probes know better, both ways."""
    world = samples.healthy()
    world["tunnels"] = [
        samples.a_tunnel("a", "b", up=False),
        samples.a_tunnel("b", "a", int(NOW) - 300, up=True),
    ]

    assert whats(world) == ["tunnel a/a-n1 → b/b-n1: probes do not come back"]


def test_a_cluster_needs_nodes_that_can_be_gateways() -> None:
    """No node at all, or none with WireGuard."""
    world = samples.healthy()
    world["nodes"] = [samples.a_node("a", "a-n1", wireguard="")]

    assert whats(world) == [
        "no node of cluster a can be a gateway: none has WireGuard",
        "cluster b has no nodes",
    ]


def test_a_pod_that_waits_is_a_hint() -> None:
    """It may be attached the next moment."""
    world = samples.healthy()
    world["attachments"] = [samples.an_attachment("a", "client", "10.100.0.5", state="pending")]

    assert [(one.what, one.hint) for one in problems(world, NOW)] == [
        ("pod a/shop/client is not attached to slice red: not yet", True)
    ]


def test_a_pod_that_cannot_be_attached_says_why() -> None:
    """The agent's own words."""
    world = samples.healthy()
    world["attachments"] = [samples.an_attachment("a", "client", "10.100.0.5", state="pending")]
    world["attachments"][0]["spec"]["message"] = "slice 'red' overlaps slice 'blue'"

    assert whats(world) == ["pod a/shop/client is not attached to slice red: slice 'red' overlaps slice 'blue'"]


@pytest.mark.parametrize("reason", [*CURES, "SomethingNew"])
def test_every_reason_has_a_cure(reason: str) -> None:
    """A reason that a newer hub knows leads to the description."""
    world = samples.healthy()
    world["slices"][0]["status"]["conditions"] = [samples.condition("Connected", reason, "it is so")]
    (found,) = problems(world, NOW)

    assert found.what == "slice red: it is so"
    assert found.cure
    assert "{" not in found.cure


def test_the_screen_shows_cures_below_problems(capsys: pytest.CaptureFixture[str]) -> None:
    """And says so when all is well."""
    world = samples.healthy()
    show(render_status("lab", "https://h:1", summary(world, NOW), []))
    assert capsys.readouterr().out.endswith("\n\n✓ all is well\n")

    world["clusters"][0] = samples.a_cluster("a", connected=False)
    show(render_status("lab", "https://h:1", summary(world, NOW), problems(world, NOW)))
    text = capsys.readouterr().out
    assert "\n\n✗ cluster a is not connected to the hub" in text
    assert "\n  is the slicer-controller of a running" in text


def test_a_ready_slice_has_done_all_steps() -> None:
    """Both directions between both clusters."""
    assert render_steps(steps_of(samples.a_slice())) == [
        "✓ slice declared: 10.100.0.0/16",
        "✓ address blocks: a 10.100.0.0/20; b 10.100.16.0/20",
        "✓ gateways: a a-n1,a-n2; b b-n1",
        "✓ packets between clusters: 2 of 2 directions",
    ]


def test_each_missing_part_is_named() -> None:
    """Packets must have passed in both directions; a path that is down does not count."""
    one = samples.a_slice()
    one["status"]["paths"] = [samples.path("a", "b"), samples.path("b", "a", up=False)]
    one["status"]["clusters"][1]["gateways"] = []

    assert render_steps(steps_of(one))[2:] == [
        "… gateways: cluster b has none",
        "… packets between clusters: 1 of 2 directions, not yet b → a",
    ]


def test_a_slice_of_one_cluster_needs_no_packets() -> None:
    """There is nowhere to send them; it needs no gateway either."""
    one = samples.a_slice()
    del one["status"]["clusters"][1]
    one["status"]["clusters"][0]["gateways"] = []
    steps = steps_of(one)

    assert all(step.done for step in steps)
    assert render_steps(steps)[-1] == "✓ packets between clusters: one cluster only"


def test_packets_are_awaited_between_linked_clusters_only() -> None:
    """Two spokes need none between them: waiting ends when the hub and each spoke reach each other."""
    one = samples.a_slice()
    one["status"]["clusters"].append({**one["status"]["clusters"][1], "name": "c"})
    one["status"]["paths"] += [samples.path("a", "c"), samples.path("c", "a")]
    assert render_steps(steps_of(one))[-1].endswith("4 of 6 directions, not yet b → c, c → b")

    one["spec"]["topology"] = {"hubs": ["a"], "links": []}
    assert render_steps(steps_of(one))[-1] == "✓ packets between clusters: 4 of 4 directions"


def test_a_slice_without_clusters_is_not_ready() -> None:
    """Waiting goes on until one has joined."""
    one = samples.a_slice()
    one["status"]["clusters"] = []

    assert not any(step.done for step in steps_of(one)[1:])


def test_upkeep_that_waits_for_somebody_is_worth_a_look():
    """A drain and a rotation that go on are nothing; those that have waited for a minute name whom they wait for."""
    snapshot = samples.healthy()
    snapshot["drains"] = [samples.a_drain("a/a-n3", "b/b-n1")]
    snapshot["rotations"] = [samples.a_rotation(1), samples.a_rotation(2, "b/b-n1")]

    found = problems(snapshot, NOW)

    assert [(one.what, one.hint) for one in found] == [
        ("drain a/a-n1 waits for a/a-n3, b/b-n1", True),
        ("rotation of keys 0/2 waits for b/b-n1", True),
    ]
    assert problems(snapshot, NOW - 290) == []
