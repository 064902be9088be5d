"""Pods of a lab from ordinary manifests: which are meant, where they run, and how one is found again."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from slicer.lab import machines, state
from slicer.lab.layout import Layout, Machine
from slicer.model.errors import InvalidError, NotFoundError, SlicerError
from slicer.model.names import check_label, check_subdomain
from slicer.plan import pods
from slicer.plan.grants import STATEFUL_LABEL

RETRY = "CNI error 11:"
"""CNI's "try again later": the kubelet tries again, so the lab does."""
RETRY_S = 15.0

Json = dict[str, Any]


def parse_manifests(texts: Iterable[tuple[str, str]]) -> tuple[list[Json], list[Json]]:
    """Pods and NetworkAttachmentDefinitions from (file name, YAML text); other kinds are refused, naming the file."""
    found: list[Json] = []
    networks: list[Json] = []
    for source, text in texts:
        for document in _documents(source, text):
            match document.get("kind"):
                case "Pod":
                    found.append(_checked(source, document))
                case "Deployment":
                    found += [_checked(source, pod) for pod in expand_deployment(document)]
                case "StatefulSet":
                    found += [_checked(source, pod) for pod in expand_stateful_set(document)]
                case "NetworkAttachmentDefinition":
                    networks.append(document)
                case other:
                    kinds = "Pod, Deployment, StatefulSet, NetworkAttachmentDefinition"
                    raise InvalidError(f"{source}: kind {other!r} is not one that the lab runs ({kinds})")
    return found, networks


def expand_deployment(deployment: Json) -> list[Json]:
    """The pods of a Deployment: `<name>-<5 characters>`, the same for the same name and number."""
    name = deployment["metadata"]["name"]
    numbers = range(int(deployment["spec"].get("replicas", 1)))
    digests = [hashlib.sha256(f"{name}/{number}".encode()).hexdigest()[:5] for number in numbers]
    return [_replica(deployment, f"{name}-{digest}") for digest in digests]


def expand_stateful_set(stateful_set: Json) -> list[Json]:
    """The pods of a StatefulSet: `<name>-0` and so on, with the label by which Kubernetes marks their identity."""
    name = stateful_set["metadata"]["name"]
    found = [
        _replica(stateful_set, f"{name}-{number}") for number in range(int(stateful_set["spec"].get("replicas", 1)))
    ]
    for pod in found:
        metadata = pod["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), STATEFUL_LABEL: metadata["name"]}
    return found


def _replica(owner: Json, name: str) -> Json:
    pod = copy.deepcopy(owner["spec"]["template"])
    pod["metadata"] = {**(pod.get("metadata") or {}), "name": name}
    pod["metadata"].setdefault("namespace", owner["metadata"].get("namespace", "default"))
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def run(layout: Layout, cluster: str, wanted: Sequence[Json], networks: Sequence[Json], node: str = "") -> list[Json]:
    """Start the pods in `cluster`, side by side; every failure is reported at the end, what started goes on."""
    for network in networks:
        state.save_network(layout, cluster, network)
    expanded = [pods.expand_pod(pod) for pod in wanted]
    for pod in expanded:
        _make_networks(layout, cluster, pod)
    placed = place(layout, cluster, expanded, node)
    known = state.networks(layout, cluster)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda item: _run_one(layout, item[1], item[0], known), zip(expanded, placed, strict=True))
        )
    failed = [str(result) for result in results if isinstance(result, SlicerError)]
    if failed:
        raise SlicerError("\n".join(failed))
    return [result for result in results if isinstance(result, dict)]


def place(layout: Layout, cluster: str, wanted: Sequence[Json], node: str = "") -> list[Machine]:
    """The node of each pod: the one asked for, its own `spec.nodeName`, else the one with the fewest pods."""
    nodes = {machine.name: machine for machine in layout.nodes_of(cluster)}
    records = state.pod_records(layout)
    taken = {f"{r['namespace']}/{r['name']}" for where, r in records if where in nodes}
    load = {name: sum(where == name for where, _ in records) for name in nodes}
    placed = []
    for pod in wanted:
        if pods.pod_name(pod) in taken:
            raise InvalidError(f"pod {pods.pod_name(pod)} exists in cluster {cluster} already; delete it first")
        name = node or pod["spec"].get("nodeName") or min(load, key=lambda n: (load[n], n))
        if name not in nodes:
            raise NotFoundError(
                f"pod {pods.pod_name(pod)}: cluster {cluster} has no node {name!r}; it has {', '.join(nodes)}"
            )
        load[name] += 1
        placed.append(nodes[name])
    return placed


def delete(layout: Layout, text: str) -> str:
    """End one pod; its full name."""
    node, record = find(layout, text)
    directory = layout.directory_of(layout.machine(node))
    argv = [sys.executable, "-m", "slicer.lab.kubelet", "delete", record["namespace"], record["name"]]
    done = machines.run_in(machines.require(directory), argv, timeout_s=60)
    if done.returncode != 0:
        raise SlicerError(done.stderr.strip())
    return full_name(layout, node, record)


def recover(layout: Layout, machine: Machine) -> None:
    """What the kubelet does after a reboot: CNI DEL for the sandboxes that were there, then the same pods anew."""
    records = [record for node, record in state.pod_records(layout) if node == machine.name]
    for record in records:
        delete(layout, f"{machine.cluster}/{record['namespace']}/{record['name']}")
    run(layout, machine.cluster, [record["pod"] for record in records], [], machine.name)


def find(layout: Layout, text: str) -> tuple[str, Json]:
    """The one pod that `text` names: `cluster/namespace/pod`, or its last parts where that is clear."""
    words = text.split("/")
    found = [
        (node, r)
        for node, r in state.pod_records(layout)
        if full_name(layout, node, r).split("/")[-len(words) :] == words
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(full_name(layout, node, r) for node, r in (found or state.pod_records(layout)))
    if found:
        raise InvalidError(f"pod {text!r} could be any of {names}")
    raise NotFoundError(f"there is no pod {text!r}; there are {names or 'none'}")


def full_name(layout: Layout, node: str, record: Json) -> str:
    """`cluster/namespace/pod`."""
    return f"{layout.machine(node).cluster}/{record['namespace']}/{record['name']}"


def exec_argv(layout: Layout, text: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in a pod, or on a machine where `text` is the name of one."""
    if text in {machine.name for machine in layout.machines()}:
        return machines.enter_argv(machines.require(layout.directory_of(layout.machine(text))), argv)
    node, record = find(layout, text)
    if "pause" not in record:
        raise SlicerError(f"pod {full_name(layout, node, record)} has not started")
    machine = machines.require(layout.directory_of(layout.machine(node)))
    pod = machines.Record(pid=record["pause"], started=0)
    return machines.enter_argv(machine, machines.enter_argv(pod, argv))


def logs_of(layout: Layout, text: str) -> list[Path]:
    """The log files of a pod's containers, or of `machine/program`."""
    machine, _, program = text.partition("/")
    if machine in {m.name for m in layout.machines()}:
        path = layout.directory_of(layout.machine(machine)) / "logs" / f"{program or 'init'}.log"
        if not path.exists():
            there = ", ".join(sorted(p.stem for p in path.parent.glob("*.log")))
            raise NotFoundError(f"machine {machine} has no log {program!r}; it has {there}")
        return [path]
    node, record = find(layout, text)
    logs = layout.directory_of(layout.machine(node)) / "logs"
    return [logs / f"pod_{record['namespace']}_{record['name']}_{c['name']}.log" for c in record["containers"]]


def _run_one(layout: Layout, machine: Machine, pod: Json, networks: dict[str, Json]) -> Json | SlicerError:
    control = layout.of_cluster(machine.cluster)[0]
    spec = {
        "pod": pod,
        "networks": networks,
        "nameserver": str(control.addresses[0]),
        "pod_cidr": str(machine.pod_cidr),
    }
    deadline = time.monotonic() + RETRY_S
    while True:
        done = machines.run_in(
            machines.require(layout.directory_of(machine)),
            [sys.executable, "-m", "slicer.lab.kubelet", "run"],
            stdin=json.dumps(spec),
            timeout_s=120,
        )
        if done.returncode == 0:
            record: Json = json.loads(done.stdout)
            return record
        if not done.stderr.startswith(RETRY) or time.monotonic() > deadline:
            return SlicerError(f"pod {machine.cluster}/{pods.pod_name(pod)} on {machine.name}: {done.stderr.strip()}")
        time.sleep(0.2)


def _make_networks(layout: Layout, cluster: str, pod: Json) -> None:
    """Make the NetworkAttachmentDefinitions of the slices that the pod's annotation names, where they are missing."""
    text = (pod["metadata"].get("annotations") or {}).get(pods.SLICES, "")
    if not text.strip():
        return
    known = state.networks(layout, cluster)
    namespace = pods.pod_namespace(pod)
    for element in pods.parse_slices(text, namespace, pods.pod_name(pod)):
        if f"{namespace}/{element['name']}" not in known:
            slice_ = element["name"].removeprefix(pods.NETWORK_PREFIX)
            state.save_network(layout, cluster, pods.render_network(slice_, namespace))


def _documents(source: str, text: str) -> list[Json]:
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidError(f"{source}: not YAML: {error}") from None
    for document in documents:
        if not isinstance(document, dict):
            raise InvalidError(f"{source}: {document!r} is not a Kubernetes object")
    return documents


def _checked(source: str, pod: Json) -> Json:
    name = (pod.get("metadata") or {}).get("name")
    if not isinstance(name, str):
        raise InvalidError(f"{source}: a pod without metadata.name")
    check_subdomain(f"{source}: pod name", name)
    check_label(f"{source}: namespace", pods.pod_namespace(pod))
    if not (pod.get("spec") or {}).get("containers"):
        raise InvalidError(f"{source}: pod {name!r} has no containers")
    return pod
