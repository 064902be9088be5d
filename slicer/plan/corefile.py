"""The slices' zone in a cluster's own DNS: a stanza in CoreDNS's Corefile, put in and taken out as text.

Pure. Callers: the installer and the uninstaller, for the Corefile of CoreDNS and of NodeLocal DNSCache.

The stanza stands between two marks at the head of the file. All else stays byte for byte as it is, also through putting
in and taking out again. The stanza forwards to slicer-dns and tells it who asks (EDNS client subnet, RFC 7871), because
a name is answered to members of its slice only; so it may not cache: CoreDNS's cache does not look at the asker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slicer.model.errors import ConflictError, InvalidError
from slicer.model.names import Address

BEGIN = "# BEGIN slicer: made by `slicectl install`, removed by `slicectl uninstall`; do not edit"
END = "# END slicer"
ZONE = "slice.local"
PORT = 53
"""CoreDNS's, where a server block names none."""
_STANZA = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*|\n|[^\s]+')
_KEY = re.compile(r"(?:(?P<transport>[a-z]+)://)?(?P<zone>[^:]*)(?::(?P<port>[^:]+))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBlock:
    """One server block: its keys as written (`.:53`), and the words of each line of its first level."""

    keys: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def add_stanza(corefile: str, servers: Sequence[Address]) -> str:
    """The Corefile with the stanza that sends ZONE to `servers`; one that is there already is made anew.

    ConflictError if the file serves the zone itself; InvalidError if it cannot be read.
    """
    if not servers:
        raise InvalidError("the Corefile's stanza needs at least one server")
    rest = remove_stanza(corefile)
    blocks = parse_blocks(rest)
    _refuse_served(blocks)
    return _render(blocks, servers) + rest


def remove_stanza(corefile: str) -> str:
    """The Corefile as it was before the stanza was put in; the same text if there is none."""
    rest = _STANZA.sub("", corefile)
    for mark in (BEGIN, END):
        if mark in rest:
            raise InvalidError(f"the Corefile has the line {mark!r} without its other half; mend it by hand")
    return rest


def parse_blocks(corefile: str) -> tuple[ServerBlock, ...]:
    """The server blocks, without snippets and imports; InvalidError if the braces do not fit."""
    blocks: list[ServerBlock] = []
    keys: list[str] = []
    lines: list[tuple[str, ...]] = []
    depth = 0
    for words in _lines(corefile):
        level = depth
        depth += words.count("{") - words.count("}")
        if depth < 0:
            raise InvalidError(f"the Corefile closes a block that is not open: {' '.join(words)!r}")
        if level == 0:
            keys += [word for word in words if word != "{"]
            if depth == 0 and keys[:1] == ["import"]:
                keys = []
        elif depth > 0 and level == 1:
            lines.append(tuple(word for word in words if word != "{"))
        if depth == 0 and level > 0:
            if not keys[0].startswith("("):
                blocks.append(ServerBlock(keys=tuple(_split(keys)), lines=tuple(lines)))
            keys, lines = [], []
    if depth:
        raise InvalidError(f"the Corefile does not close the block {' '.join(keys)!r}")
    if keys:
        raise InvalidError(f"the Corefile has a block without braces, {' '.join(keys)!r}; nothing can be put beside it")
    return tuple(blocks)


def _lines(text: str) -> Iterator[list[str]]:
    """The words of each line that has any; comments are left out, quoted text is one word."""
    words: list[str] = []
    for word in _WORD.findall(text + "\n"):
        if word == "\n":
            if words:
                yield words
            words = []
        elif not word.startswith("#"):
            words.append(word)


def _split(keys: Sequence[str]) -> Iterator[str]:
    """CoreDNS takes keys apart at spaces and commas."""
    for key in keys:
        yield from filter(None, key.split(","))


def _refuse_served(blocks: Sequence[ServerBlock]) -> None:
    for block in blocks:
        for key in block.keys:
            if _zone(key) == ZONE:
                raise ConflictError(f"the Corefile serves zone {ZONE!r} itself ({key}); remove that block first")


def _zone(key: str) -> str:
    match = _KEY.match(key)
    return match["zone"].rstrip(".").lower() if match else key


def _render(blocks: Sequence[ServerBlock], servers: Sequence[Address]) -> str:
    """On the ports and addresses where the cluster's other names are served: two blocks of one port share a socket."""
    root = [block for block in blocks if any(_zone(key) == "" for key in block.keys)]
    ports = sorted({port for block in root for key in block.keys if (port := _port(key))}) or [str(PORT)]
    bind = next((line for block in root for line in block.lines if line[0] == "bind"), ())
    body = [
        *([" ".join(bind)] if bind else []),
        "errors",
        "rewrite edns0 subnet set 32 128",
        f"forward . {' '.join(_upstream(server) for server in servers)}",
    ]
    keys = " ".join(f"{ZONE}:{port}" for port in ports)
    return "\n".join([BEGIN, f"{keys} {{", *(f"    {line}" for line in body), "}", END, ""])


def _port(key: str) -> str:
    """The port on which a key's zone is served in plain DNS; empty for a key with another transport or zone."""
    match = _KEY.match(key)
    if match is None or match["transport"] not in {None, "dns"} or _zone(key) != "":
        return ""
    return match["port"] or str(PORT)


def _upstream(server: Address) -> str:
    return f"[{server}]:{PORT}" if server.version == 6 else str(server)
