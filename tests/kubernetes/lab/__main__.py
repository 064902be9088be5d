"""The test clusters by hand. Everything ends with the command that started it.

    python -m tests.kubernetes.lab prepare                the images that the clusters need (wants the network, once)
    python -m tests.kubernetes.lab apiserver [COMMAND…]   an API server for as long as COMMAND runs, or until Ctrl-C
    python -m tests.kubernetes.lab up [--multus thin] […] two clusters, until Ctrl-C; meanwhile, from other shells:
    python -m tests.kubernetes.lab run COMMAND…           a command where the clusters can be reached, e.g.
                                                          kubectl --context b get pods -A
    python -m tests.kubernetes.lab node a-n1 COMMAND…     a command on a node
    python -m tests.kubernetes.lab load FILE…             image archives into all nodes

For COMMAND, KUBECONFIG has a context for each cluster, and PATH leads to kubectl.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from slicer.lab import machines
from tests.kubernetes.lab import images
from tests.kubernetes.lab.cluster import Lab, Options, make_lab, need_everything, open_lab
from tests.kubernetes.lab.control import running_apiserver
from tools import gomodule
from tools.kubernetes import PROGRAMS
from tools.pins import read_pins
from tools.run import ToolError, finish, say

RECORD = gomodule.cache_directory() / "labs" / "by-hand.json"
"""Where the other shells find the clusters: their directory, and the first process inside their sandbox."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Kubernetes test clusters by hand.")
    commands = parser.add_subparsers(required=True, dest="command")
    for name in ("apiserver", "run", "load", "load-here"):
        commands.add_parser(name).add_argument("argv", nargs=argparse.REMAINDER)
    commands.add_parser("prepare")
    node = commands.add_parser("node")
    node.add_argument("name")
    node.add_argument("argv", nargs=argparse.REMAINDER)
    for name in ("up", "hold"):
        up = commands.add_parser(name)
        up.add_argument("--clusters", default="a,b")
        up.add_argument("--nodes", type=int, default=2)
        up.add_argument("--multus", default="thick", choices=("thick", "thin", ""))
    arguments = parser.parse_args()
    does: dict[str, Callable[[argparse.Namespace], int]] = {
        "apiserver": lambda a: _apiserver(a.argv),
        "prepare": lambda _: _prepare(),
        "up": lambda _: _up(sys.argv[2:]),
        "hold": _hold,
        "run": lambda a: _inside(a.argv),
        "node": lambda a: _inside(_on_node(a.name, a.argv)),
        "load": lambda a: _load(a.argv),
        "load-here": lambda a: _load_here(a.argv),
    }
    return does[arguments.command](arguments)


def _prepare() -> int:
    need_everything()
    for archive in images.provide(read_pins()):
        say(f"  {archive.name}: {archive.stat().st_size / 1e6:.0f} MB")
    return 0


def _apiserver(argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running_apiserver() as server:
        say(f"export KUBECONFIG={server.kubeconfig} PATH={PROGRAMS}:$PATH   # {server.url}")
        try:
            if not argv:
                signal.pause()
            return subprocess.run(argv, env=_environment(str(server.kubeconfig)), check=False).returncode
        except KeyboardInterrupt:
            return 0


def _up(options: list[str]) -> int:
    """Starts the sandbox, notes where it is, and waits for its end."""
    # A sandbox whose keeper was killed ends as well: nobody could end it otherwise.
    keep = ("setpriv", "--pdeathsig", "KILL")
    argv = (
        *keep,
        sys.executable,
        "-m",
        "tools.sandbox",
        sys.executable,
        "-m",
        "tests.kubernetes.lab",
        "hold",
        *options,
    )
    with subprocess.Popen(argv) as sandbox:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the clusters get it from the terminal as well, and end first
        signal.signal(signal.SIGTERM, lambda *_: os.kill(_child(sandbox.pid), signal.SIGTERM))
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.with_suffix(".pid").write_text(str(_child(sandbox.pid)))
        code = sandbox.wait()
    RECORD.with_suffix(".pid").unlink(missing_ok=True)
    return code


def _child(pid: int) -> int:
    """The first process inside the sandbox, which `unshare` starts."""
    while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        time.sleep(0.01)
    return int(found[0])


def _hold(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = tuple(arguments.clusters.split(","))
    lab = make_lab(Options(names=names, nodes=arguments.nodes, multus=arguments.multus))
    try:
        lab.up()
        RECORD.write_text(json.dumps({"root": str(lab.layout.root), "names": names, "nodes": arguments.nodes}))
        say(f"up; KUBECONFIG={lab.kubeconfig()}; Ctrl-C ends it")
        signal.pause()
    except KeyboardInterrupt:
        say("taking it down")
    finally:
        RECORD.unlink(missing_ok=True)
        lab.down()
    return 0


def _lab() -> Lab:
    try:
        record = json.loads(RECORD.read_text())
    except FileNotFoundError:
        raise ToolError("no clusters are up; start them with `python -m tests.kubernetes.lab up`") from None
    return open_lab(Path(record["root"]), Options(names=tuple(record["names"]), nodes=record["nodes"]))


def _inside(argv: list[str]) -> int:
    env = _environment(str(_lab().layout.root / "kubeconfig"))
    pid = RECORD.with_suffix(".pid").read_text()
    return subprocess.run(("nsenter", "-t", pid, "-n", "-m", "-p", "-i", *argv), env=env, check=False).returncode


def _on_node(name: str, argv: list[str]) -> list[str]:
    record = machines.read_record(_lab().layout.machine(name).directory)
    assert record is not None
    return machines.enter_argv(record, argv)


def _load(archives: list[str]) -> int:
    """The nodes are known by their process numbers inside the sandbox."""
    paths = [str(Path(each).resolve()) for each in archives]
    return _inside([sys.executable, "-m", "tests.kubernetes.lab", "load-here", *paths])


def _load_here(archives: list[str]) -> int:
    for each in archives:
        _lab().load(Path(each))
    return 0


def _environment(kubeconfig: str) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": kubeconfig, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}


if __name__ == "__main__":
    finish(main)
