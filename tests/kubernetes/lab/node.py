"""A node: a machine of `slicer.lab` with cgroups, containerd, kubelet and kube-proxy.

Its files lie below `directory`; what a real node keeps on disk over a reboot (images, kubelet, CNI) is in `disk/`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.lab import machines
from tests.kubernetes.lab import cgroups
from tests.kubernetes.lab.layout import (
    CLUSTER_DNS,
    PODS,
    Cluster,
    Node,
    render_cable,
    render_machine,
    render_masquerade,
)
from tools.kubernetes import PROGRAMS
from tools.run import ToolError

DISK = ("/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/opt/cni", "/opt/slicer", "/etc/cni", "/var/log")
"""What a node has of its own and keeps; all else of the file system is the host's."""
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""The kubelet sets these for the whole machine: it gets plain files to write to."""
SOCKET = "/run/containerd/containerd.sock"
PLUGINS = ("bridge", "ptp", "loopback", "host-local", "portmap")
PATIENCE_S = 90.0


def start(cluster: Cluster, node: Node, group: str) -> None:
    """Boots a node and starts its programs; they come up on their own. `group`: the lab's name among the cgroups."""
    record = boot(cluster, node)
    run(record, ("nft", "-f", "-"), stdin=render_masquerade(node))
    _write_configuration(cluster, node)
    run(record, ("sh", "-ec", _render_setup(node, group)))
    unit(node, "containerd", ("containerd", "--config", "/run/machine/containerd.toml"))
    _wait_containerd(record, node)


def start_kubelet(cluster: Cluster, node: Node) -> None:
    """The node joins its cluster, as soon as the API answers."""
    config = f"{cluster.plane.directory}/{node.name}.kubeconfig"
    who = ("--hostname-override", node.name, "--node-ip", node.address)
    unit(node, "kubelet", ("kubelet", "--config", "/run/machine/kubelet.json", "--kubeconfig", config, *who))
    unit(node, "kube-proxy", ("kube-proxy", "--config", "/run/machine/proxy.json"))


def boot(cluster: Cluster, node: Node) -> machines.Record:
    """A machine with its cable plugged in."""
    record = machines.wait_ready(node.directory, machines.spawn(node.directory, node.name))
    batch(render_cable(cluster, node, record.pid))
    machines.ip_batch(record, render_machine(cluster, node))
    return record


def stop(node: Node, group: str) -> None:
    """Pulls the plug: every process and namespace of the node ends; its disk stays."""
    record = machines.read_record(node.directory)
    if record is not None:
        machines.kill(record)
    # The cable goes with the node's namespace, but the kernel may take its time.
    subprocess.run(("ip", "link", "del", node.port), capture_output=True, check=False)
    cgroups.remove(group, node.name)


def load(node: Node, archive: Path) -> None:
    """Imports an image archive into the node's containerd."""
    record = machines.require(node.directory)
    with open(archive, "rb") as source:
        # From stdin: the node need not see the file.
        done = subprocess.run(
            machines.enter_argv(record, ("ctr", "-n", "k8s.io", "images", "import", "-")),
            stdin=source,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise ToolError(f"{node.name}: cannot import {archive}: {done.stderr.decode().strip()}")


def unit(node: Node, name: str, argv: Sequence[str]) -> None:
    """Starts a program of the node in its cgroup; started again whenever it ends."""
    path = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    start_program(node, name, ("sh", "-ec", cgroups.JOIN, "join", *argv), {"PATH": path, "HOME": "/root"})


def start_program(node: Node, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Starts a program on a machine, its output into `logs/<name>.log`; started again whenever it ends."""
    log = f"/run/machine/logs/{name}.log"
    request = {"do": "start", "name": name, "argv": list(argv), "env": dict(env), "log": log, "restart": True}
    machines.ask(node.directory, request)


def kill_program(node: Node, name: str) -> None:
    """SIGKILL to a program, which is started again by itself (`stop_program` ends it for good)."""
    (found,) = [each for each in machines.units(node.directory) if each["name"] == name]
    run(machines.require(node.directory), ("kill", "-KILL", str(found["pid"])))


def stop_program(node: Node, name: str) -> None:
    """Ends a program until it is started again."""
    machines.stop_unit(node.directory, name, signal.SIGKILL)


def run(record: machines.Record, argv: Sequence[str], *, stdin: str = "") -> str:
    """Runs a command on a machine; ToolError with its words if it fails."""
    done = machines.run_in(record, argv, stdin=stdin, timeout_s=PATIENCE_S)
    if done.returncode:
        raise ToolError(f"{' '.join(argv)[:200]}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def batch(text: str) -> None:
    """`ip -batch` at the router, which is here."""
    done = subprocess.run(("ip", "-batch", "-"), input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"ip -batch: {done.stderr.strip()}\n{text}")


def _wait_containerd(record: machines.Record, node: Node) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while machines.run_in(record, ("ctr", "version")).returncode:
        if time.monotonic() > deadline:
            log = machines.tail(node.directory / "logs/containerd.log")
            raise ToolError(f"{node.name}: containerd does not answer after {PATIENCE_S:.0f} s:\n{log}")
        time.sleep(0.1)


def _render_setup(node: Node, group: str) -> str:
    """Shell, run on the machine: its own directories and cgroups, and no Python where nodes have none."""
    disk = [f"mkdir -p {path}; mount --bind /run/machine/disk{path} {path}" for path in DISK]
    sysctls = [f"mount --bind /run/machine/sysctl/{name} /proc/sys/{name}" for name in SYSCTLS]
    return "\n".join(
        [
            # /etc is the host's, with what the node writes kept in memory.
            "mkdir -p /run/etc/upper /run/etc/work",
            "mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc",
            "cp /run/machine/machine-id /etc/machine-id",
            *disk,
            *sysctls,
            *cgroups.render_enter(group, node.name),
            "for p in /usr/bin/python3* /usr/local/bin/python3*; do",
            '  if [ -f "$p" ] && [ ! -L "$p" ]; then mount --bind /dev/null "$p"; fi; done',
            "mount --make-rshared /",
        ]
    )


def _write_configuration(cluster: Cluster, node: Node) -> None:
    for path in DISK:
        (node.directory / f"disk{path}").mkdir(parents=True, exist_ok=True)
    for name, value in SYSCTLS.items():
        file = node.directory / "sysctl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    plugins = node.directory / "disk/opt/cni/bin"
    plugins.mkdir(exist_ok=True)
    for plugin in PLUGINS:
        shutil.copy(PROGRAMS / plugin, plugins / plugin)
    network = node.directory / "disk/etc/cni/net.d/10-primary.conflist"
    network.parent.mkdir(exist_ok=True)
    network.write_text(json.dumps(_primary_network(node), indent=1))
    (node.directory / "machine-id").write_text(hashlib.md5(node.name.encode()).hexdigest() + "\n")
    (node.directory / "resolv.conf").write_text("nameserver 198.18.0.53\n")
    (node.directory / "containerd.toml").write_text(_CONTAINERD)
    (node.directory / "kubelet.json").write_text(json.dumps(_kubelet(cluster, node), indent=1))
    (node.directory / "proxy.json").write_text(json.dumps(_proxy(cluster, node), indent=1))


def _primary_network(node: Node) -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    ptp = {"type": "ptp", "mtu": 1500, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "1.0.0", "name": "primary", "plugins": [ptp, ports]}


_CONTAINERD = f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "slicer.test/pause:1"
  # A machine in a container may not lower anybody's score.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"""


def _kubelet(cluster: Cluster, node: Node) -> dict[str, Any]:
    keys = cluster.plane.directory / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "x509": {"clientCAFile": str(keys / "ca.crt")},
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(keys / f"{node.name}.crt"),
        "tlsPrivateKeyFile": str(keys / f"{node.name}.key"),
        "clusterDomain": "cluster.local",
        "clusterDNS": [CLUSTER_DNS],
        "resolvConf": "/run/machine/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxPods": 110,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }


def _proxy(cluster: Cluster, node: Node) -> dict[str, Any]:
    # Connection tracking's limits belong to the machine; a network namespace may not set them.
    conntrack = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(cluster.plane.directory / "proxy.kubeconfig")},
        "clusterCIDR": f"{PODS}.0.0/16",
        "hostnameOverride": node.name,
        "conntrack": conntrack,
    }
