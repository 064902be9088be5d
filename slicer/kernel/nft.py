"""Whether our nftables table is the one that was loaded, in two netlink questions instead of a process.

The plan's digest stands in the table's comment. That alone would not show a rule that somebody removed by hand, but
every change to a namespace's rules raises its generation number: the number after our load is kept, and while it
stands, the rules do.
"""

from __future__ import annotations

import json
from pathlib import Path

from slicer.kernel import netns
from slicer.kernel.netlink import NETLINK_NETFILTER, Netlink, attributes, text
from slicer.plan.dataplane_values import TABLE_NAME, Table

_GETTABLE, _GETGEN = 0x0A01, 0x0A10
_REQUEST = bytes(4)
CHANGED = "changed"
"""Digest of a table that is not as it was loaded."""


class NftReader:
    """Reads the tables of all our namespaces; remembers their generations in `file`, also over a restart."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._sockets: dict[str, tuple[int, Netlink]] = {}
        self._loaded: dict[str, list[int]] = self._read_file()
        """Inode of the namespace and generation after the last load."""

    def close(self) -> None:
        for _, netlink in self._sockets.values():
            netlink.close()
        self._sockets.clear()

    def forget(self, ns: str) -> None:
        """Let go of a namespace that is to be removed."""
        if ns in self._sockets:
            self._sockets.pop(ns)[1].close()
        self._loaded.pop(ns, None)

    def read(self, ns: str) -> Table | None:
        """Our table in `ns`; None if there is none."""
        inode, netlink = self._open(ns)
        digests = {
            text(found[1]): _comment(found.get(6, b""))
            for payload in netlink.dump(_GETTABLE, _REQUEST)
            if (found := attributes(payload, 4))
        }
        if TABLE_NAME not in digests:
            return None
        untouched = self._loaded.get(ns) == [inode, _generation(netlink)]
        return Table(ns=ns, digest=digests[TABLE_NAME].removeprefix("plan ") if untouched else CHANGED)

    def loaded(self, ns: str) -> None:
        """What is there now is what was loaded."""
        inode, netlink = self._open(ns)
        self._loaded[ns] = [inode, _generation(netlink)]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_name(f".{self._file.name}.new")
        aside.write_text(json.dumps(self._loaded))
        aside.replace(self._file)

    def _open(self, ns: str) -> tuple[int, Netlink]:
        path = netns.path_of(ns)
        inode = path.stat().st_ino
        if ns in self._sockets and self._sockets[ns][0] != inode:
            self._sockets.pop(ns)[1].close()
        if ns not in self._sockets:
            self._sockets[ns] = (inode, Netlink(NETLINK_NETFILTER, path))
        return self._sockets[ns]

    def _read_file(self) -> dict[str, list[int]]:
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}  # then every table is loaded once more
        return {str(ns): [int(part) for part in parts] for ns, parts in found.items()}


def _generation(netlink: Netlink) -> int:
    return int.from_bytes(attributes(netlink.get(_GETGEN, _REQUEST), 4)[1], "big")


def _comment(userdata: bytes) -> str:
    """nft keeps a comment as type 0, length, text with a zero byte."""
    return text(userdata[2:]) if userdata[:1] == b"\0" else ""
