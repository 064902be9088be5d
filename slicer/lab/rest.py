"""The few REST calls that the lab makes itself: readiness and join tokens, as the controller's own administrator.

A controller's address exists only inside the lab, so the calling thread enters the machine's namespace for each call.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx

from slicer.kernel.netns import entered
from slicer.lab import machines
from slicer.lab.layout import Layout, Machine
from slicer.model.errors import SlicerError

TOKEN_TTL_S = 600
TIMEOUT_S = 10.0


def is_ready(layout: Layout, machine: Machine) -> bool:
    """Whether the controller on `machine` has its state and serves."""
    try:
        return call(layout, machine, "GET", "/readyz").status_code == httpx.codes.OK
    except (httpx.TransportError, OSError):
        return False


def join_token(layout: Layout, machine: Machine, kind: str, name: str) -> str:
    """A fresh one-use token from the controller on `machine`."""
    wanted = {"metadata": {"name": name}, "spec": {"kind": kind, "name": name, "ttl_s": TOKEN_TTL_S}}
    answer = call(layout, machine, "POST", "/v1/join-tokens", wanted)
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        raise SlicerError(f"{machine.name}: no join token for {kind} {name}: {answer.text}")
    return str(answer.json()["status"]["token"])


def call(layout: Layout, machine: Machine, method: str, path: str, body: Any = None) -> httpx.Response:
    """One request to the controller on `machine`, as its administrator."""
    source = layout.directory_of(machine) / "state" / "controller"
    context = ssl.create_default_context(cafile=str(_present(source / "ca.crt")))
    token = _present(source / "admin.token").read_text().strip()
    netns = f"/proc/{machines.require(layout.directory_of(machine)).pid}/ns/net"
    with entered(netns), httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT_S) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return client.request(method, machine.url + path, json=body, headers=headers)


def _present(path: Path) -> Path:
    """The file, or OSError: a controller writes it at its first start."""
    path.stat()
    return path
