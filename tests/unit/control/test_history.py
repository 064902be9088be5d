"""The history of tunnels: minutes from samples, in memory, never more than three hours; and who may look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.client.codec import encode_documents
from slicer.model.attachments import TunnelHealth
from slicer.model.documents import key_of
from slicer.model.history import TunnelMinute
from slicer.plan import history as planned
from slicer.plan.history import MINUTES_MAX, History, fold, median, minutes_of, way_of
from slicer_controller.history import SAMPLE_S, SILENT_S
from tests.unit.control.conftest import START_S, Hub

START = int(START_S)
A = "slicer://cluster/a"


def tunnel(**changes: Any) -> TunnelHealth:
    """From a-n1 to b-n1, up."""
    values: dict[str, Any] = {
        "cluster": "a", "node": "a-n1", "tunnel_set": 0, "index": 0, "remote_cluster": "b", "remote_node": "b-n1",
        "up": True, "rtt_us": 400, "rtt_p99_us": 900, "jitter_us": 50, "loss_percent": 0,
    }  # fmt: skip
    return TunnelHealth(**{**values, **changes})


def folded(*samples: tuple[int, TunnelHealth]) -> History:
    """(seconds after START, what was seen then), in this order."""
    history = History()
    for after_s, seen in samples:
        history = fold(history, START + after_s, [seen])
    return history


def minutes(history: History, seen: TunnelHealth | None = None) -> tuple[TunnelMinute, ...]:
    """Of the way that `seen` lies on."""
    return minutes_of(history, way_of(seen or tunnel())).minutes


def test_a_minute_is_folded_from_its_samples() -> None:
    """Median, highest, highest, mean; the same while the minute runs and when it is over."""
    figures = [(500, 900, 0, 10), (300, 2000, 7, 20), (400, 1000, 3, 60)]
    seen = [
        (n * 10, tunnel(rtt_us=rtt, rtt_p99_us=p99, loss_percent=loss, jitter_us=jitter))
        for n, (rtt, p99, loss, jitter) in enumerate(figures)
    ]
    expected = TunnelMinute(start_s=START, up_percent=100, rtt_us=400, rtt_p99_us=2000, loss_percent=7, jitter_us=30)

    assert minutes(folded(*seen)) == (expected,)
    assert minutes(folded(*seen, (60, tunnel())))[0] == expected


@pytest.mark.parametrize(
    ("ups", "percent"),
    [
        ([True, False, True, True], 75),
        ([True, None, None, False], 50),
        ([False, False], 0),
        ([None, None], None),
        ([True] * 5 + [False], 83),
    ],
)
def test_the_share_of_samples_that_were_up(ups: list[bool | None], percent: int | None) -> None:
    """Of those that knew; rounded down, so that 100 is all of them."""
    seen = [(n * 10, tunnel(up=up)) for n, up in enumerate(ups)]

    assert [minute.up_percent for minute in minutes(folded(*seen))] == [percent]
    assert minutes(folded(*seen, (60, tunnel())))[0].up_percent == percent


def test_what_no_sample_knew_is_unknown() -> None:
    """Nobody takes it for 0, nor what is 0 for unknown; also when the minute is over."""
    nothing = {"up": None, "rtt_us": None, "rtt_p99_us": None, "jitter_us": None, "loss_percent": None}
    zero = dict.fromkeys(nothing, 0) | {"up": False}
    found = minutes(folded((0, tunnel(**nothing)), (60, tunnel(**zero)), (120, tunnel())))

    assert found[0] == TunnelMinute(start_s=START)
    assert found[1] == TunnelMinute(
        start_s=START + 60, up_percent=0, rtt_us=0, rtt_p99_us=0, loss_percent=0, jitter_us=0
    )


def test_a_gap_in_the_samples_leaves_no_minute() -> None:
    """Neither of the tunnel that was not seen, nor of all while nobody looked."""
    history = folded((0, tunnel()), (70, tunnel()))
    history = fold(history, START + 130, [])
    history = fold(history, START + 600, [tunnel()])

    assert [minute.start_s - START for minute in minutes(history)] == [0, 60, 600]


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [(True, True, "new"), (True, False, "old"), (True, None, "old"), (False, True, "new"), (False, None, "new")],
)
def test_of_two_generations_the_one_counts_that_is_up(old: bool | None, new: bool | None, taken: str) -> None:
    """Else the newest; in whatever order they come, and in the same line as before."""
    pair = [tunnel(generation=1, up=old, rtt_us=1), tunnel(generation=2, up=new, rtt_us=2)]
    for both in (pair, pair[::-1]):
        history = fold(folded((0, tunnel(generation=1))), START + 60, both)

        assert len(history.lines) == 1
        assert minutes(history)[1].rtt_us == {"old": 1, "new": 2}[taken]


def test_what_tells_tunnels_apart_tells_ways_apart() -> None:
    """All that is in a tunnel's key or names its other end, but the generation of its keys."""
    numbers = {field.name for field in fields(TunnelHealth) if field.type == "int"}
    texts = {field.name for field in fields(TunnelHealth) if field.type == "str"}
    base, told = tunnel(), set()
    for name in numbers | texts:
        other = replace(base, **{name: 7 if name in numbers else "other"})
        if way_of(other) != way_of(base):
            told.add(name)
        assert (key_of(other) == key_of(base)) or name in {*told, "generation"}, name

    assert told >= {"cluster", "node", "remote_cluster", "remote_node", "tunnel_set", "index", "lane"}
    assert "generation" not in told


def test_a_tunnel_that_is_gone_stays_for_three_hours() -> None:
    """Minute by minute it loses what is older; then it is not there at all."""
    history = folded((0, tunnel()), (60, tunnel()))
    last = fold(history, START + MINUTES_MAX * 60, [])

    assert [minute.start_s - START for minute in minutes(last)] == [60]
    assert fold(last, START + MINUTES_MAX * 60 + 60, []).lines == {}


def test_a_clock_that_is_set_back_leaves_no_future() -> None:
    """What was written ahead of it goes, what lies before stays in order; a jump ahead by hours forgets all."""
    history = folded((0, tunnel(rtt_us=1)), (60, tunnel(rtt_us=2)), (3600, tunnel(rtt_us=3)), (120, tunnel(rtt_us=4)))
    assert [(minute.start_s - START, minute.rtt_us) for minute in minutes(history)] == [(0, 1), (60, 2), (120, 4)]

    assert len(minutes(fold(history, START + 86400, [tunnel()]))) == 1


@given(
    st.lists(st.tuples(st.integers(-4000, 20000), st.sampled_from([True, False, None]), st.integers(0, 1)), max_size=60)
)
def test_minutes_are_few_in_order_and_recent(steps: list[tuple[int, bool | None, int]]) -> None:
    """However time goes and whatever is seen: at most 180, none twice, none older than three hours, none ahead."""
    history, now_s = History(), START
    for step_s, up, index in steps:
        now_s = max(0, now_s + step_s)
        history = fold(history, now_s, [tunnel(up=up, index=index)])
        for way in history.lines:
            found = [minute.start_s for minute in minutes_of(history, way).minutes]
            assert 1 <= len(found) <= MINUTES_MAX
            assert all(one < other for one, other in pairwise(found))
            assert now_s - MINUTES_MAX * 60 - 60 < found[0]
            assert found[-1] <= now_s


def test_ten_hours_of_samples_are_three_hours_of_minutes() -> None:
    """180 of them, one after the other; and a way takes 5 kB."""
    history = History()
    for after_s in range(0, 36000, 10):
        history = fold(history, START + after_s, [tunnel(rtt_us=after_s)])
    found = minutes(history)

    assert [minute.start_s for minute in found] == list(range(START + 36000 - 10800, START + 36000, 60))
    assert found[0].rtt_us == 36000 - 10800 + 20
    assert len(history.lines[way_of(tunnel())].rows) <= 5120


def test_a_clock_that_stands_still_fills_no_memory() -> None:
    """The samples of one minute are bounded as well."""
    history = folded(*((0, tunnel(rtt_us=n)) for n in range(1000)))

    assert len(history.lines[way_of(tunnel())].samples) == planned.SAMPLES_MAX


def test_of_too_many_ways_those_stay_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose nodes come and go by the thousand costs the memory of the newest only."""
    monkeypatch.setattr(planned, "WAYS_MAX", 3)
    gone = [tunnel(node=f"a-n{n}") for n in range(3)]
    there = [tunnel(node=f"z-n{n}") for n in range(2)]
    history = fold(fold(History(), START, gone), START + 60, there)

    assert sorted(way.node for way in history.lines) == ["a-n0", "z-n0", "z-n1"]


@pytest.mark.parametrize("figure", [-(1 << 70), -1, 1 << 31, 1 << 70])
def test_a_figure_beyond_all_sense_ends_nothing(figure: int) -> None:
    """What a report says is its author's word: it is cut to what a minute can hold, and the rest goes on."""
    mad = dict.fromkeys(("rtt_us", "rtt_p99_us", "loss_percent", "jitter_us"), figure)
    found = minutes(folded((0, tunnel(**mad)), (60, tunnel(rtt_us=5))))

    assert found[0].rtt_us == max(0, min(figure, (1 << 31) - 1))
    assert found[1].rtt_us == 5


@pytest.mark.parametrize(("values", "middle"), [([], None), ([3], 3), ([9, 1], 1), ([5, 1, 9], 5)])
def test_the_median_is_one_of_the_values(values: list[int], middle: int | None) -> None:
    """The lower of two in the middle, nothing of nothing."""
    assert median(values) == middle


def reported(hub: Hub, *tunnels: TunnelHealth, cluster: str = "a") -> None:
    """The member of a cluster reports its tunnels, and nothing else any more."""
    body = {"documents": encode_documents({key_of(one): one for one in tunnels})}
    status, answer = hub.call("PUT", "/v1/reports/cluster", body, peer=f"slicer://cluster/{cluster}")
    assert status == 200, answer


def listed(hub: Hub, query: str = "") -> dict[str, list[dict[str, Any]]]:
    """Name → minutes."""
    status, answer = hub.call("GET", f"/v1/tunnel-history{query}")
    assert status == 200, answer
    return {item["metadata"]["name"]: item["spec"]["minutes"] for item in answer["items"]}


def run_for(hub: Hub, seconds: int, tell: Callable[[int], None]) -> None:
    """Samples as the controller takes them; `tell` reports what the second finds."""

    async def pause(pause_s: float) -> None:
        hub.clock.now_s += pause_s
        after_s = int(hub.clock.now_s - START_S)
        if after_s >= seconds:
            raise asyncio.CancelledError
        await asyncio.to_thread(tell, after_s)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(hub.context.history.run(pause))


def test_the_controller_keeps_what_members_report(hub: Hub) -> None:
    """A sample every ten seconds; ten minutes of it are ten minutes of history."""
    reported(hub, tunnel(rx_bytes=0))
    run_for(hub, 600, lambda after_s: reported(hub, tunnel(rx_bytes=after_s, rtt_us=after_s)))
    ((name, found),) = listed(hub).items()

    assert name == "a/a-n1/b/b-n1/0/0/0"
    assert [minute["start_s"] for minute in found][:10] == [START + n * 60 for n in range(10)]
    assert found[1] == {
        "start_s": START + 60, "up_percent": 100, "rtt_us": 80, "rtt_p99_us": 900, "loss_percent": 0, "jitter_us": 50,
    }  # fmt: skip


def test_an_answer_has_the_present_and_keeps_nothing_of_it(hub: Hub) -> None:
    """However often one asks, the minutes weigh the controller's own samples only."""
    reported(hub, tunnel())
    assert [minute["rtt_us"] for minute in listed(hub)["a/a-n1/b/b-n1/0/0/0"]] == [400]
    reported(hub)

    assert listed(hub) == {}


def test_who_is_silent_is_not_recorded(hub: Hub) -> None:
    """The last word of a member that went stays among the tunnels; in the history there is a gap."""
    reported(hub, tunnel(up=False))
    run_for(hub, 600, lambda _: None)
    assert hub.call("GET", "/v1/tunnels")[1]["items"]
    gone = listed(hub)
    reported(hub, tunnel(up=False))
    back = listed(hub)

    assert [[m["start_s"] - START for m in found] for found in gone.values()] == [[0]]
    assert [[m["start_s"] - START for m in found] for found in back.values()] == [[0, 600]]


def test_a_node_that_went_is_not_up_because_its_member_goes_on(hub: Hub) -> None:
    """Counters that stand still under passing probes are the past; those of a tunnel that is down may stand."""
    standing, down = tunnel(rx_bytes=9), tunnel(index=1, up=False)
    moving = tunnel(index=2)

    def tell(after_s: int) -> None:
        reported(hub, standing, down, replace(moving, rx_bytes=after_s))

    tell(0)
    run_for(hub, 300, tell)
    found = {name.split("/")[5]: [m["start_s"] - START for m in minutes] for name, minutes in listed(hub).items()}

    assert found == {"0": [0], "1": [0, 60, 120, 180, 240, 300], "2": [0, 60, 120, 180, 240, 300]}
    assert SILENT_S < 60 - SAMPLE_S


def test_a_failed_sample_is_one_sample_less(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one comes as always."""
    reported(hub, tunnel())
    real, calls = hub.context.history.take, []

    async def take() -> None:
        calls.append(None)
        if len(calls) == 1:
            raise RuntimeError("a mistake")
        await real()

    monkeypatch.setattr(hub.context.history, "take", take)
    run_for(hub, 40, lambda _: None)

    assert len(calls) == 4
    assert len(listed(hub)) == 1


def test_slice_and_cluster_leave_what_belongs_there(hub: Hub) -> None:
    """As for tunnels: those by which a slice's packets may go; of an unknown slice none."""
    for name in ("c", "d"):
        hub.create("clusters", {"name": name})
    hub.create("slices", {"name": "red", "prefixes": ["10.7.0.0/16"], "clusters": ["a", "b"]})
    back = {"cluster": "b", "node": "b-n1", "remote_cluster": "a", "remote_node": "a-n1"}
    there, other = tunnel(**back), {"remote_cluster": "c", "remote_node": "c-n1"}
    reported(hub, tunnel(), tunnel(**other))
    reported(hub, there, cluster="b")
    names = ["a/a-n1/b/b-n1/0/0/0", "a/a-n1/c/c-n1/0/0/0", "b/b-n1/a/a-n1/0/0/0"]

    assert list(listed(hub)) == names
    assert list(listed(hub, "?slice=red")) == [names[0], names[2]]
    assert list(listed(hub, "?cluster=b")) == [names[2]]
    assert list(listed(hub, "?slice=red&cluster=a")) == [names[0]]
    assert listed(hub, "?slice=blue") == listed(hub, "?cluster=z") == {}


def test_the_list_comes_in_pages(hub: Hub) -> None:
    """One after the other they are the whole, sorted by name."""
    reported(hub, *(tunnel(index=n) for n in range(5)))
    names, token = [], ""
    for _ in range(3):
        _, answer = hub.call("GET", f"/v1/tunnel-history?limit=2{token}")
        names += [item["metadata"]["name"] for item in answer["items"]]
        token = f"&continue={answer['next']}"

    assert answer["next"] is None
    assert names == [f"a/a-n1/b/b-n1/0/{n}/0" for n in range(5)]


@pytest.mark.parametrize("query", ["since=1", "watch=true", "hours=3", "slice=a&slice=b", "limit=0", "continue=x"])
def test_what_the_list_does_not_know_is_refused(hub: Hub, query: str) -> None:
    """There is no watch, nor anything else than `limit`, `continue`, `slice` and `cluster`."""
    status, answer = hub.call("GET", f"/v1/tunnel-history?{query}")

    assert (status, answer["reason"]) == (422, "Invalid")
    assert answer["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nobody_writes_history(hub: Hub, method: str) -> None:
    """405, whoever asks."""
    assert hub.call(method, "/v1/tunnel-history", {})[0] == 405


@pytest.mark.parametrize("shown", ["", "Bearer wrong", "Basic x"])
def test_without_the_token_there_is_nothing_to_see(hub: Hub, shown: str) -> None:
    """401, also for a member with its certificate."""
    reported(hub, tunnel())

    for peer in (None, A):
        status, answer = hub.call("GET", "/v1/tunnel-history", peer=peer, Authorization=shown)
        assert (status, answer["reason"]) == (401, "Unauthenticated")
