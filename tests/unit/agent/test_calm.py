"""Background work steps back while pods wait, but not for ever."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from slicer.agent import changes
from slicer.agent.changes import Calm

LONG_S = 600.0
JOIN_S = 30.0


def waiting(calm: Calm) -> threading.Thread:
    """A thread that waits for calm."""
    thread = threading.Thread(target=calm.wait, daemon=True)
    thread.start()
    return thread


def test_who_waits_goes_on_when_the_burst_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls overlap; the background waits for the end of the second."""
    monkeypatch.setattr(changes, "LIMIT_S", LONG_S)
    calm = Calm()
    first, second = ExitStack(), ExitStack()
    first.enter_context(calm.broken())
    second.enter_context(calm.broken())

    background = waiting(calm)
    first.close()
    background.join(5 * changes.QUIET_S)
    assert background.is_alive()

    second.close()
    background.join(JOIN_S)
    assert not background.is_alive()


def test_a_burst_without_end_holds_nobody_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit ends the wait while the call still runs."""
    monkeypatch.setattr(changes, "LIMIT_S", 0.05)
    calm = Calm()
    with calm.broken():
        background = waiting(calm)
        background.join(JOIN_S)
        assert not background.is_alive()


def test_a_call_that_failed_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error leaves nothing behind that the background would wait for."""
    monkeypatch.setattr(changes, "LIMIT_S", LONG_S)
    calm = Calm()
    with pytest.raises(OSError, match="refused"), calm.broken():
        raise OSError("refused")
    background = waiting(calm)
    background.join(JOIN_S)
    assert not background.is_alive()


def test_nobody_waits_in_a_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was ever done there is nothing to wait for."""
    monkeypatch.setattr(changes, "QUIET_S", LONG_S)
    monkeypatch.setattr(changes, "LIMIT_S", LONG_S)
    background = waiting(Calm())
    background.join(JOIN_S)
    assert not background.is_alive()
