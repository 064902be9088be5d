"""What is made of the kernel's bytes and of the tools' words."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st

from slicer.kernel.commands import _batch_errors, runs
from slicer.kernel.netlink import attribute, attributes
from slicer.kernel.observe_tc import _match, _rate
from slicer.plan.dataplane_commands import put
from slicer.plan.dataplane_values import Namespace, Sysctl


def lines(number):
    return [put(Sysctl(ns="s-000001", name=f"net/{n}", value="1"))[0] for n in range(number)]


def test_an_error_belongs_to_its_line():
    """iproute2 goes on after an error; what it wrote before `Command failed` is about that line."""
    changes = lines(3)
    words = "Error: argument is wrong.\nRTNETLINK answers: File exists\nCommand failed -:1\nCommand failed -:3\n"

    assert _batch_errors(changes, words) == {
        changes[0]: "Error: argument is wrong. RTNETLINK answers: File exists",
        changes[2]: "failed without a word",
    }


def test_words_without_a_failure_are_no_error():
    """Warnings of the tools change nothing."""
    assert _batch_errors(lines(1), "Warning: sch_htb: quantum of class is big.\n") == {}


def test_neighbours_with_one_tool_and_namespace_run_together():
    """The order of the changes is kept."""
    changes = [*lines(2), *put(Namespace(ns="s-000002")), *lines(1)]

    assert [len(run) for run in runs(changes)] == [2, 1, 1]


@given(st.dictionaries(st.integers(1, 200), st.binary(max_size=40)))
def test_attributes_come_back_as_they_were_written(values):
    """Padding and lengths are right for every size."""
    data = b"".join(attribute(kind, value) for kind, value in values.items())

    assert attributes(data) == values


@given(st.binary(max_size=60))
def test_rubbish_is_no_attribute_and_no_loop(data):
    """Whatever comes, walking ends."""
    assert len(attributes(data)) <= len(data)


@given(st.sampled_from(["ip", "ipv6"]), st.data())
def test_a_u32_selector_tells_its_prefixes(protocol, data):
    """Words of 32 bits with masks are the source and destination prefix that they were made from, of any length."""
    size, starts = (4, (12, 16)) if protocol == "ip" else (16, (8, 24))
    wanted, words = [], b""
    for start in starts:
        length = data.draw(st.integers(1, 8 * size))
        value = data.draw(st.integers(0, 2 ** (8 * size) - 1)) >> (8 * size - length) << (8 * size - length)
        prefix = ipaddress.ip_network((value.to_bytes(size, "big"), length))
        wanted.append(prefix)
        mask = int(prefix.netmask).to_bytes(size, "big")
        for at in range(0, size, 4):
            if any(mask[at : at + 4]):
                packed = prefix.network_address.packed[at : at + 4]
                words += mask[at : at + 4] + packed + struct.pack("=ii", start + at, 0)
    selector = bytes([0, 0, len(words) // 16]) + bytes(13) + words

    assert list(_match(protocol, selector)) == wanted


def test_rates_beyond_32_bits_stand_apart():
    """tc_ratespec holds bytes a second in 32 bits; faster ones come in an attribute of 64."""
    assert _rate(bytes(8) + struct.pack("=I", 1000), None) == 8000
    assert _rate(bytes(8) + b"\xff\xff\xff\xff", struct.pack("=Q", 50_000_000_000)) == 400_000_000_000
