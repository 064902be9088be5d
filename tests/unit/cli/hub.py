"""A real hub on loopback, and members that join it and report, as real ones do; for tests of slicectl's commands."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from slicer.cli import main
from slicer.client.codec import encode_documents
from slicer.client.identity import http_client, load_or_join
from slicer.client.rest import Api, ask
from slicer.model.documents import Document, key_of

BIN = Path(sys.executable).parent
START_S = 60.0
"""Patience for a start on a busy machine; nobody waits that long on a good day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What one run of slicectl left."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The running hub and slicectl's configuration for it."""

    directory: Path
    url: str

    @property
    def environ(self) -> dict[str, str]:
        """What slicectl gets to see."""
        path = f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": str(self.directory), "SLICER_CONFIG": str(self.directory / "config.yaml")}

    def api(self) -> Api:
        """The administrator's client."""
        state = self.directory / "state"
        return Api(self.url, state / "ca.pem", (state / "admin.token").read_text().strip())

    def run(self, *argv: str, stdin: str = "", **environ: str) -> Done:
        """Run slicectl's main in this process, with the streams and the environment that a user's shell would give."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.environ, **environ}, clear=True),
            mock.patch.object(sys, "stdin", io.StringIO(stdin)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main.run(list(argv))
        return Done(code=code, out=out.getvalue(), err=err.getvalue())

    def good(self, *argv: str, **options: Any) -> str:
        """Run slicectl, which must work; its stdout."""
        done = self.run(*argv, **options)
        assert done.code == 0, f"{argv}: exit {done.code}\n{done.err}"
        return done.out

    def join(self, cluster: str) -> Member:
        """A member of this name, joined with a token that slicectl made."""
        token = self.good("join-token", cluster).strip()
        place = Path(tempfile.mkdtemp(dir=self.directory))
        identity = load_or_join(place, token, expect=f"slicer://cluster/{cluster}")
        return Member(identity=identity)

    def clear(self) -> None:
        """Remove everything that users declare, and the clusters."""
        with self.api() as api:
            for one in api.list("slices"):
                api.delete("slices", one["spec"]["name"], force=True)
            for one in api.list("clusters"):
                api.delete("clusters", one["spec"]["name"], force=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A joined cluster that reports what the test says."""

    identity: Any

    def report(self, *documents: Document) -> None:
        """The whole report."""
        with http_client(self.identity) as client:
            body = {"documents": encode_documents({key_of(one): one for one in documents})}
            ask(client, "PUT", "/v1/reports/cluster", json=body)

    def view(self) -> Mapping[str, Any]:
        """The cluster's view as it is now: key → JSON value."""
        with http_client(self.identity) as client:
            lines = [json.loads(line) for line in client.get("/v1/views/cluster").text.splitlines()]
        return {line["key"]: line["value"] for line in lines if "value" in line}


@contextmanager
def running() -> Iterator[Hub]:
    """A hub with an empty state; ended with everything of it."""
    with tempfile.TemporaryDirectory(prefix="slicectl-test-") as text:
        directory = Path(text)
        port = _free_port()
        url = f"https://127.0.0.1:{port}"
        hub = Hub(directory=directory, url=url)
        command = [BIN / "slicer-controller", "--role", "hub", "--state", directory / "state"]
        command += ["--listen", f"127.0.0.1:{port}", "--advertise", url]
        with (directory / "log").open("wb") as log, subprocess.Popen(command, stderr=log, env=os.environ) as process:
            try:
                until(lambda: _serves(hub, process))
                hub.good(
                    *("config", "set-context", "test", "--server", url),
                    *("--ca", str(directory / "state/ca.pem")),
                    *("--token-file", str(directory / "state/admin.token")),
                )
                yield hub
            finally:
                process.terminate()
                process.wait()


def until(holds: Callable[[], object]) -> None:
    """Ask again until it holds; fails after a minute."""
    waiting = threading.Event()
    for _ in range(int(START_S / 0.05)):
        if holds():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not come about within a minute")


def _serves(hub: Hub, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (hub.directory / "log").read_text()
    if not (hub.directory / "state/admin.token").exists():
        return False
    try:
        with hub.api() as api:
            api.request("GET", "/readyz")
    except Exception:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
