"""Runs planned changes: `ip`, `tc` and `bridge` in batches exactly as they are printed, `nft` and sysctls beside them.

Nothing here raises for a change that failed: the error is kept with the change, and what is true is read back
afterwards.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

from slicer.kernel import netns
from slicer.kernel.attach import empty
from slicer.plan.dataplane_commands import Change, Verb
from slicer.plan.dataplane_values import TABLE_NAME, Sysctl, Table

_TIMEOUT_S = 30
_FAILED = re.compile(r"^Command failed -:(\d+)$")
BATCHED = frozenset({"ip", "ip -6", "tc", "bridge"})

Errors = dict[Change, str]


def runs(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Neighbours in the list that one process can do."""
    for _, run in groupby(changes, key=lambda change: (change.ns, change.tool)):
        yield list(run)


def run_batch(changes: Sequence[Change]) -> Errors:
    """Run changes of one tool and namespace by one process; the rest goes on after an error."""
    first = changes[0]
    lines = "".join(f"{change.text}\n" for change in changes)
    try:
        done = _run([*first.tool.split(), "-force", "-batch", "-"], lines, first.ns)
    except OSError as error:
        return dict.fromkeys(changes, f"{first.tool}: {error}")
    return _batch_errors(changes, done.stderr)


def _batch_errors(changes: Sequence[Change], stderr: str) -> Errors:
    """iproute2 writes what went wrong, then `Command failed -:<line>`."""
    errors: Errors = {}
    words: list[str] = []
    for line in stderr.splitlines():
        failed = _FAILED.match(line.strip())
        if failed is None:
            words.append(line.strip())
        else:
            errors[changes[int(failed[1]) - 1]] = " ".join(words) or "failed without a word"
            words = []
    return errors


def run_nft(change: Change) -> Errors:
    """Load or remove one table, in one transaction: no packet sees half of it."""
    item = change.item
    assert isinstance(item, Table)
    fresh = f"table inet {TABLE_NAME} {{ }}\ndelete table inet {TABLE_NAME}\n"
    body = f'table inet {TABLE_NAME} {{\n  comment "plan {item.digest}"\n{item.text}\n}}\n'
    try:
        done = _run(["nft", "-f", "-"], fresh + (body if change.verb is Verb.PUT else ""), change.ns)
    except OSError as error:
        return {change: f"nft: {error}"}
    return {change: done.stderr.strip()} if done.returncode else {}


def run_sysctls(changes: Sequence[Change]) -> Errors:
    """Write the settings of one namespace."""
    errors: Errors = {}
    try:
        with netns.entered(netns.path_of(changes[0].ns)):
            for change in changes:
                assert isinstance(change.item, Sysctl)
                try:
                    (Path("/proc/sys") / change.item.name).write_text(change.item.value)
                except OSError as error:
                    errors[change] = str(error)
    except OSError as error:
        return dict.fromkeys(changes, str(error))
    return errors


def run_netns(change: Change) -> Errors:
    """Make or remove a namespace; one that is removed loses its devices first."""
    name = change.item.ns
    try:
        if change.verb is Verb.PUT:
            netns.create(name)
            return {}
        if netns.exists(netns.path_of(name)):
            empty(netns.path_of(name))
        netns.delete(name)
    except OSError as error:
        return {change: str(error)}
    return {}


def run_host(*arguments: str) -> None:
    """Run one command in the agent's own namespace; OSError with its words if it fails."""
    ask_host(*arguments)


def ask_host(*arguments: str) -> str:
    """What one command in the agent's own namespace prints; OSError with its words if it fails."""
    done = _run(list(arguments), "", "")
    if done.returncode:
        raise OSError(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def find_leaf() -> str:
    """The queue for classes of packets: fq_codel where the kernel has it. Tried in a namespace of its own."""
    try:
        run_host("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "fq_codel")
    except OSError:
        return "pfifo"
    return "fq_codel"


def _run(arguments: list[str], text: str, ns: str) -> subprocess.CompletedProcess[str]:
    """The child inherits the network namespace of the thread that starts it."""
    with netns.entered(netns.path_of(ns)) if ns else nullcontext():
        return subprocess.run(arguments, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
