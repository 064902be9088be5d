"""`slicectl history`: what the minutes come to, the picture, and the command against a real hub."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from slicer.cli.minutes import BLOCKS, DOWN, PICTURE_WIDTH, UNKNOWN, history_kind, latest, picture
from slicer.cli.output import Format, print_resources
from slicer.model.attachments import TunnelHealth
from tests.unit.cli.hub import Hub
from tests.unit.cli.reports import healthy, two_clusters
from tests.unit.cli.samples import NOW, Resource, resource

HOUR_S = 3600.0
UNEXPLAINED = {"SET", "INDEX", "LANE"}
"""Columns that are those of `get tunnels`."""


def minute(ago: int, p99: int | None = 1000, **figures: Any) -> dict[str, Any]:
    """A good minute that began `ago` minutes before this one."""
    values = {"up_percent": 100, "rtt_us": 400, "rtt_p99_us": p99, "loss_percent": 0, "jitter_us": 60}
    return {"start_s": int(NOW) - ago * 60, **values, **figures}


def way(*minutes: dict[str, Any], cluster: str = "a", remote: str = "b", index: int = 0) -> Resource:
    """From the first gateway of a cluster to that of another."""
    ends = {"cluster": cluster, "node": f"{cluster}-n1", "remote_cluster": remote, "remote_node": f"{remote}-n1"}
    return resource({**ends, "tunnel_set": 0, "index": index, "lane": 0, "minutes": list(minutes)})


def test_a_row_says_what_the_minutes_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    """Median, worst and worst of the minutes; `-` where nothing is known, which is not 0."""
    bad = minute(2, 8000, up_percent=83, rtt_us=900, loss_percent=17)
    unknown = dict.fromkeys(("up_percent", "rtt_us", "loss_percent"))
    rows = [way(minute(3), bad, minute(1), minute(0)), way(minute(0, None, **unknown), cluster="b", remote="a")]
    print_resources(history_kind(300), rows, Format.TABLE, NOW)

    assert (
        capsys.readouterr().out
        == """\
FROM    TO      SET  MINUTES  ROUND TRIP  WORST P99  WORST LOSS  NOT UP  P99
a/a-n1  b/b-n1  0    4        0.40 ms     8.00 ms    17 %        1       ·▁█▁▁
b/b-n1  a/a-n1  0    1        -           -          -           0       ·····
"""
    )


def test_the_guide_shows_the_table_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The same titles, each with its line below; pictures are made of the characters that there are."""
    guide = (Path(__file__).parents[3] / "docs/guide/monitoring.md").read_text()
    _, _, example = guide.partition("$ slicectl history")
    (titles, *rows) = example.partition("```")[0].splitlines()[1:]
    print_resources(history_kind(600), [way(minute(0))], Format.TABLE, NOW)

    assert titles.split() == capsys.readouterr().out.splitlines()[0].split()
    assert all(
        f"`{column.title}`" in example for column in history_kind(600).columns if column.title not in UNEXPLAINED
    )
    assert len(rows) == 8
    assert {len(row.split()[-1]) for row in rows} == {10}
    assert {sign for row in rows for sign in row.split()[-1]} <= {*BLOCKS, UNKNOWN, DOWN}


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([], "·····"),
        ([minute(0)], "····█"),
        ([minute(n, 125 * (n + 4)) for n in range(5)], "█▇▆▅▄"),
        ([minute(4, 0), minute(2, 1), minute(0, 1000)], "▁·▁·█"),
        ([minute(0, 0)], "····▁"),
        ([minute(3, 900, up_percent=0), minute(1, 900, up_percent=1)], "·x·█·"),
        ([minute(1, None, up_percent=None)], "·····"),
        ([minute(-3)], "····█"),
        ([minute(99)], "█····"),
    ],
)
def test_the_picture(minutes: list[dict[str, Any]], expected: str) -> None:
    """Blocks from 0 to the worst, unknown and down minutes marked, each in its place; none falls off an end."""
    assert picture(minutes, NOW, 300) == expected
    assert set(expected) <= {*BLOCKS, UNKNOWN, DOWN}


@pytest.mark.parametrize("since_s", [0.5, 60, 61, 1800, 3600, 3660, 10800, 10**9])
def test_the_picture_is_never_wider_than_a_terminal_bears(since_s: float) -> None:
    """A character is several minutes then, and the worst of them is shown: a bad minute is never lost."""
    shown = picture([minute(n) for n in range(1, 180)] + [minute(0, 9000)], NOW, since_s)

    assert 1 <= len(shown) <= PICTURE_WIDTH
    assert shown[-1] == BLOCKS[-1]
    assert BLOCKS[-1] not in shown[:-1]


def test_only_the_time_that_was_asked_for_counts() -> None:
    """A minute that reaches into it does; a way without any has no row."""
    ways = [way(*(minute(n) for n in range(5))), way(minute(30), index=1)]

    assert [[m["start_s"] for m in one["spec"]["minutes"]] for one in latest(ways, NOW + 30, 120)] == [
        [int(NOW), int(NOW) - 60, int(NOW) - 120]
    ]
    assert len(latest(ways, NOW, 3600)) == 2


def seen(cluster: str, remote: str, **found: Any) -> TunnelHealth:
    """What the first gateway of a cluster sees of the other's."""
    ends = {"cluster": cluster, "node": f"{cluster}-n1", "remote_cluster": remote, "remote_node": f"{remote}-n1"}
    return TunnelHealth(**ends, tunnel_set=0, index=0, **found)


def test_the_hub_shows_what_was(hub: Hub) -> None:
    """A row a way, filtered by the hub as tunnels are; JSON has the minutes, YAML and names work as everywhere."""
    a, b = two_clusters(hub)
    good = {"up": True, "rtt_us": 430, "rtt_p99_us": 1200, "loss_percent": 2, "jitter_us": 60}
    a.report(*healthy("a", "b", seen("a", "b", **good)))
    b.report(*healthy("b", "a", seen("b", "a", up=False, loss_percent=100)))
    head, *rows = hub.good("history").splitlines()
    only, _ = json.loads(hub.good("history", "--slice", "red", "-c", "a", "-o", "json"))["items"]

    assert " ".join(head.split()) == "FROM TO SET MINUTES ROUND TRIP WORST P99 WORST LOSS NOT UP P99"
    assert [row.split()[:2] for row in rows] == [["a/a-n1", "b/b-n1"], ["b/b-n1", "a/a-n1"]]
    assert [words in rows[0] for words in ("0.43 ms  ", "1.20 ms  ", " 2 %  ", BLOCKS[-1])] == [True] * 4
    assert rows[1].endswith(DOWN)
    assert only["spec"]["minutes"][-1] == {
        "start_s": only["spec"]["minutes"][-1]["start_s"], "up_percent": 100, "rtt_us": 430, "rtt_p99_us": 1200,
        "loss_percent": 2, "jitter_us": 60,
    }  # fmt: skip
    assert abs(only["spec"]["minutes"][-1]["start_s"] - time.time()) < HOUR_S
    names = "history/a/a-n1/b/b-n1/0/0/0\nhistory/b/b-n1/a/a-n1/0/0/0\n"
    assert [hub.good("history", "-o", "name", "-c", cluster) for cluster in ("a", "b", "c")] == [names, names, ""]
    hub.good("create-slice", "near", "--prefix", "10.99.0.0/16", "--clusters", "a")
    assert hub.good("history", "--slice", "near", "-o", "name") == ""


def test_no_history_is_said(hub: Hub) -> None:
    """On stderr, with the reason; programs get an empty list."""
    done = hub.run("history", "--cluster", "nowhere", "--since", "90m")
    listed = hub.run("history", "--cluster", "nowhere", "-o", "json")

    assert (done.code, done.out) == (0, "")
    assert done.err == "nothing is known of the last 1h30m: the hub keeps three hours, and forgets at its end\n"
    assert json.loads(listed.out) == {"items": []}


@pytest.mark.parametrize("since", ["0", "0m", "-5m", "soon", "1.5h", ""])
def test_a_time_that_is_none_is_refused(hub: Hub, since: str) -> None:
    """Exit code 2, and the text that was given."""
    done = hub.run("history", "--since", since)

    assert done.code == 2
    assert repr(since) in done.err


def test_without_the_right_token_nothing_is_shown(hub: Hub) -> None:
    """Exit code 6, no row."""
    (hub.directory / "wrong").write_text("wrong")
    done = hub.run("--token-file", str(hub.directory / "wrong"), "history")

    assert (done.code, done.out) == (6, "")
