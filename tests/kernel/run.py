"""What `make test-kernel` runs: pytest on a machine whose kernel has WireGuard (see tools/guest).

    python -m tests.kernel.run [PYTEST ARGUMENT…]

Emulated, Python is some twenty times slower than here, and reading source is most of its start. So the modules that
the tests need are compiled here first, by collecting the tests, and only the plugins that they use are loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from tools.run import ROOT, TOOLS, finish, say

WANTED = (
    "tests/kernel",
    "tests/netns/test_wireguard_contract.py",
    "tests/netns/test_mesh.py::test_between_two_nodes_only_the_other_slice_can_be_read",
)
BYTECODE = TOOLS / "bytecode"
PLUGINS = ("-p", "pytest_timeout", "-p", "no:cacheprovider")
PATIENCE = ("-o", "timeout=1800")
LAZY = "import node_process, governed, slicer.kernel.wireguard_kernel, pyroute2.netlink.generic.wireguard"
"""What a node process imports, first and last."""
SETTINGS = {
    "PYTHONPYCACHEPREFIX": str(BYTECODE),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "SLICER_TEST_WIREGUARD": "kernel",
    "SLICER_TEST_SLOWNESS": "20",
}


def main() -> int:
    """pytest's exit code, or that of a machine that failed; nothing is booted for tests that cannot be collected."""
    wanted = sys.argv[1:] or WANTED
    pytest = (sys.executable, "-m", "pytest", *PLUGINS)
    for command in ((*pytest, "--collect-only", "-q", *wanted), (sys.executable, "-c", LAZY)):
        if code := _compile(command):
            return code
    words = (*pytest, *PATIENCE, "-v", "--durations=20", "--durations-min=5", *wanted)
    settings = tuple(f"{name}={value}" for name, value in SETTINGS.items())
    return subprocess.run((sys.executable, "-m", "tools.guest", "env", *settings, *words), check=False).returncode


def _compile(command: Sequence[str]) -> int:
    """Run it here for the bytecode that it leaves; its exit code, having printed what it wrote if it failed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env = {**kept, **SETTINGS, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/netns'}"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        say(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    finish(main)
