"""Becomes a program of the host: `python -IS outlive.py /proc/1/ns PROGRAM ARGUMENT…`, run by slicer.kernel.host.

Whoever ends a container of ours kills every process in its cgroup, and unmounts what they stand on. So this one goes to
the cgroups of process 1, and to the host's mounts; then it is PROGRAM, as the host sees that path. Imports the standard
library alone.
"""

import ctypes
import os
import sys

_KINDS = {"cgroup": 0x02000000, "mnt": 0x00020000}
"""Namespaces to enter (CLONE_NEWCGROUP, CLONE_NEWNS). The mounts last: the others are opened by their names here."""
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """OSError, and exit code 1, if the host cannot be reached; PROGRAM otherwise."""
    namespaces, *argv = sys.argv[1:]
    opened = [(os.open(f"{namespaces}/{name}", os.O_RDONLY | os.O_CLOEXEC), flag) for name, flag in _KINDS.items()]
    for descriptor, flag in opened:
        if _libc.setns(descriptor, flag) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{os.strerror(code)} (setns {namespaces})")
    os.chdir("/")
    for path in groups(read("/proc/self/mountinfo"), read("/proc/1/cgroup")):
        move(path)
    os.execv(argv[0], argv)  # noqa: S606  # this is what it is for


def groups(mounts: str, membership: str) -> "list[str]":
    """The `cgroup.procs` files of the groups in `membership` (proc(5), /proc/pid/cgroup), under their mounts.

    Where a machine sees a part of the tree only, and its process 1 is outside of that, it is the part's own top. Of
    several mounts of a hierarchy the last one counts: it hides the others.
    """
    found = []
    for line in membership.splitlines():
        _, controllers, group = line.split(":", 2)
        wanted = set(filter(None, controllers.removeprefix("name=").split(",")))
        for mount in reversed(mounts.splitlines()):
            fields, _, rest = mount.partition(" - ")
            kind, _, options = rest.split(" ", 2)
            root, place = fields.split(" ")[3:5]
            if kind == "cgroup2" if not wanted else kind == "cgroup" and wanted <= names_in(options):
                top = root.rstrip("/") + "/"
                inside = group.rstrip("/")[len(top) - 1 :] if f"{group}/".startswith(top) else ""
                found.append(f"{place}{inside}/cgroup.procs")
                break
    return found


def names_in(options: str) -> "set[str]":
    """The controllers that a mount of version 1 carries; a named hierarchy by its name."""
    return {option.removeprefix("name=") for option in options.split(",")}


def move(path: str) -> None:
    """Put this process into a group. Where that is refused it shares the container's end; everything else works."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("0")
    except OSError as error:
        sys.stderr.write(f"stays in the container's cgroup: {path}: {error}\n")


def read(path: str) -> str:
    """A file of /proc."""
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    main()
