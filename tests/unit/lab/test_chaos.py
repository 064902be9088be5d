"""The experiments' pure half: what is judged how, what is done to whom, and that the words for nft are there once."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from slicer.lab.chaos import experiments, faults, judging, steps
from slicer.lab.chaos.choosing import Pod, Stage, Wish, choose_pods, choose_slice
from slicer.lab.chaos.experiments import EXPERIMENTS, Choice, Hold, Scene, Strength, Target, machines_for
from slicer.lab.chaos.judging import Direction, Figures, Limits, Opinion, Times, figures, judge
from slicer.lab.chaos.relay import is_between_clusters
from slicer.lab.chaos.running import Terms, limits_of
from slicer.lab.chaos.steps import Kind
from slicer.lab.layout import Layout
from slicer.model.errors import InvalidError, NotFoundError, SlicerError
from slicer.model.slices import Objectives, Slice
from slicer.model.topology import SliceTopology

LAYOUT = Layout(name="lab", clusters=("a", "b"), nodes=3)
TIMES = Times(started=0, fault_at=2, repair_at=7, repaired_at=8, ended_at=11)
SPACING_S = 0.02
QUIET = Limits(silence_s=1.0)


def direction(lost=lambda _flow, _at: False, under_way_s=0.001, flows=2):
    """Flows that run for eleven seconds; `lost` says of flow and time of sending whether a packet is."""
    sent_at = tuple(number * SPACING_S for number in range(int(TIMES.ended_at / SPACING_S)))
    heard = tuple(
        tuple((number, at + under_way_s) for number, at in enumerate(sent_at) if not lost(flow, at))
        for flow in range(flows)
    )
    return Direction(source="a", target="b", sent_at=sent_at, heard=heard)


def found(**more):
    """Figures of a direction in which nothing went wrong, but for what is given."""
    usual = {"sent": 100, "lost": 0, "flows": 2, "hit": 0, "silence_s": 0.02, "back_s": 0.0, "silence_after_s": 0.02}
    return Figures(
        source="a", target="b", **{**usual, "steady_percent": 0, "after_percent": 0, "latency_s": 0.01} | more
    )


def test_a_silence_is_the_longest_of_any_flow_and_ends_where_packets_come_again():
    """One of two flows stands still for 0.6 s from half a second after the fault on."""
    one = figures(direction(lambda flow, at: flow == 1 and 2.5 < at < 3.1), TIMES, QUIET)

    assert one.silence_s == pytest.approx(0.6, abs=0.05)
    assert one.back_s == pytest.approx(1.1, abs=0.05)
    assert (one.flows, one.hit) == (2, 1)
    assert one.silence_after_s < 0.05
    assert 0 < one.lost < 31


def test_silence_until_the_repair_is_said_to_be_so_and_does_not_count_as_silence_after_it():
    """back_s is None, and after the repair only what was still silent then is counted."""
    one = figures(direction(lambda _flow, at: 2 <= at < 8.5), TIMES, QUIET)

    assert one.back_s is None
    assert one.silence_s == pytest.approx(5, abs=0.05)
    assert one.silence_after_s == pytest.approx(0.5, abs=0.05)


def test_losses_before_a_flow_may_be_silent_no_more_are_not_held_against_the_objectives():
    """A flow that is silent for as long as it may be has lost nothing in the time that objectives are judged by."""
    one = figures(direction(lambda _flow, at: 2 <= at < 2.9), TIMES, QUIET)

    assert one.lost > 80
    assert one.steady_percent == 0


def test_losses_and_latency_are_those_with_the_fault_still_there():
    """Every second packet is lost after the first second of the fault, each takes 30 ms."""
    one = figures(direction(lambda _flow, at: 3 < at < 7 and round(at / SPACING_S) % 2, under_way_s=0.03), TIMES, QUIET)

    assert one.steady_percent == pytest.approx(50, abs=1)
    assert one.after_percent == 0
    assert one.latency_s == pytest.approx(0.03)


@pytest.mark.parametrize("hold", list(Hold))
def test_undisturbed_flows_pass(hold):
    """Nothing lost, nothing silent: whatever was to hold did."""
    limits = Limits(silence_s=1, objectives=Objectives(latency_ms=10, loss_percent=0))
    both = [figures(direction(), TIMES, limits)] * 2

    assert judge(hold, limits, both, Opinion(before="Met", during=("Met",), after="Met")) == ()


@pytest.mark.parametrize(
    ("hold", "one", "reasons"),
    [
        (
            Hold.HEALS,
            {"silence_s": 1.2, "back_s": 1.5, "hit": 1},
            ["a to b: 1 of 2 flows silent, for 1.20 s; wanted at most 1 s"],
        ),
        (
            Hold.HEALS,
            {"silence_s": 5.0, "back_s": None, "hit": 2},
            ["a to b: 2 of 2 flows silent, until the repair; wanted at most 1 s"],
        ),
        (Hold.HEALS, {"silence_s": 0.9, "hit": 2}, []),
        (
            Hold.UNHARMED,
            {"silence_s": 0.9, "hit": 1, "back_s": 2.0},
            ["a to b: 1 of 2 flows silent, for 0.90 s; wanted at most 0.25 s"],
        ),
        (Hold.NOTHING, {"silence_s": 5.0, "back_s": None, "hit": 2, "steady_percent": 100}, []),
        (Hold.NOTHING, {"silence_after_s": 2.0}, ["a to b: after the repair silent for 2.00 s; wanted at most 1 s"]),
        (Hold.HEALS, {"steady_percent": 3.0}, ["a to b: 3.0 % lost; the slice's objective is 2 %"]),
        (Hold.HEALS, {"after_percent": 3.0}, ["a to b: after the repair 3.0 % lost; the slice's objective is 2 %"]),
        (Hold.HEALS, {"latency_s": 0.06}, ["round trip of 60.0 ms; the slice's objective is 50 ms"]),
        (Hold.HEALS, {"latency_s": None}, []),
    ],
)
def test_what_is_wrong_is_said_in_words(hold, one, reasons):
    """Each thing that can be wrong fails, alone, and nothing else does."""
    limits = Limits(silence_s=1, objectives=Objectives(latency_ms=50, loss_percent=2))
    opinion = Opinion(before="Met", during=("Violated",), after="Met")

    assert list(judge(hold, limits, [found(**one)], opinion)) == reasons


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        (
            "Violated",
            "Violated",
            ["the objectives were Violated before anything was done", "the objectives are Violated at the end"],
        ),
        ("Met", "no answer", ["the objectives are no answer at the end"]),
        ("", "Met", ["the objectives were unknown before anything was done"]),
    ],
)
def test_the_hubs_word_before_and_after_counts(before, after, reasons):
    """What the hub says meanwhile does not: a fault may violate the objectives for a moment."""
    limits = Limits(silence_s=1, objectives=Objectives())

    assert (
        list(judge(Hold.HEALS, limits, [found()], Opinion(before=before, during=("Violated",), after=after))) == reasons
    )


def test_without_objectives_only_silences_count():
    """However much is lost, however slow it is, whatever the hub says."""
    one = found(steady_percent=90, after_percent=90, latency_s=3.0)

    assert judge(Hold.HEALS, QUIET, [one], Opinion(before="Violated", after="Violated")) == ()


def scene(machines=("a-n1", "a-n2")):
    """Two gateways of cluster a."""
    return Scene(layout=LAYOUT, machines=machines, cluster="a", other="b")


@pytest.mark.parametrize("one", EXPERIMENTS, ids=lambda one: one.name)
def test_an_experiment_does_something_to_its_machines_alone_and_can_be_written_down(one):
    """At least one step for each machine, none for another; JSON gives the same steps back."""
    wanted = tuple(one.steps(scene()))

    assert {step.machine for step in wanted} == {"a-n1", "a-n2"}
    assert steps.parse_journal(steps.render_journal(wanted)) == wanted
    assert all(step.said.startswith(f"{step.machine}: ") for step in wanted)


def test_names_are_unique_and_all_is_all_of_them():
    """`all` is no experiment's name."""
    names = [one.name for one in EXPERIMENTS]

    assert len(set(names)) == len(names)
    assert experiments.find("all") == EXPERIMENTS
    assert [one.name for one in experiments.find("loss")] == ["loss"]
    with pytest.raises(InvalidError, match="no experiment 'los'; there are kill-gateway, "):
        experiments.find("los")


def choice(**more):
    """Gateways n1 and n2 of cluster a; a pod on n1."""
    return Choice(**{"layout": LAYOUT, "cluster": "a", "gateways": ("a-n1", "a-n2"), "busy": ("a-n1", "b-n3")} | more)


def pick(target, **more):
    """What is chosen for an experiment of that target."""
    return machines_for(dataclasses.replace(EXPERIMENTS[0], target=target), choice(**more))


def test_a_gateway_without_the_flows_pods_is_preferred():
    """Where there is none, only an experiment that needs one is refused."""
    assert pick(Target.FREE_GATEWAY) == pick(Target.GATEWAY) == ("a-n2",)
    assert pick(Target.GATEWAY, busy=("a-n1", "a-n2")) == ("a-n1",)
    with pytest.raises(InvalidError, match="a pod of the flows runs on every gateway of cluster a"):
        pick(Target.FREE_GATEWAY, busy=("a-n1", "a-n2"))


def test_the_users_choice_of_a_gateway_counts():
    """One that is none, or that runs a pod of the flows where that may not be, is refused."""
    assert pick(Target.GATEWAY, node="a-n1") == pick(Target.GATEWAYS, node="a-n1") == ("a-n1",)
    with pytest.raises(InvalidError, match="'a-n3' is no gateway of the slice in cluster a; those are a-n1, a-n2"):
        pick(Target.GATEWAY, node="a-n3")
    with pytest.raises(InvalidError, match="runs on gateway a-n1"):
        pick(Target.FREE_GATEWAY, node="a-n1")
    with pytest.raises(InvalidError, match="no gateway in cluster a"):
        pick(Target.GATEWAY, gateways=())


def test_other_targets():
    """All gateways, all nodes, the control plane, the hub."""
    assert pick(Target.GATEWAYS) == ("a-n1", "a-n2")
    assert pick(Target.CLUSTER) == ("a-n1", "a-n2", "a-n3")
    assert pick(Target.MEMBER) == ("a-cp",)
    assert pick(Target.HUB) == ("hub",)


@pytest.mark.parametrize(
    "wrong", [{"loss_percent": 0}, {"loss_percent": 101}, {"delay_ms": 0}, {"size": 20}, {"size": 9000}]
)
def test_a_strength_that_cannot_be_is_refused(wrong):
    """No loss of nothing, no packet of 9000 bytes."""
    with pytest.raises(InvalidError):
        Strength(**wrong)


POD = Pod(cluster="a", namespace="shop", name="client", node="a-n1", address="10.0.0.1")


def attachment(name, cluster, state="attached"):
    """An attachment as the hub tells it."""
    return {
        "cluster": cluster,
        "namespace": "shop",
        "pod": name,
        "node": f"{cluster}-n1",
        "state": state,
        "addresses": ["10.0.0.1"],
    }


ATTACHED = [
    attachment("web", "b"),
    attachment("client", "a"),
    attachment("other", "a"),
    attachment("gone", "b", "pending"),
]


RED = Slice(name="red", prefixes=(ipaddress.ip_network("10.0.0.0/16"),))


def test_pods_are_chosen_in_two_clusters():
    """The first by name, or those that are named by any last parts of their names."""
    assert [pod.full_name for pod in choose_pods(ATTACHED, RED, Wish())] == ["a/shop/client", "b/shop/web"]
    assert [p.name for p in choose_pods(ATTACHED, RED, Wish(source="web", target="a/shop/other"))] == ["web", "other"]


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        (Wish(source="gone"), NotFoundError, "--from gone: no such pod on slice red; there are a/shop/client, "),
        (Wish(source="client", target="other"), SlicerError, "no two such pods in two linked clusters"),
    ],
)
def test_pods_that_cannot_be_are_refused(wish, error, words):
    """One that is not attached, two of one cluster."""
    with pytest.raises(error, match=words):
        choose_pods(ATTACHED, RED, wish)


def test_pods_are_chosen_in_clusters_that_are_linked():
    """Between two spokes nothing is to flow: a fault could not be seen there."""
    starred = dataclasses.replace(RED, topology=SliceTopology(hubs=("c",)))
    assert [p.cluster for p in choose_pods([*ATTACHED, attachment("hub", "c")], starred, Wish())] == ["a", "c"]
    with pytest.raises(SlicerError, match="in two linked clusters"):
        choose_pods(ATTACHED, starred, Wish())


def test_a_slice_is_named_where_there_are_several():
    """The only one needs no name."""
    assert choose_slice(["red"], "") == "red"
    assert choose_slice(["blue", "red"], "red") == "red"
    with pytest.raises(InvalidError, match="which slice"):
        choose_slice(["blue", "red"], "")
    with pytest.raises(NotFoundError, match="there are blue"):
        choose_slice(["blue"], "green")
    with pytest.raises(NotFoundError, match="slicectl create-slice"):
        choose_slice([], "")


def frame(port, source=5000, kind=0x0800, protocol=17, fragment=0):
    """The beginning of an Ethernet frame with a UDP datagram."""
    ports = source.to_bytes(2, "big") + port.to_bytes(2, "big")
    if kind == 0x86DD:
        return bytes(12) + kind.to_bytes(2, "big") + bytes(6) + bytes([protocol]) + bytes(33) + ports + bytes(8)
    head = bytearray(24)  # one option: the header's length is read, not assumed
    head[0], head[9], head[6:8] = 0x46, protocol, fragment.to_bytes(2, "big")
    return bytes(12) + kind.to_bytes(2, "big") + bytes(head) + ports + bytes(8)


def test_the_relay_holds_back_only_what_goes_between_clusters():
    """UDP to or from a tunnel's port, IPv4 and IPv6; not VXLAN, not TCP, not what is no IP."""
    assert all(is_between_clusters(one) for one in (frame(51820), frame(9, source=51899), frame(51820, kind=0x86DD)))
    others = frame(4790), frame(51900), frame(51820, protocol=6), frame(51820, kind=0x0806), frame(51820, fragment=5)
    assert not any(is_between_clusters(one) for one in (*others, b"", bytes(14)))


def test_every_fault_replaces_those_before_it():
    """One table, taken away and made anew in one transaction; the repair takes it away and makes nothing."""
    texts = [
        faults.outside(), faults.inside(), faults.everything(), faults.deaf(), faults.lossy(3), faults.narrow(1300),
        faults.apart(LAYOUT.machine("b-n1").addresses), faults.translated(0), faults.translated(1),
    ]  # fmt: skip

    assert all(text.startswith(faults.REPAIR) and text.count(f"table {faults.TABLE} {{\n") == 1 for text in texts)
    assert len(set(texts)) == len(texts)
    assert faults.REPAIR.strip().endswith(f"delete table {faults.TABLE}")


def test_a_cut_to_another_cluster_names_all_its_machines_addresses():
    """Both families, both directions, nobody else's."""
    text = next(one for one in EXPERIMENTS if one.name == "partition").steps(scene())[0].detail
    addresses = [str(address) for machine in LAYOUT.of_cluster("b") for address in machine.addresses]

    assert all(f"saddr {address} drop" in text and f"daddr {address} drop" in text for address in addresses)
    assert text.count("drop") == 2 * len(addresses)


def test_only_what_must_hold_all_the_time_is_held_to_more_than_the_user_asks():
    """An unharmed flow is one that does not stand still at all."""
    assert judging.most_silence_s(Hold.HEALS, QUIET) == 1.0
    assert judging.most_silence_s(Hold.UNHARMED, QUIET) == judging.HEALED_S


@pytest.mark.parametrize(("name", "asked_s", "silence_s"), [("loss", None, 1), ("mtu", None, 3), ("mtu", 0.5, 0.5)])
def test_what_the_user_says_of_silence_counts_before_what_the_experiment_allows(name, asked_s, silence_s):
    """A path that shrinks may take longer to be found than a gateway that died."""
    stage = Stage(slice="red", objectives=Objectives(), gateways={}, source=POD, target=POD)
    terms = Terms(cluster="", node="", hold_s=5, silence_s=asked_s, strength=Strength())

    assert limits_of(stage, experiments.find(name)[0], terms) == Limits(silence_s=silence_s, objectives=Objectives())


def test_the_bench_is_of_experiments_that_heal():
    """Each of them there is, and a slice is to heal it."""
    assert {one.hold for name in experiments.BENCH for one in experiments.find(name)} == {Hold.HEALS}


def test_every_kind_of_step_can_be_done_and_undone():
    """No kind is missing from either table."""
    assert set(steps._DO) == set(steps._UNDO) == set(Kind)
