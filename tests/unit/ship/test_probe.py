"""What the kubelet is told about an agent."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from slicer.agent import probe


@pytest.fixture
def listener(tmp_path: Path) -> socket.socket:
    """An open CNI socket."""
    link = socket.socket(socket.AF_UNIX)
    link.bind(str(tmp_path / "cni.sock"))
    link.listen()
    return link


def ask(question: str, path: Path) -> int:
    """The exit code of the probe, run as the kubelet runs it."""
    return subprocess.run(
        [sys.executable, "-IS", probe.__file__, question, str(path / "cni.sock")], check=False
    ).returncode


def test_before_it_has_joined(tmp_path: Path) -> None:
    """An agent without a socket waits for its controller: alive, not ready."""
    assert ask("alive", tmp_path) == 0
    assert ask("ready", tmp_path) == 1


def test_working(tmp_path: Path, listener: socket.socket) -> None:
    """One that answers is both."""

    def answer() -> None:
        for _ in range(2):
            link, _ = listener.accept()
            with link:
                if b"STATUS" in link.recv(4096):
                    link.send(b"0")

    thread = threading.Thread(target=answer)
    thread.start()

    assert ask("ready", tmp_path) == 0
    assert ask("alive", tmp_path) == 0

    thread.join()
    listener.close()


def test_stuck(tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose socket is open and never answered is not alive."""
    monkeypatch.setattr(probe, "PATIENCE_S", 0.2)

    assert probe.main("alive", str(tmp_path / "cni.sock")) == 1

    listener.close()


def test_cut_off(tmp_path: Path, listener: socket.socket) -> None:
    """One that drops the call without an answer is not alive."""

    def drop() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=drop)
    thread.start()

    assert ask("alive", tmp_path) == 1

    thread.join()
    listener.close()
