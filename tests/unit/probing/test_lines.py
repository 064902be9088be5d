"""The probes' messages and the state of one target, by tables and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.clusters import LANES_MAX
from slicer.model.errors import InvalidError
from slicer.plan.probing import (
    BROKEN_MAX,
    CLUSTERS_MAX,
    Ends,
    Kind,
    Line,
    Message,
    Pace,
    Statistics,
    choose,
    decode,
    digest,
    encode,
    statistics,
)

PACE = Pace()
WELL = Message(kind=Kind.REPLY)

digests = st.binary(min_size=4, max_size=4)
slots = st.integers(0, 2**12 - 1)
ends = st.builds(Ends, near=digests, near_slot=slots, far=digests, far_slot=slots, lane=st.integers(0, LANES_MAX - 1))
messages = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    sequence=st.integers(0, 2**32 - 1),
    sent_ns=st.integers(0, 2**64 - 1),
    heard_inside=st.booleans(),
    reached=st.frozensets(digests, max_size=CLUSTERS_MAX),
    lost=st.frozensets(digests, max_size=CLUSTERS_MAX),
    broken=st.lists(ends, max_size=3).map(tuple),
)


@given(messages)
def test_what_is_encoded_is_decoded(message):
    """Every message comes back as it was, also with bytes of a later version after it."""
    assert decode(encode(message)) == message
    assert decode(encode(message) + b"later") == message


@given(messages, st.integers(0, 1000))
def test_a_part_of_a_message_is_no_message(message, length):
    """A datagram that was cut short is refused whole."""
    data = encode(message)

    assert decode(data[: min(length, len(data) - 1)]) is None


@given(st.binary(max_size=64))
def test_rubbish_is_no_message(data):
    """Whatever arrives, nothing is raised, and only what begins like a message is one."""
    assert decode(data) is None or data.startswith(b"SL\x01")


def test_a_version_or_kind_that_nobody_knows_is_no_message():
    """An older node ignores what it does not understand."""
    data = encode(WELL)

    assert decode(data[:2] + b"\x02" + data[3:]) is None
    assert decode(data[:3] + b"\x09" + data[4:]) is None


def test_more_clusters_than_fit_are_refused():
    """The count is one byte."""
    with pytest.raises(InvalidError, match="clusters reached"):
        encode(Message(kind=Kind.NEWS, reached=frozenset(digest(str(number)) for number in range(256))))


def test_more_tunnels_than_fit_are_refused():
    """A datagram has to pass every tunnel whole."""
    ends = Ends(near=digest("a"), near_slot=0, far=digest("b"), far_slot=0)
    with pytest.raises(InvalidError, match="broken tunnels"):
        encode(Message(kind=Kind.BROKEN, broken=(ends,) * (BROKEN_MAX + 1)))


@pytest.mark.parametrize("wrong", [{"interval_s": 0}, {"interval_s": 0.001}, {"losses": 0}, {"good": 0}])
def test_a_pace_without_meaning_is_refused(wrong):
    """A probe interval of 0 would be a busy loop, 0 losses would find everything dead."""
    with pytest.raises(InvalidError):
        Pace(**wrong)


def after(line, script, start=0.0):
    """The line after `script`, an interval a letter: `.` probe answered, `x` probe lost; and when that was."""
    now = start
    for letter in script:
        now += PACE.interval_s
        line = line.sending(PACE, now)
        if letter == ".":
            line = line.heard(PACE, WELL, 0.001)
    return line, now


@pytest.mark.parametrize(
    ("script", "up"),
    [
        ("...", True),
        ("...xxx", True),
        ("...xxxx", False),
        ("...xx.xx.xx.", True),
        ("...xxxx.", False),
        ("...xxxx..", False),
        ("...xxxx...", True),
        ("...xxxx..xx...", True),
        ("...xxxx..xx..", False),
    ],
)
def test_losses_in_a_row_take_down_and_answers_in_a_row_bring_up(script, up):
    """Three lost probes are noticed when the next one is due; three answers without a gap bring it back."""
    assert after(Line(up=True), script)[0].up == up


def test_what_comes_new_is_down_until_it_proved_itself():
    """A gateway that is added carries nothing before it has answered three times."""
    assert [after(Line(up=False), "." * count)[0].up for count in (1, 2, 3)] == [False, False, True]


def test_a_prober_that_was_held_up_blames_nobody():
    """Losses are counted in probes: an hour without sending any is no loss."""
    line, _ = after(Line(up=True), "...")

    assert line.sending(PACE, 3600.0).up


def test_a_long_path_is_not_a_dead_one():
    """With a round trip of 350 ms three probes are always under way; only those beyond are lost."""
    line = Line(up=True, proved=True, rtts_s=(0.35,))
    for count in range(6):
        line = line.sending(PACE, count * 0.1)
    assert line.up
    assert not line.sending(PACE, 0.6).up


def test_flapping_is_damped_and_forgotten():
    """Each time down within a minute doubles the answers that are needed; after a quiet minute three do again."""
    line, now = after(Line(up=True), "...")
    needed = []
    for _ in range(5):
        line, now = after(line, "xxxx", now)
        count = 0
        while not line.up:
            line, now = after(line, ".", now)
            count += 1
        needed.append(count)
    later, _ = after(line, "xxxx...", now + 120)

    assert needed == [3, 6, 12, 24, 24]
    assert later.up


@given(st.text(".x", max_size=60))
def test_up_and_down_are_earned(script):
    """It is down only after three losses in a row, and proved only after three answers."""
    line, _ = after(Line(up=True), script)

    assert line.up or "xxx" in script
    assert not line.proved or script.count(".") >= 3
    assert not line.proved or line.up


members = st.frozensets(st.integers(0, 5))


@given(members, members, members, members)
def test_never_all_are_avoided(everyone, good, alive, before):
    """Of members there is always one left; the good if there are any, else the living, else what was used before."""
    avoided = choose(everyone, good, alive, before)
    used = everyone - avoided

    assert used or not everyone
    if everyone & good:
        assert used == everyone & good
    elif everyone & alive:
        assert used == everyone & alive
    elif everyone - before:
        assert used == everyone - before


def test_a_prober_that_was_late_excuses_a_loss():
    """Held up for more than half an interval, it knows that the machine was; three losses are four then."""
    late_s = PACE.interval_s * 0.6
    line, now = after(Line(up=True), "...xx")
    line = line.sending(PACE, now + late_s, late_s)
    for count in range(1, 3):
        assert line.up
        line = line.sending(PACE, now + count * PACE.interval_s)

    assert not line.up


def test_a_prober_that_is_always_late_finds_the_dead_all_the_same():
    """As many losses as take a target down are excused at most, until it answers again."""
    line, now = after(Line(up=True), "...")
    lost = 0
    while line.up:
        lost += 1
        line = line.sending(PACE, now + lost, PACE.interval_s)

    assert lost == 2 * PACE.losses + 1


def test_one_slow_answer_does_not_make_a_path_long():
    """An answer that waited for a second on a busy machine does not put off the verdict on later losses."""
    line, now = after(Line(up=True), "...")
    line = line.sending(PACE, now).heard(PACE, WELL, 1.0)

    assert not after(line, "xxxx", now)[0].up


def numbered(line, rtts):
    """The line after probes with these round trips, None for a lost one; answers name their probes."""
    for count, rtt_s in enumerate(rtts):
        line = line.sending(PACE, count * PACE.interval_s)
        if rtt_s is not None:
            line = line.heard(PACE, Message(kind=Kind.REPLY, sequence=line.sent), rtt_s)
    return line


def test_statistics_tell_median_tail_jitter_and_loss():
    """Of eleven probes the newest may still be answered; two of the others were lost."""
    line = numbered(Line(up=True), [0.001, 0.003, None, 0.001, 0.003, 0.001, 0.003, None, 0.001, 0.009, None])

    assert statistics(line, PACE) == Statistics(rtt_us=3000, rtt_p99_us=9000, jitter_us=2857, loss_percent=20)


def test_statistics_of_what_never_answered_and_of_what_nobody_probed():
    """Loss is known without an answer; nothing is known without a probe."""
    assert statistics(numbered(Line(up=True), [None] * 5), PACE) == Statistics(loss_percent=100)
    assert statistics(Line(up=True), PACE) == Statistics()


@given(st.lists(st.none() | st.floats(0, 0.05), max_size=250))
def test_loss_is_that_of_the_last_probes(rtts):
    """It equals the share of lost ones among the last hundred but the newest."""
    counted = rtts[-100:-1]
    expected = round(100 * counted.count(None) / len(counted)) if counted else None

    assert statistics(numbered(Line(up=True), rtts), PACE).loss_percent == expected


def test_a_late_answer_counts_for_its_own_probe():
    """On a path of 350 ms answers come three probes later; none is lost."""
    line = Line(up=True)
    for count in range(1, 41):
        line = line.sending(PACE, count * PACE.interval_s)
        if count > 3:
            line = line.heard(PACE, Message(kind=Kind.REPLY, sequence=count - 3), 0.35)

    assert statistics(line, PACE).loss_percent == 0
