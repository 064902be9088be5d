"""What `slicectl chaos` prints, and the durations that it reads."""

from __future__ import annotations

import argparse
import json

import pytest

from slicer.lab.chaos import experiments, report
from slicer.lab.chaos.__main__ import parse_duration
from slicer.lab.chaos.judging import Figures, Limits, Opinion, Times
from slicer.lab.chaos.running import Outcome
from slicer.model.slices import Objectives

TIMES = Times(started=0, fault_at=2, repair_at=7, repaired_at=8, ended_at=11)
QUIET = Limits(silence_s=1.0)


@pytest.fixture(autouse=True)
def pipe(monkeypatch):
    """No terminal, so that no line is broken."""
    monkeypatch.delenv("COLUMNS", raising=False)


def one_way(**more):
    """Figures of a direction in which nothing went wrong, but for what is given."""
    usual = {"sent": 100, "lost": 0, "flows": 2, "hit": 0, "silence_s": 0.02, "back_s": 0.0, "silence_after_s": 0.02}
    usual |= {"source": "a", "target": "b", "steady_percent": 0, "after_percent": 0, "latency_s": 0.01}
    return Figures(**usual | more)


def outcome(**more):
    """A quarter of a second of silence one way, and nothing wrong."""
    usual = {"machines": ("a-n1",), "limits": QUIET, "times": TIMES, "opinion": Opinion(), "reasons": ()}
    return Outcome(**{"experiment": "silence", "figures": (one_way(silence_s=0.3), one_way()), **usual} | more)


def test_a_report_says_what_was_seen_and_why_it_failed(capsys):
    """The verdict with its reasons, each direction in a column, no line with spaces at its end."""
    (silence,) = experiments.find("silence")
    report.show_outcome(silence, outcome(reasons=("it rained",), figures=(one_way(hit=1, back_s=None), one_way())))

    text = capsys.readouterr().out
    assert "1 of 2, until the repair" in text
    assert text.endswith("  FAIL silence\n    it rained\n")
    assert "objectives" not in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_a_report_says_what_the_hub_said(capsys):
    """Only of a slice that has objectives."""
    (silence,) = experiments.find("silence")
    aims, said = (
        Limits(silence_s=1, objectives=Objectives()),
        Opinion(before="Met", during=("Met", "Violated"), after="Met"),
    )
    report.show_outcome(silence, outcome(limits=aims, opinion=said))

    text = capsys.readouterr().out
    assert "objectives: before Met; during Met, then Violated; after Met" in text
    assert text.endswith("  PASS silence: 0.30 s of silence at most, of 1 s\n")


def test_a_summary_has_a_line_for_each_experiment_also_one_that_was_not_played(capsys):
    """PASS, FAIL, not played; for programs as well."""
    results = [("silence", outcome()), ("loss", outcome(reasons=("one", "other"))), ("mtu", "no gateway")]
    report.show_summary(results)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["silence", "PASS"], ["loss", "FAIL"], ["mtu", "not"]]
    assert lines[2].endswith("one; other")
    items = json.loads(report.to_json(results))["items"]
    assert [item["result"] for item in items] == ["PASS", "FAIL", "NOT PLAYED"]
    assert items[0]["figures"][0]["silence_s"] == 0.3


def test_a_bench_counts_repeats_and_ranks_silences(capsys):
    """The longest silence of either direction of each repeat; what could not be played failed."""
    longer = outcome(figures=(one_way(silence_s=0.5), one_way(silence_s=0.7)), reasons=("too long",))
    report.show_bench([("silence", outcome()), ("silence", longer), ("silence", "no gateway")])

    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split() == ["silence", "3", "0.30", "s", "0.70", "s", "0.70", "s", "2"]


@pytest.mark.parametrize(("rank", "value"), [(1, 1), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_a_percentile_is_one_of_the_samples(rank, value):
    """The smallest that so many per cent are not above."""
    assert report.percentile([4, 2, 1, 3], rank) == value


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("1.5m", 90)])
def test_durations(text, seconds):
    """A number and its unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "0s", "1h", "1 s"])
def test_what_is_no_duration_is_refused(text):
    """Also nothing, and less."""
    with pytest.raises(argparse.ArgumentTypeError, match="no duration like"):
        parse_duration(text)
