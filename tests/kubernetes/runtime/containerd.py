"""A real containerd of one's own: state, images, cgroups and CNI plugin of the test; pods without a kubelet.

test ── CRI ──▶ containerd ──▶ shim ──▶ runc ──▶ pause (busybox)
                   └── CNI ──▶ recorder: answers with an address, and writes down what it was called with
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod

from slicer.agent.cri_client import SERVICE, message_classes
from tests.kubernetes.runtime.image import render_image

IMAGE = "test.local/pause:1"
PATIENCE_S = 60.0
GROUP = f"slicer-cri-{os.getpid()}"
CGROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
_ID = (("pod_sandbox_id", 1, "string"),)
CALLS = message_classes(
    {
        "Pair": (("key", 1, "string"), ("value", 2, "string")),
        "NamespaceOption": (("network", 1, "enum"),),
        "Security": (("namespace_options", 1, "NamespaceOption"),),
        "Linux": (("cgroup_parent", 1, "string"), ("security_context", 2, "Security")),
        "Metadata": (("name", 1, "string"), ("uid", 2, "string"), ("namespace", 3, "string")),
        "Config": (("metadata", 1, "Metadata"), ("labels", 6, "Pair*"), ("linux", 8, "Linux")),
        "RunPodSandboxRequest": (("config", 1, "Config"),),
        "RunPodSandboxResponse": _ID,
        "StopPodSandboxRequest": _ID,
        "StopPodSandboxResponse": (),
        "RemovePodSandboxRequest": _ID,
        "RemovePodSandboxResponse": (),
    }
)
CONFIG = """version = 2
root = "{root}/root"
state = "{root}/state"
oom_score = 0
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{root}/cni"
    conf_dir = "{root}/net.d"
"""
RECORDER = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" = VERSION ] && exec echo '{{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}}'
[ "$CNI_COMMAND" = ADD ] || exit 0
[ "$CNI_IFNAME" = lo ] || echo "$CNI_CONTAINERID $CNI_NETNS" >> {root}/calls
echo '{{"cniVersion":"1.0.0","interfaces":[{{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}}],'
echo '"ips":[{{"address":"10.244.0.2/24","interface":0}}]}}'
"""


class Containerd:
    """The runtime and its pods; `end` leaves nothing of either."""

    def __init__(self, root: Path) -> None:
        self.root, self.socket = root, root / "containerd.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._pods: list[str] = []

    def prepare(self) -> None:
        """Configuration, CNI plugin, image; then start."""
        (self.root / "cni").mkdir()
        (self.root / "net.d").mkdir()
        (self.root / "containerd.toml").write_text(CONFIG.format(root=self.root, image=IMAGE))
        network = {"cniVersion": "1.0.0", "name": "recorded", "plugins": [{"type": "recorder"}]}
        (self.root / "net.d/10.conflist").write_text(json.dumps(network))
        for name in ("recorder", "loopback"):
            (self.root / "cni" / name).write_text(RECORDER.format(root=self.root))
            (self.root / "cni" / name).chmod(0o755)
        self.start()
        busybox = shutil.which("busybox")
        assert busybox, "busybox-static is missing"
        archive = self.root / "pause.tar"
        render_image(archive, IMAGE, {"bin/busybox": Path(busybox)}, ["/bin/busybox", "sleep", "100000"])
        self._ctr("-n", "k8s.io", "images", "import", "--snapshotter", "native", str(archive))

    def start(self) -> None:
        """Returns when it answers."""
        with (self.root / "log").open("ab") as out:
            argv = ["containerd", "--config", str(self.root / "containerd.toml")]
            self._process = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, "NOTIFY_SOCKET": ""})
        end = time.monotonic() + PATIENCE_S
        while True:
            with suppress(subprocess.CalledProcessError):
                self._ctr("version")
                return
            assert time.monotonic() < end, (self.root / "log").read_text()[-4000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """The runtime dies; its pods live on with their shims."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def run(self, name: str, *, labels: Mapping[str, str] | None = None, node_network: bool = False) -> str:
        """A pod sandbox as the kubelet asks for one; its id."""
        kubelet = {f"io.kubernetes.pod.{key}": value for key, value in (("name", name), ("namespace", "shop"))}
        pairs = [CALLS["Pair"](key=k, value=v) for k, v in {**kubelet, **(labels or {})}.items()]
        options = CALLS["NamespaceOption"](network=2 if node_network else 0)
        linux = CALLS["Linux"](cgroup_parent="/pods", security_context=CALLS["Security"](namespace_options=options))
        metadata = CALLS["Metadata"](name=name, uid=f"uid-{name}", namespace="shop")
        config = CALLS["Config"](metadata=metadata, labels=pairs, linux=linux)
        pod = str(self._call("RunPodSandbox", CALLS["RunPodSandboxRequest"](config=config)).pod_sandbox_id)
        self._pods.append(pod)
        return pod

    def remove(self, pod: str) -> None:
        """The pod ends, and nobody remembers it."""
        self._call("StopPodSandbox", CALLS["StopPodSandboxRequest"](pod_sandbox_id=pod))
        self._call("RemovePodSandbox", CALLS["RemovePodSandboxRequest"](pod_sandbox_id=pod))
        self._pods.remove(pod)

    def cni_calls(self) -> dict[str, str]:
        """Container id → network namespace, of every ADD."""
        path = self.root / "calls"
        return dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}

    def end(self) -> None:
        """Remove all pods, then stop."""
        for pod in list(self._pods):
            self.remove(pod)
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)

    def _call(self, name: str, request: Any) -> Any:
        async def ask() -> Any:
            channel = Channel(path=str(self.socket))
            try:
                method: Any = UnaryUnaryMethod(channel, SERVICE + name, type(request), CALLS[f"{name}Response"])
                return await method(request, timeout=PATIENCE_S)
            finally:
                channel.close()

        return asyncio.run(ask())

    def _ctr(self, *words: str) -> None:
        argv = ["ctr", "--address", str(self.socket), *words]
        subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE_S)


@contextmanager
def running(root: Path) -> Iterator[Containerd]:
    """A containerd in control groups of its own."""
    with _own_cgroups():
        runtime = Containerd(root)
        try:
            runtime.prepare()
            yield runtime
        finally:
            runtime.end()


@contextmanager
def _own_cgroups() -> Iterator[None]:
    """The hierarchies, mounted in this sandbox's own /sys; the pods' groups lie in `/pods` and end with the pods."""
    present = {
        name for line in Path("/proc/self/cgroup").read_text().splitlines() for name in line.split(":")[1].split(",")
    }
    names = [name for name in HIERARCHIES if name in present]
    subprocess.run(["mount", "-t", "tmpfs", "cgroup", CGROUPS], check=True)
    try:
        for name in names:
            (CGROUPS / name).mkdir()
            subprocess.run(["mount", "-t", "cgroup", "-o", name, "cgroup", CGROUPS / name], check=True)
        if not names:
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", CGROUPS], check=True)
        yield
    finally:
        for path in (*(CGROUPS / name / "pods" for name in names), CGROUPS / "pods"):
            with suppress(OSError):
                path.rmdir()
        subprocess.run(["umount", "--recursive", CGROUPS], check=True)
