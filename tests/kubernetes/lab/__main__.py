"""The test clusters by hand.

python -m tests.kubernetes.lab apiserver [COMMAND…]   an API server for as long as COMMAND runs (KUBECONFIG is set)
                                                      or until Ctrl-C
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess

from tests.kubernetes.lab.control import running_apiserver
from tools.kubernetes import PROGRAMS
from tools.run import finish, say


def main() -> int:
    parser = argparse.ArgumentParser(description="Kubernetes test clusters by hand.")
    commands = parser.add_subparsers(required=True, dest="command")
    apiserver = commands.add_parser("apiserver", help="etcd and kube-apiserver on loopback")
    apiserver.add_argument("argv", nargs=argparse.REMAINDER)
    return _apiserver(parser.parse_args().argv)


def _apiserver(argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with running_apiserver() as server:
        say(f"export KUBECONFIG={server.kubeconfig} PATH={PROGRAMS}:$PATH   # {server.url}")
        try:
            if not argv:
                signal.pause()
            path = f"{PROGRAMS}:{os.environ['PATH']}"
            env = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "PATH": path}
            return subprocess.run(argv, env=env, check=False).returncode
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    finish(main)
