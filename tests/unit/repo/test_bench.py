"""The benchmarks' statistics, files and tables."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.kernel.echo import checksum
from tests.bench.files import parse_json, read_reports, render_json, write_report
from tests.bench.measure import Goal, Report, Row, Samples, interleave, percentile
from tests.bench.render import number, render_page, render_table
from tests.bench.round_trip import REPLY, encode, is_reply

ROW = Row(
    name="TCP",
    unit="Gbit/s",
    samples={"bare": (1.0, 2.0, 4.0), "slice": (0.9, 1.9, 3.0)},
    paired=True,
    goals=(Goal(subject="slice", against="bare", at_least=0.9),),
)
REPORT = Report(
    name="between",
    title="Between clusters",
    how="Somehow.",
    rows=(ROW,),
    settings={"rounds": 3},
    machine={"cores": 2},
    commit="abc",
    date="2026-11-23 12:00 UTC",
)


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), min_size=1))
def test_the_fiftieth_percentile_is_the_median(samples: list[float]) -> None:
    """percentile(…, 50) agrees with the standard library's median."""
    assert percentile(samples, 50) == pytest.approx(statistics.median(samples))


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), min_size=1), st.floats(min_value=0, max_value=100))
def test_a_percentile_lies_between_the_extremes(samples: list[float], rank: float) -> None:
    """No percentile is below the least or above the greatest sample; 0 and 100 are these two."""
    slack = 1e-6 * max(1.0, *map(abs, samples))

    assert min(samples) - slack <= percentile(samples, rank) <= max(samples) + slack
    assert (percentile(samples, 0), percentile(samples, 100)) == (min(samples), max(samples))


def test_no_samples_have_no_percentile() -> None:
    """An empty list is refused instead of giving a number that nobody measured."""
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_ratios_of_paired_samples_are_taken_round_by_round() -> None:
    """The median of 0.9, 0.95 and 0.75 is 0.9; the ratio of the medians would be 0.95."""
    assert ROW.ratio("slice", "bare") == pytest.approx(0.9)


def test_ratios_of_unpaired_samples_are_those_of_the_percentiles() -> None:
    """Without rounds, the percentile of one is divided by that of the other."""
    row = Row(name="ADD", unit="ms", samples={"ours": (1.0, 3.0), "theirs": (4.0, 4.0, 4.0)})

    assert row.ratio("ours", "theirs") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("goal", "value", "holds"),
    [
        (Goal(subject="a", at_least=0.9), 0.9, True),
        (Goal(subject="a", at_least=0.9), 0.89, False),
        (Goal(subject="a", at_most=1.15), 1.15, True),
        (Goal(subject="a", at_most=1.15), 1.16, False),
        (Goal(subject="a"), 1e9, True),
    ],
)
def test_goals_include_their_bounds(goal: Goal, value: float, holds: bool) -> None:
    """A value at the bound reaches the goal."""
    assert goal.holds(value) is holds


@given(st.lists(st.text(), min_size=1, max_size=5, unique=True), st.integers(min_value=0, max_value=12))
def test_every_round_has_every_variant_once(variants: list[str], rounds: int) -> None:
    """Interleaving gives each round a permutation of the variants, and each variant its turn to be first."""
    order = list(interleave(variants, rounds))

    for number_ in range(rounds):
        assert sorted(name for which, name in order if which == number_) == sorted(variants)
    firsts = {order[k * len(variants)][1] for k in range(rounds)}
    assert len(firsts) == min(rounds, len(variants))


def test_samples_refuse_a_variant_that_was_not_announced() -> None:
    """A slip in a variant's name does not become a column."""
    samples = Samples(["a"])
    samples.add("a", 1.0)
    with pytest.raises(KeyError, match="b"):
        samples.add("b", 1.0)

    assert samples.frozen() == {"a": (1.0,)}


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    """What is written is what is read."""
    write_report(REPORT, tmp_path)

    assert read_reports(tmp_path) == [REPORT]
    assert parse_json(render_json(REPORT)) == REPORT


def test_a_table_shows_values_ratio_and_goal() -> None:
    """Each variant has a column; the goal's column has the ratio, the bound and whether it was reached."""
    assert render_table([ROW]) == [
        "|  | bare | slice | goal |",
        "| --- | --- | --- | --- |",
        "| TCP (Gbit/s) | 2 | 1.9 | slice: **0.90 \N{MULTIPLICATION SIGN}** bare ≥ 0.9 ✓ |",
    ]


def test_rows_with_other_variants_share_a_table() -> None:
    """A variant that a row does not have leaves its cell empty."""
    other = Row(name="RTT", unit="µs", samples={"VPN": (5.0,)}, percentile=99)

    assert render_table([ROW, other])[-1] == "| RTT, p99 (µs) |  |  | 5 |  |"


def test_the_page_names_circumstances_and_raw_data() -> None:
    """Machine, settings, date and commit stand under each table, with a link to the samples."""
    page = render_page([REPORT])

    for part in ("rounds 3", "cores 2", "2026-11-23 12:00 UTC", "`abc`", "[between.json](between.json)"):
        assert part in page


def test_a_page_without_reports_says_so() -> None:
    """No number is shown before one was measured."""
    assert "No results have been recorded yet." in render_page([])


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (1.234, "1.23"), (99.9, "99.9"), (12345.6, "12\xa0346")])
def test_numbers_are_short(value: float, text: str) -> None:
    """Three digits are what a measurement is worth."""
    assert number(value) == text


def test_the_published_page_is_made_from_the_recorded_files() -> None:
    """docs/benchmarks/README.md is what `make docs` writes from the JSON files beside it: no number in it is typed."""
    directory = Path(__file__).parents[3] / "docs/benchmarks"

    assert (directory / "README.md").read_text() == render_page(read_reports(directory))


def test_a_reply_is_known_by_its_sequence() -> None:
    """What comes back is the request with another type; other packets that a raw socket hears are none."""
    header, request = bytes([0x45, *bytes(19)]), encode(7)
    reply = header + bytes([REPLY]) + request[1:]

    assert is_reply(reply, 7)
    assert not is_reply(reply, 8)
    assert not is_reply(header + request, 7)
    assert not is_reply(reply[:24] + b"\0\0" + reply[26:], 7)


def test_a_request_is_64_bytes_with_a_checksum() -> None:
    """RFC 792 and 1071: the sum over the whole message, its checksum in it, is zero."""
    assert len(encode(65_536 + 3)) == 64
    assert encode(65_536 + 3) == encode(3)
    assert checksum(encode(3)) == 0
