"""Spelling rules: one table of good texts and one of bad ones, with the reason for each."""

from __future__ import annotations

import pytest

from slicer.model.errors import InvalidError
from slicer.model.names import (
    check_container_id,
    check_interface_name,
    check_label,
    check_mac,
    check_public_key,
    check_subdomain,
    parse_address,
    parse_prefix,
)

GOOD = [
    (check_label, "red"),
    (check_label, "0"),
    (check_label, "a" * 63),
    (check_subdomain, "web-0.a.b"),
    (check_container_id, "A1_.-"),
    (check_interface_name, "net1"),
    (check_interface_name, "x" * 15),
    (check_public_key, "A" * 42 + "A="),
]
BAD = [
    (check_label, "", "empty"),
    (check_label, "Red", "capital"),
    (check_label, "-a", "leading dash"),
    (check_label, "a-", "trailing dash"),
    (check_label, "a.b", "dot"),
    (check_label, "a" * 64, "64 characters"),
    (check_label, "red\n", "newline that `$` would let pass"),
    (check_subdomain, "a" * 254, "254 characters"),
    (check_container_id, "../x", "path"),
    (check_container_id, "", "empty"),
    (check_interface_name, "x" * 16, "16 bytes"),
    (check_interface_name, "é" * 8, "16 bytes in 8 characters"),
    (check_interface_name, "..", "parent"),
    (check_interface_name, "a b", "space"),
    (check_interface_name, "a:1", "colon"),
    (check_interface_name, "a/b", "slash"),
    (check_interface_name, "", "empty"),
    (check_mac, "01:00:5e:00:00:01", "multicast"),
    (check_mac, "02:00", "short"),
    (check_public_key, "A" * 43 + "B", "33 bytes"),
    (check_public_key, "A" * 42 + "B=", "bits beyond the 32nd byte"),
]


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_good_names_come_back_as_they_are(check, text):
    """A well-formed name passes unchanged."""
    what = ("name", text) if check in (check_label, check_subdomain) else (text,)

    assert text == check(*what)


@pytest.mark.parametrize(("check", "text", "why"), BAD, ids=lambda value: repr(value)[:24])
def test_bad_names_are_refused_with_their_text(check, text, why):
    """A malformed name raises InvalidError that shows the offending text."""
    what = ("name", text) if check in (check_label, check_subdomain) else (text,)

    with pytest.raises(InvalidError) as refused:
        check(*what)

    assert repr(text) in str(refused.value), why


def test_a_mac_address_is_kept_in_lower_case():
    """MAC addresses compare equal however they were written."""
    assert check_mac("02:AB:cd:00:00:01") == "02:ab:cd:00:00:01"


def test_a_prefix_with_host_bits_is_refused():
    """10.0.0.1/8 is an address, not a prefix; the message shows it."""
    with pytest.raises(InvalidError, match=r"slice prefix '10.0.0.1/8'"):
        parse_prefix("slice prefix", "10.0.0.1/8")


def test_an_address_with_a_length_is_refused():
    """An address is written without a prefix length."""
    with pytest.raises(InvalidError, match=r"address '10.0.0.1/8'"):
        parse_address("address", "10.0.0.1/8")
