"""Rates and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.cli.quantities import (
    format_age,
    format_bytes,
    format_rate,
    format_rtt,
    parse_duration,
    parse_rate,
    parse_seconds,
)
from slicer.model.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("800k", 800_000),
        ("800K", 800_000),
        ("20M", 20_000_000),
        ("1.5G", 1_500_000_000),
        ("0.1G", 100_000_000),
        ("64000", 64_000),
        ("20Mbit/s", 20_000_000),
        ("20 Mbps", 20_000_000),
        ("0.3T", 300_000_000_000),
    ],
)
def test_rates_are_exact_si_bits_a_second(text: str, bps: int) -> None:
    """k, M, G and T are powers of 1000, and no float comes between."""
    assert parse_rate("--ceiling", text) == bps


@pytest.mark.parametrize("text", ["", "M", "20X", "20m", "-1M", "1,5G", "1e6", "20MB", "20M\n20M", "٣M"])
def test_what_is_no_rate_is_refused_by_name(text: str) -> None:
    """The message names the option and shows the text."""
    with pytest.raises(InvalidError) as refused:
        parse_rate("--ceiling", text)

    assert refused.value.message == f"--ceiling {text!r} is not a rate like 800k, 20M or 1.5G (bit/s)"


def test_a_fraction_of_a_bit_is_refused() -> None:
    """A rate is a whole number of bits a second."""
    with pytest.raises(InvalidError, match=r"'1\.0005k' is not a whole number of bits"):
        parse_rate("--ceiling", "1.0005k")


@given(st.integers(min_value=0, max_value=400_000_000_000))
def test_a_printed_rate_with_three_digits_reads_back(bps: int) -> None:
    """format_rate is exact where three digits after the point are enough."""
    unit = next((size for size in (10**9, 10**6, 10**3) if bps >= size), 1)
    exact = bps - bps % max(1, unit // 1000)

    assert parse_rate("rate", format_rate(exact)) == exact


@pytest.mark.parametrize(
    ("bps", "text"), [(None, "-"), (500, "500 bit/s"), (20_000_000, "20 Mbit/s"), (1_500_000_000, "1.5 Gbit/s")]
)
def test_rates_are_shown_with_their_unit(bps: int | None, text: str) -> None:
    """The largest unit that gives a number from 1."""
    assert format_rate(bps) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("30", 30), ("5m", 300), ("1h", 3600), ("2d", 172_800)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """A bare number is seconds."""
    assert parse_duration("--timeout", text) == seconds


@pytest.mark.parametrize("text", ["", "1.5h", "-1s", "1w", "s", "1h30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The message names the option and shows the text."""
    with pytest.raises(InvalidError, match=r"--timeout .* is not a duration like"):
        parse_duration("--timeout", text)


def test_a_ttl_is_whole_seconds() -> None:
    """parse_seconds refuses a part of a second."""
    assert parse_seconds("--ttl", "2m") == 120
    with pytest.raises(InvalidError, match="--ttl '500ms' must be whole seconds"):
        parse_seconds("--ttl", "500ms")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (3660, "1h1m"),
        (36000, "10h"),
        (266_400, "3d2h"),
        (2_592_000, "30d"),
    ],
)
def test_ages_have_one_or_two_units(seconds: float, text: str) -> None:
    """The second unit is only there while the first is below ten; a clock that is behind gives 0s."""
    assert format_age(seconds) == text


def test_sizes_and_round_trips_have_units() -> None:
    """Bytes are SI, round trips milliseconds."""
    assert [format_bytes(n) for n in (0, 999, 1500, 2_500_000)] == ["0 B", "999 B", "1.5 kB", "2.5 MB"]
    assert [format_rtt(n) for n in (None, 430, 99_994, 250_000)] == ["-", "0.43 ms", "99.99 ms", "250 ms"]
