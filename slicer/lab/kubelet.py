"""The lab's kubelet: the one stand-in. Runs inside a node, starts and ends pod sandboxes, and calls CNI as Multus does.

    python -m slicer.lab.kubelet run < {"pod", "networks", "nameserver", "pod_cidr"}     prints the pod's record
    python -m slicer.lab.kubelet delete NAMESPACE NAME                                  prints what went wrong

A sandbox is a network namespace (`/run/netns/cni-<uuid>`, as containerd names it) and a pause process that holds mount,
PID, UTS and IPC namespaces. Containers are the manifest's commands, run on the host's file system, restarted for ever.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from slicer.kernel import netns
from slicer.lab import machines, multus, wiring
from slicer.model.errors import (
    ConflictError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnavailableError,
)
from slicer.plan import pods

MACHINE = Path("/run/machine")
PODS = MACHINE / "pods"
SANDBOXES = Path("/run/slicer/sandboxes")
CONTAINER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PAUSE = """
set -e
read -r pid rest </proc/self/stat
mount --make-rprivate /
hostname "$1"
mount --bind "$2" "$3"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo "$pid" >"$4.new"
mv "$4.new" "$4"
sleep infinity &
wait
"""
"""$1 host name, $2 the pod's resolv.conf, $3 where it goes, $4 file that gets the pause process' number in the node."""

Json = dict[str, Any]


def main() -> int:
    """Run one command; errors go to stderr as one message, exit 1."""
    try:
        if sys.argv[1] == "run":
            print(json.dumps(run_pod(json.load(sys.stdin))))
        else:
            delete_pod(sys.argv[2], sys.argv[3])
    except SlicerError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def run_pod(spec: Json) -> Json:
    """Start a pod as kubelet and containerd do: netns, eth0, networks, sandbox, containers. Undone if a step fails."""
    pod = spec["pod"]
    requests = pods.plan_attachments(pod)
    with ExitStack() as undo:
        record = _reserve(pod, spec)
        undo.callback(_record_path(record["namespace"], record["name"]).unlink, missing_ok=True)
        undo.callback(_remove_sandbox, record)
        netns.create(record["netns_name"])
        _primary_network(record, spec["pod_cidr"])
        record["attached"] = multus.prepare_all(_identity(record), requests, spec["networks"])
        _write(record)  # a kubelet that is killed now leaves a record from which `delete` can clean up
        multus.add_all(_identity(record), record["netns"], record["attached"])
        record["status"] = _network_status(record)
        _write(record)
        _write_sandbox(pod, record)
        undo.pop_all()  # from here on the pod exists; a container that does not start is a matter of its restart policy
    _start_pause(record, spec["nameserver"])
    for container in record["containers"]:
        _start_container(record, container)
    record["phase"] = "Running"
    _write(record)
    return record


def delete_pod(namespace: str, name: str) -> None:
    """End a pod; what could not be cleaned up is reported together at the end, and the rest is gone all the same."""
    path = _record_path(namespace, name)
    if not path.exists():
        raise NotFoundError(f"pod {namespace}/{name} is not on this node")
    record = json.loads(path.read_text())
    for unit in (*(_unit(record, c["name"]) for c in record["containers"]), _unit(record, "")):
        with suppress(SlicerError):  # not started, or ended already
            machines.stop_unit(MACHINE, unit, signal.SIGKILL)
    errors = multus.delete_all(_identity(record), record["netns"], record["attached"])
    _remove_sandbox(record)
    # containerd asks again when it removes the sandbox, with no namespace and no previous result.
    errors += multus.delete_all(_identity(record), "", record["attached"])
    path.unlink()
    if errors:
        raise SlicerError("\n".join(errors))


def _reserve(pod: Json, spec: Json) -> Json:
    """The pod's record, with its name and its eth0 address taken; ConflictError if the name is in use on this node."""
    namespace, name = pods.pod_namespace(pod), pod["metadata"]["name"]
    netns_name = f"cni-{uuid.uuid4()}"
    PODS.mkdir(exist_ok=True)
    with open(PODS / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _record_path(namespace, name).exists():
            raise ConflictError(f"pod {namespace}/{name} exists already; delete it first")
        record = {
            "namespace": namespace,
            "name": name,
            "uid": str(uuid.uuid4()),
            "id": secrets.token_hex(32),
            "netns_name": netns_name,
            # containerd writes /var/run, which is a link to /run
            "netns": f"/var/run/netns/{netns_name}",
            "address": _free_address(ipaddress.IPv4Network(spec["pod_cidr"])),
            "containers": _containers(pod),
            "pod": pod,
            "attached": [],
            "status": "[]",
            "phase": "Pending",
        }
        _write(record)
    return record


def _free_address(cidr: ipaddress.IPv4Network) -> str:
    used = {json.loads(path.read_text())["address"] for path in PODS.glob("*.json")}
    for address in list(cidr.hosts())[1:]:  # the first is the bridge
        if str(address) not in used:
            return str(address)
    raise ExhaustedError(f"the node's pod range {cidr} has no free address")


def _containers(pod: Json) -> list[Json]:
    """Name, argv and environment of each container; the image is not looked at, so a command is needed."""
    found = []
    for container in pod["spec"].get("containers", ()):
        argv = [*container.get("command", ()), *container.get("args", ())]
        if not container.get("command"):
            raise InvalidError(
                f"pod {pods.pod_name(pod)}: container {container['name']!r} has no command; the lab has no images"
            )
        env = {item["name"]: str(item.get("value", "")) for item in container.get("env", ())}
        found.append({"name": container["name"], "argv": argv, "env": env})
    return found


def _primary_network(record: Json, pod_cidr: str) -> None:
    cidr = ipaddress.IPv4Network(pod_cidr)
    _ip_batch([], wiring.render_pod_cable(_host_end(record), record["netns_name"]))
    _ip_batch(["-n", record["netns_name"]], wiring.render_pod(record["address"], str(cidr[1])))


def _network_status(record: Json) -> str:
    eth0 = {
        "interfaces": [{"name": "eth0", "sandbox": record["netns"]}],
        "ips": [{"address": record["address"], "interface": 0}],
    }
    entries = pods.status_entries("lab", eth0, default=True)
    for attached in record["attached"]:
        entries += pods.status_entries(attached["network"], attached["result"])
    return pods.render_network_status(entries)


def _write_sandbox(pod: Json, record: Json) -> None:
    """What CRI would tell of the running sandbox."""
    sandbox = {key: record[key] for key in ("id", "namespace", "name", "uid", "netns")}
    sandbox["labels"] = pod["metadata"].get("labels") or {}
    SANDBOXES.mkdir(parents=True, exist_ok=True)
    _replace(SANDBOXES / f"{record['id']}.json", json.dumps(sandbox))


def _remove_sandbox(record: Json) -> None:
    (SANDBOXES / f"{record['id']}.json").unlink(missing_ok=True)
    netns.delete(record["netns_name"])
    with suppress(SlicerError):  # gone with the pod's namespace
        _ip_batch([], f"link delete {_host_end(record)}\n")


def _start_pause(record: Json, nameserver: str) -> None:
    base = PODS / record["id"][:12]
    resolver, pid_file = Path(f"{base}.resolv.conf"), Path(f"{base}.pause")
    domain = f"{record['namespace']}.svc.cluster.local svc.cluster.local cluster.local"
    resolver.write_text(f"search {domain}\nnameserver {nameserver}\noptions ndots:5\n")
    hide = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--"]
    target = os.path.realpath("/etc/resolv.conf")
    script = ["sh", "-c", PAUSE, "pause", record["name"], str(resolver), target, str(pid_file)]
    _start(record, "", ["nsenter", f"--net=/run/netns/{record['netns_name']}", "--", *hide, *script], {}, restart=False)
    deadline = time.monotonic() + machines.PATIENCE_S
    while not pid_file.exists():
        if time.monotonic() > deadline:
            log = machines.tail(MACHINE / "logs" / f"{_unit(record, '').replace('/', '_')}.log")
            raise UnavailableError(
                f"pod {record['namespace']}/{record['name']}: its pause process did not start: {log}"
            )
        time.sleep(0.002)
    record["pause"] = int(pid_file.read_text())


def _start_container(record: Json, container: Json) -> None:
    enter = ["nsenter", "--target", str(record["pause"]), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]
    # A python3 beside ours comes last: for machines whose only Python is the one that the project brought.
    env = {
        "PATH": f"{CONTAINER_PATH}:{Path(sys.executable).parent}",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        **container["env"],
    }
    _start(record, container["name"], [*enter, *container["argv"]], env, restart=True)


def _start(record: Json, container: str, argv: list[str], env: dict[str, str], *, restart: bool) -> None:
    name = _unit(record, container)
    log = MACHINE / "logs" / f"{name.replace('/', '_')}.log"
    machines.ask(MACHINE, {"do": "start", "name": name, "argv": argv, "env": env, "log": str(log), "restart": restart})


def _unit(record: Json, container: str) -> str:
    """The name of a pod's program in the node's list; the pause process where `container` is empty."""
    return f"pod/{record['namespace']}/{record['name']}" + (f"/{container}" if container else "")


def _identity(record: Json) -> pods.PodIdentity:
    return pods.PodIdentity(
        namespace=record["namespace"], name=record["name"], uid=record["uid"], container_id=record["id"]
    )


def _host_end(record: Json) -> str:
    return "veth" + hashlib.sha256(record["id"].encode()).hexdigest()[:8]


def _record_path(namespace: str, name: str) -> Path:
    return PODS / f"{namespace}_{name}.json"


def _write(record: Json) -> None:
    _replace(_record_path(record["namespace"], record["name"]), json.dumps(record))


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(text)
    new.rename(path)


def _ip_batch(options: list[str], text: str) -> None:
    done = subprocess.run(["ip", *options, "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SlicerError(f"ip -batch failed: {done.stderr.strip()}\n{text}")


if __name__ == "__main__":
    sys.exit(main())
