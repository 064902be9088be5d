"""What a controller takes from where it runs: nothing (files and SQLite), or Kubernetes (slicer_controller.kube).

The seam between the controller and Kubernetes, beside the store's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from slicer.model.clusters import Surroundings
from slicer_controller.access import Peer
from slicer_controller.context import Context

Handler = Callable[[Request], Awaitable[Response]]
Part = Callable[[], None]
"""A piece of work that may fail by itself: UnavailableError and the like mean that it is done again soon."""


class Platform(Protocol):
    """Called in the event loop's thread, but for what `wake` is."""

    @property
    def hosts(self) -> frozenset[str]:
        """More names and addresses under which the controller is reached."""

    def start(self, context: Context, wake: Callable[[], None]) -> None:
        """The controller is put together; `wake` (of any thread) makes it look at everything again."""

    def intake(self) -> Sequence[Part]:
        """Before the controller's own work: what users declared; in parts, of which none waits for another."""

    def telling(self) -> Sequence[Part]:
        """After it: what users should know; in parts as well."""

    def surroundings(self, node: str) -> Surroundings:
        """What it knows of a node of this cluster."""

    def routes(self, context: Context) -> dict[str, Handler]:
        """POST paths of the platform's own."""

    def admit_user(self, token: str, method: str, path: str) -> None:
        """UnauthenticatedError or DeniedError unless whoever has this token may make this request."""

    def identify(self, token: str) -> Peer:
        """The agent or DNS server whose own proof of identity this is."""
