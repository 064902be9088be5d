"""What a lab writes on the host, and the one lock that its changes hold. Everything lies under /run/slicer-lab/<name>.

lab.json          clusters and nodes               slicectl.yaml, ca.pem, admin.token   how slicectl reaches the hub
machines/<name>/  record.json, control.sock, logs/, pods/, state/ (= /var/lib/slicer there)
networks/<cluster>/<namespace>_<name>.json         NetworkAttachmentDefinitions
lock              held while the lab is built or taken down
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slicer.lab import layout as layouts
from slicer.lab.layout import Layout
from slicer.model.errors import ConflictError, NotFoundError


def save(layout: Layout) -> None:
    """Write down what the lab consists of."""
    value = {"clusters": layout.clusters, "nodes": layout.nodes, "agent_options": layout.agent_options}
    replace(layout.directory / "lab.json", json.dumps(value))


def load(name: str) -> Layout:
    """The lab `name`; NotFoundError says how to make it."""
    path = layouts.ROOT / layouts.check_lab_name(name) / "lab.json"
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise NotFoundError(f"there is no lab {name!r}; make it with: slicectl lab up --name {name}") from None
    return Layout(
        name=name,
        clusters=tuple(value["clusters"]),
        nodes=value["nodes"],
        agent_options=tuple(value["agent_options"]),
    )


def names() -> list[str]:
    """All labs of this host that have at least begun to be built, sorted."""
    if not layouts.ROOT.is_dir():
        return []
    return sorted(path.name for path in layouts.ROOT.iterdir() if path.is_dir())


def default_name() -> str:
    """The lab that is meant when none is named: the only one there is, else the one with the usual name."""
    there = names()
    return there[0] if len(there) == 1 else layouts.DEFAULT_NAME


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lab's lock (the kernel drops it if we die); ConflictError if somebody builds or removes it just now."""
    directory = layouts.ROOT / name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(directory / "lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            raise ConflictError(f"lab {name!r} is being built or removed by process {holder}; wait for it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        os.set_inheritable(lock.fileno(), False)
        yield


def pod_records(layout: Layout) -> list[tuple[str, dict[str, Any]]]:
    """Every pod of the lab with its node's name, sorted by cluster, namespace and name."""
    found = []
    for machine in layout.machines():
        for path in (layout.directory_of(machine) / "pods").glob("*_*.json"):
            record = json.loads(path.read_text())
            found.append(((machine.cluster, record["namespace"], record["name"]), machine.name, record))
    return [(node, record) for _, node, record in sorted(found, key=lambda item: item[0])]


def save_network(layout: Layout, cluster: str, network: dict[str, Any]) -> None:
    """Create or replace a NetworkAttachmentDefinition."""
    metadata = network["metadata"]
    directory = layout.directory / "networks" / cluster
    directory.mkdir(parents=True, exist_ok=True)
    replace(directory / f"{metadata.get('namespace') or 'default'}_{metadata['name']}.json", json.dumps(network))


def networks(layout: Layout, cluster: str) -> dict[str, dict[str, Any]]:
    """The cluster's NetworkAttachmentDefinitions by `namespace/name`."""
    directory = layout.directory / "networks" / cluster
    return {path.stem.replace("_", "/", 1): json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def replace(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file in one step: readers see the old text or the new, never half of it."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.touch(mode)
    new.write_text(text)
    new.rename(path)
