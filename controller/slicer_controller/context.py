"""What one controller process is made of, handed to all request handlers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from slicer_controller.access import USER, Door, Peer
from slicer_controller.ca import CertificateAuthority
from slicer_controller.history import Recorder
from slicer_controller.hub import Hub
from slicer_controller.reports import Reports
from slicer_controller.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts of a controller."""

    roles: frozenset[str]
    """`hub`, `member` or both."""
    cluster: str
    """The member's cluster; empty for a hub alone."""
    state: State
    authority: CertificateAuthority
    door: Door
    hub: Hub
    reports: Reports
    history: Recorder
    admin_token: str = field(repr=False)
    clock: Callable[[], float]
    """Unix time in seconds."""
    ready: Callable[[], bool]
    closing: asyncio.Event
    """Set when the process is to end: all streams end."""
    admit_user: Callable[[str, str, str], None] | None = None
    """(token, method, path): refuses users that the administrator's token does not stand for; None: all of those."""
    identify: Callable[[str], Peer] | None = None
    """The agent or DNS server that a token of its platform stands for; None where there is no such thing."""
    connected: Counter[str] = field(default_factory=Counter)
    """Open view streams, by the client's URI."""

    def dismiss(self, peer: Peer, by: str = USER) -> None:
        """The peer is gone: its certificates are worth nothing, and what it reported is removed."""
        self.door.revoke(peer, by)
        self.reports.forget(peer)

    @staticmethod
    def time_text(at_s: float) -> str:
        """A time as JSON has it: RFC 3339, UTC."""
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
