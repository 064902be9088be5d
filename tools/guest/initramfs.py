"""The first root of the machine: an archive with busybox, some kernel modules and a script that finds the real root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

_DIRECTORY, _PROGRAM = 0o40755, 0o100755


def render_archive(files: Mapping[str, bytes], directories: Sequence[str]) -> bytes:
    """A cpio archive as the kernel wants it (Documentation/driver-api/early-userspace/buffer-format.rst, "newc")."""
    entries = [(name, _DIRECTORY, b"") for name in directories]
    entries += [(name, _PROGRAM, content) for name, content in files.items()]
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += content + bytes(-len(content) % 4)
    return bytes(archive)


def plan_modules(index: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Paths of the wanted modules and all that they need, each after what it needs itself.

    `index` is what depmod writes as modules.dep: `path: path of a needed one …`. KeyError for a module that is not
    in it: built into the kernel, or not there at all.
    """
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in index.splitlines())}
    paths = {PurePosixPath(path).name.removesuffix(".ko"): path for path in needs}
    planned: dict[str, None] = {}

    def add(path: str) -> None:
        for needed in needs[path]:
            add(needed)
        planned[path] = None

    for name in wanted:
        add(paths[name])
    return tuple(planned)
