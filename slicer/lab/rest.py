"""The few REST calls that the lab makes itself: readiness and join tokens, as the controller's own administrator.

A controller's address exists only inside the lab, so the calling thread enters the machine's namespace meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from slicer.client.rest import Api
from slicer.kernel.netns import entered
from slicer.lab import machines
from slicer.lab.layout import Layout, Machine
from slicer.model.errors import UnavailableError

TOKEN_TTL_S = 600


@contextmanager
def opened(layout: Layout, machine: Machine) -> Iterator[Api]:
    """A client of the controller on `machine`; UnavailableError while that has not written its CA and token yet."""
    directory = layout.directory_of(machine)
    source = directory / "state" / "controller"
    try:
        token = (source / "admin.token").read_text().strip()
    except FileNotFoundError:
        raise UnavailableError(f"{machine.name}: the controller has not made its token yet") from None
    netns = f"/proc/{machines.require(directory).pid}/ns/net"
    with entered(netns), Api(machine.url, source / "ca.pem", token) as api:
        yield api


def is_ready(layout: Layout, machine: Machine) -> bool:
    """Whether the controller on `machine` has its state and serves."""
    try:
        with opened(layout, machine) as api:
            api.request("GET", "/readyz")
    except UnavailableError:
        return False
    return True


def join_token(layout: Layout, machine: Machine, kind: str, name: str) -> str:
    """A fresh one-use token from the controller on `machine`."""
    wanted = {"kind": kind, "name": name, "ttl_s": TOKEN_TTL_S}
    with opened(layout, machine) as api:
        return str(api.create("join-tokens", wanted)["status"]["token"])
