"""The agent's CNI socket, as the shim sees it."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from slicer.agent.cni_server import CniServer
from slicer.model.errors import UnavailableError


def call(path: Path) -> bytes:
    """What a shim without environment and input is told."""
    with socket.socket(socket.AF_UNIX) as shim:
        shim.settimeout(20)
        shim.connect(str(path))
        shim.sendall(b"\0")
        shim.shutdown(socket.SHUT_WR)
        answer = b""
        while part := shim.recv(4096):
            answer += part
        return answer


def test_a_machine_out_of_threads_is_served_one_call_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, those that are there answer every call; none is left without an answer."""

    def refuse(_: object) -> object:
        raise UnavailableError("asked")

    server = CniServer(tmp_path / "cni.sock", refuse)
    try:
        first = call(tmp_path / "cni.sock")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _no_more)
            while_short = [call(tmp_path / "cni.sock") for _ in range(8)]
        after = call(tmp_path / "cni.sock")
    finally:
        server.close()

    assert first.startswith(b"1")
    assert [first] * 9 == [*while_short, after]


def _no_more(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
