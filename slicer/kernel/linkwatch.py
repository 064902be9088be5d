"""Tells when a device in one of our namespaces came, went or changed, so that a repair need not wait for a timer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from slicer.kernel import netns
from slicer.kernel.netlink import link_events, link_name
from slicer.kernel.polling import readable

_LOOK_S = 1.0
"""How often new namespaces are looked for."""


class LinkWatch:
    """`run_forever` in a thread of its own; calls back for each burst of changes, pods' host ends left out."""

    def __init__(self, on_change: Callable[[], None], settle: Callable[[], None] = lambda: None) -> None:
        self._on_change, self._settle = on_change, settle
        self._sockets: dict[str, tuple[int, socket.socket]] = {}

    def run_forever(self) -> None:
        """Listen for ever."""
        while True:
            self.step(_LOOK_S)
            self._settle()

    def step(self, wait_s: float) -> None:
        """Open what is new, close what is gone, wait for news."""
        self._follow_namespaces()
        sockets = [watched for _, watched in self._sockets.values()]
        news = [
            _is_news(watched) for watched in readable(sockets, wait_s)
        ]  # all of them: every socket has to be emptied
        if any(news):
            self._on_change()

    def _follow_namespaces(self) -> None:
        """A socket keeps its namespace alive: those of removed ones are closed."""
        there: dict[str, int] = {}
        for name in netns.names():
            with suppress(FileNotFoundError):
                there[name] = netns.path_of(name).stat().st_ctime_ns
        for name, (identity, watched) in list(self._sockets.items()):
            if there.get(name) != identity:
                watched.close()
                del self._sockets[name]
        for name in there.keys() - self._sockets.keys():
            with suppress(OSError):  # removed meanwhile
                self._sockets[name] = (there[name], link_events(netns.path_of(name)))


def _is_news(watched: socket.socket) -> bool:
    """Empty the socket; whether anything in it was about another link than a pod's host end."""
    found = False
    while True:
        try:
            data = watched.recv(1 << 16)
        except BlockingIOError:
            return found
        except OSError:
            return True  # ENOBUFS: some were lost, so look
        found |= not link_name(data).startswith("p")
