"""What a tunnel carries, found out by probes: of the search alone, of its clock, and what follows for routes."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from slicer.agent.sizing import Sizes
from slicer.plan.path_mtu import CONFIRM_S, FLOOR, GRAIN, RAISE_S, TRIES, PathMtu, fresh
from slicer.plan.probe_targets import Spot, TunnelTarget
from slicer.plan.probing import HEADERS, SIZED, Kind, Line, Message, Pace, decode, encode_sized

TOP = 1420
SPOT = Spot(ns="t-00", tunnel_set=0, address=ipaddress.ip_address("fd73:6c69:6365::1"))
TUNNEL = TunnelTarget(spot=SPOT, address=ipaddress.ip_address("fd73:6c69:6365::2"), cluster="b", index=0)
WELL = Line(up=True, proved=True, rtts_s=(0.01,), sent=20, fates=(1 << 20) - 1)


def searched(known: PathMtu, carries: int, now: float = 0.0) -> PathMtu:
    """After as many probes as it wants, the last one answered, over a path that carries so much."""
    for _ in range(100):
        known = known.look(now)
        passes = known.size <= carries
        known = known.passed(known.size, now) if passes else known.lost(known.size, now)
        if not known.is_urgent and (passes or carries < FLOOR):
            return known
    raise AssertionError(f"the search does not end: {known}")


@given(st.integers(FLOOR, 9000), st.integers(576, 9000))
def test_what_is_found_gets_through_and_hardly_more_does(top: int, carries: int) -> None:
    """Never more than the path carries, unless that is less than every link must; at most GRAIN bytes less."""
    found = searched(fresh(top), carries).found

    assert found is not None
    assert found == (min(top, max(carries, FLOOR)) if carries >= top or carries <= FLOOR else found)
    assert found <= max(carries, FLOOR)
    assert found > min(carries, top) - GRAIN


@given(st.lists(st.integers(FLOOR, TOP), min_size=2, max_size=5))
def test_a_path_that_shrinks_or_grows_is_followed(sizes: list[int]) -> None:
    """Whatever it carried before, the same is found as by a fresh search, but for the grain."""
    known, now = fresh(TOP), 0.0
    for carries in sizes:
        now += RAISE_S
        known = searched(known, carries, now)
        assert carries - GRAIN < (known.found or 0) <= carries


def test_one_probe_is_enough_where_nothing_is_narrow() -> None:
    """The device's own size is asked first."""
    assert fresh(TOP).size == TOP
    assert not fresh(TOP).passed(TOP, 0.0).is_urgent


def test_fewer_lost_probes_than_are_needed_change_nothing() -> None:
    """A size that got through and is lost TRIES - 1 times, then answered, stays what it was."""
    known = fresh(TOP).passed(TOP, 0.0)
    for _ in range(TRIES - 1):
        known = known.lost(TOP, 1.0)
        assert known.is_urgent

    assert known.passed(TOP, 2.0) == fresh(TOP).passed(TOP, 0.0)


def test_while_it_is_searched_packets_are_small_enough() -> None:
    """The moment in which a size is known to be lost, what every link carries is in force."""
    known = fresh(TOP).passed(TOP, 0.0)
    for _ in range(TRIES):
        assert known.found == TOP
        known = known.lost(TOP, 1.0)

    assert (known.found, known.is_urgent) == (FLOOR, True)


def test_trying_for_more_takes_nothing_away_meanwhile() -> None:
    """A search for more leaves the size that gets through in force until more does."""
    known = searched(fresh(TOP), 1350).look(RAISE_S)
    assert known.size == TOP
    before = known.found

    for _ in range(TRIES):
        known = known.lost(TOP, RAISE_S)

    assert (known.found, known.size) == (before, ((before or 0) + TOP) // 2)


def test_a_probe_is_as_large_as_it_says_and_an_older_agent_can_read_it() -> None:
    """The datagram with IPv6 and UDP around it has the size; what fills it up is left alone by `decode`."""
    data = encode_sized(Message(kind=Kind.PROBE, reached=frozenset({b"abcd"})), 1300)

    assert len(data) + HEADERS == 1300
    assert decode(data) == Message(kind=Kind.PROBE, sequence=SIZED | 1300, reached=frozenset({b"abcd"}))


class Clockwork:
    """Sizes on a clock of the test's own, with what they send."""

    def __init__(self) -> None:
        self.sizes, self.now, self.sent = Sizes(Pace()), 0.0, list[int]()
        self.sizes.follow([TUNNEL], TOP, 0.0)

    def step(self, line: Line, seconds: float = 0.0) -> bool:
        """So much later."""
        self.now += seconds
        return self.sizes.step({TUNNEL: line}, lambda _, size: self.sent.append(size), self.now)

    def answer(self) -> bool:
        """The last probe's comes back."""
        return self.sizes.heard(TUNNEL, SIZED | self.sent[-1], self.now)


def test_a_tunnel_that_loses_other_probes_too_is_not_called_narrow() -> None:
    """One ordinary probe lost of late, or too few sent: no size is asked, and none that was asked is judged."""
    clock = Clockwork()
    clock.step(WELL)
    assert clock.sent == [TOP]

    for line in (replace(WELL, fates=0b111111111011), replace(WELL, fates=0b11111), replace(WELL, proved=False)):
        for _ in range(TRIES + 1):
            assert not clock.step(line, 1.0)

    assert clock.sent == [TOP]
    assert clock.sizes.found() == {}


def test_a_size_that_got_through_is_asked_again_now_and_then() -> None:
    """One probe each CONFIRM_S; lost ones are followed at once, and the third changes what is known."""
    clock = Clockwork()
    clock.step(WELL)
    assert clock.answer()
    clock.step(WELL, CONFIRM_S - 0.1)
    assert clock.sent == [TOP]

    clock.step(WELL, 0.1)
    changed = [clock.step(WELL, 1.0) for _ in range(TRIES)]

    assert clock.sent == [*([TOP] * (TRIES + 1)), FLOOR]
    assert changed == [*([False] * (TRIES - 1)), True]
    assert clock.sizes.found() == {TUNNEL: FLOOR}


def test_an_answer_to_what_was_not_asked_here_is_nothing() -> None:
    """A tunnel that is gone meanwhile, and one whose device has another size now, begin anew."""
    clock = Clockwork()
    clock.step(WELL)
    clock.sizes.follow([], TOP, 0.0)
    assert not clock.answer()

    clock.sizes.follow([TUNNEL], TOP, 0.0)
    clock.step(WELL)
    clock.answer()
    clock.sizes.follow([TUNNEL], 1300, 0.0)

    assert clock.sizes.found() == {}
