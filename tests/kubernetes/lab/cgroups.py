"""Control groups of the nodes: one group a node in every hierarchy, which the node sees as the root.

Version 1 and version 2 hosts. Groups are `/slicer-kubernetes/<lab>/<node>`; they are mounted aside for as long as they
are worked on, so that it does not matter what the caller's /sys shows.

    python -m tests.kubernetes.lab.cgroups remove LAB [NODE]     (by `remove`, in a mount namespace of its own)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TOP = "slicer-kubernetes"
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd")
PATIENCE_S = 20.0
NAMESPACE = "/run/cgroup-namespace"
"""Where a node holds its cgroup namespace."""
JOIN = f"""if [ -e /sys/fs/cgroup/cgroup.procs ]; then echo $$ > /sys/fs/cgroup/programs/cgroup.procs
else for g in /sys/fs/cgroup/*/cgroup.procs; do echo $$ > $g; done; fi
exec nsenter --cgroup={NAMESPACE} -- "$@"
"""
"""Shell: run the arguments in the node's group and cgroup namespace."""


def hierarchies() -> tuple[str, ...]:
    """The version 1 hierarchies of this host (`cpu`, `cpu,cpuacct`); empty where there is version 2 only."""
    names = [line.split(":")[1] for line in Path("/proc/1/cgroup").read_text().splitlines()]
    return tuple(sorted(name for name in names if set(name.split(",")) & set(V1)))


def render_enter(group: str, node: str) -> list[str]:
    """Shell lines for the node's setup: make its groups, a cgroup namespace with them as roots, and mount them."""
    found = hierarchies()
    lines = ["mkdir -p /run/cgroup", "mount -t tmpfs tmpfs /run/cgroup", f"touch {NAMESPACE}"]
    for name in found or ("",):
        lines += _mount(f"/run/cgroup/{name}", name)
        lines += _make(f"/run/cgroup/{name}".rstrip("/"), f"{TOP}/{group}/{node}", name)
    inside = ["mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup"] if found else []
    for name in found or ("",):
        inside += _mount(f"/sys/fs/cgroup/{name.removeprefix('name=')}", name)
        inside += [f"ln -s {name} /sys/fs/cgroup/{part}" for part in name.split(",") if "," in name]
    if not found:
        # A group with processes of its own cannot pass controllers on to groups below it.
        inside += ["mkdir -p /sys/fs/cgroup/programs"]
    return [
        *lines,
        f"unshare --cgroup={NAMESPACE} sh -ec '{'; '.join(inside)}'",
        "echo $$ > /run/cgroup/cgroup.procs" if not found else "",
        *(f"echo $$ > '/run/cgroup/{name}/cgroup.procs'" for name in found),
        "umount -R /run/cgroup",
    ]


def _mount(where: str, name: str) -> list[str]:
    if not name:
        return [f"mkdir -p {where}", f"mount -t cgroup2 cgroup2 {where}"]
    option = f"none,{name}" if name.startswith("name=") else name
    return [f'mkdir -p "{where}"', f'mount -t cgroup -o {option} cgroup "{where}"']


def _make(mounted: str, group: str, name: str) -> list[str]:
    """Make the group, level by level, and go into it."""
    lines = []
    place = mounted
    for part in group.split("/"):
        if not name:
            lines.append(
                f"for c in $(cat {place}/cgroup.controllers); do echo +$c > {place}/cgroup.subtree_control; done"
            )
        below = f"{place}/{part}"
        lines.append(f'mkdir -p "{below}"')
        if "cpuset" in name.split(","):  # a new group takes no process before these are filled
            lines += [f'cat "{place}/cpuset.{kind}" > "{below}/cpuset.{kind}"' for kind in ("cpus", "mems")]
        place = below
    return [*lines, f'echo $$ > "{place}/cgroup.procs"']


def remove(group: str, node: str = "") -> None:
    """Removes the (empty) groups of a node, or of a whole lab; waits for processes that are still ending."""
    argv = ["unshare", "--mount", sys.executable, "-m", "tests.kubernetes.lab.cgroups", "remove", group, node]
    subprocess.run(argv, check=True)


def main() -> None:
    group, node = sys.argv[2:4]
    with tempfile.TemporaryDirectory() as work:
        for name in hierarchies() or ("",):
            lines = _mount(f"{work}/{name}", name)
            subprocess.run(["sh", "-ec", "\n".join(lines)], check=True)
            _remove_below(Path(f"{work}/{name}") / TOP / group / node)
            with suppress(OSError):
                (Path(f"{work}/{name}") / TOP / group).rmdir()
            with suppress(OSError):
                (Path(f"{work}/{name}") / TOP).rmdir()
            subprocess.run(["umount", f"{work}/{name}"], check=True)


def _remove_below(top: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while top.exists():
        for group in _deepest_first(top):
            with suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            raise SystemExit(f"control group {top} still has processes")
        if top.exists():
            time.sleep(0.05)


def _deepest_first(top: Path) -> Iterator[Path]:
    for path, _, _ in os.walk(top, topdown=False):
        yield Path(path)


if __name__ == "__main__":
    main()
