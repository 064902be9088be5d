"""Waiting for sockets."""

from __future__ import annotations

import fcntl
import resource
import socket

import pytest

from slicer.kernel.polling import readable

BEYOND_SELECT = 1024


def test_only_what_can_be_read_is_told() -> None:
    """Of two sockets the one with data; of none, none."""
    one, other = socket.socketpair()
    with one, other:
        one.send(b"x")

        assert readable([one, other], 5.0) == [other]
        assert readable([], 0.0) == []


def test_descriptors_beyond_1023_are_no_hindrance() -> None:
    """select(2) would refuse this socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * BEYOND_SELECT), hard))
    try:
        one, other = socket.socketpair()
        with one, other, socket.socket(fileno=fcntl.fcntl(other, fcntl.F_DUPFD_CLOEXEC, BEYOND_SELECT)) as high:
            one.send(b"x")

            assert readable([high], 5.0) == [high]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("wait_s", [0.0, 0.0001])
def test_a_wait_ends_without_data(wait_s: float) -> None:
    """Nothing came: nothing is told."""
    one, other = socket.socketpair()
    with one, other:
        assert readable([one, other], wait_s) == []
