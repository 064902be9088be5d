"""A control plane: its files and command lines (pure but for writing files), and one that runs on loopback.

`running_apiserver` is etcd and kube-apiserver alone, for tests of what talks to the API: there are no controllers (a
deleted namespace stays, nothing is garbage collected) and no nodes; Pods can be created and stay pending.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubernetes.lab.certificates import Authority, Pair, render_kubeconfig, write_pair
from tools.kubernetes import PROGRAMS
from tools.run import ToolError

PATIENCE_S = 60.0
ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", f"{ISSUER[8:]}")
COMPONENTS = {"controller-manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Where a control plane lives: its directory, address, ports, range of Service addresses."""

    name: str
    directory: Path
    address: str
    services: str
    port: int = 6443
    etcd_port: int = 2379
    etcd_peer_port: int = 2380

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / "admin.kubeconfig"


def write_files(plane: Plane, authority: Authority, others: Sequence[tuple[str, Pair]] = ()) -> None:
    """Keys, certificates and kubeconfigs of a control plane; `others` get a kubeconfig as well."""
    keys = plane.directory / "pki"
    first_service = plane.services.rpartition(".")[0] + ".1"
    server = authority.issue("kube-apiserver", reachable_as=("127.0.0.1", plane.address, first_service, *SERVER_NAMES))
    admin = authority.issue("admin", groups=("system:masters",))
    for name, pair in (("ca", authority.pair), ("server", server), ("admin", admin)):
        write_pair(keys, name, pair)
    write_pair(keys, "accounts", authority.issue("service accounts"))
    write_pair(keys, "front", authority.issue("front-proxy-client"))
    users = [(name, authority.issue(user)) for name, user in COMPONENTS.items()]
    for name, pair in (("admin", admin), *users, *others):
        config = render_kubeconfig(cluster=plane.name, server=plane.url, authority=authority.pair, user=pair)
        path = plane.directory / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))


def make_authority(plane: Plane) -> Authority:
    """Who signs everything in this cluster."""
    return Authority(f"{plane.name} authority")


def render_etcd(plane: Plane) -> list[str]:
    """The store loses what it did not sync when the machine fails: here that is no loss."""
    client, peer = f"http://127.0.0.1:{plane.etcd_port}", f"http://127.0.0.1:{plane.etcd_peer_port}"
    return [
        str(PROGRAMS / "etcd"),
        f"--data-dir={plane.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def render_apiserver(plane: Plane, *more: str) -> list[str]:
    """The API server, authorizing by RBAC as everywhere."""
    keys = plane.directory / "pki"
    return [
        str(PROGRAMS / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{plane.etcd_port}",
        f"--bind-address={plane.address}",
        f"--advertise-address={plane.address}",
        f"--secure-port={plane.port}",
        f"--service-cluster-ip-range={plane.services}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--tls-cert-file={keys / 'server.crt'}",
        f"--tls-private-key-file={keys / 'server.key'}",
        f"--kubelet-client-certificate={keys / 'admin.crt'}",
        f"--kubelet-client-key={keys / 'admin.key'}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={keys / 'accounts.key'}",
        f"--service-account-signing-key-file={keys / 'accounts.key'}",
        f"--proxy-client-cert-file={keys / 'front.crt'}",
        f"--proxy-client-key-file={keys / 'front.key'}",
        f"--requestheader-client-ca-file={keys / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        *more,
    ]


def render_controller_manager(plane: Plane) -> list[str]:
    """Nodes get their pod ranges from the lab, not from here."""
    keys = plane.directory / "pki"
    return [
        str(PROGRAMS / "kube-controller-manager"),
        f"--kubeconfig={plane.directory / 'controller-manager.kubeconfig'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--service-account-private-key-file={keys / 'accounts.key'}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--node-monitor-grace-period=20s",
    ]


def render_scheduler(plane: Plane) -> list[str]:
    config = plane.directory / "scheduler.kubeconfig"
    return [
        str(PROGRAMS / "kube-scheduler"),
        f"--kubeconfig={config}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def is_ready(plane: Plane) -> bool:
    """Whether the API answers, its own objects are made and namespace `default` is there."""
    keys = plane.directory / "pki"
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
    try:
        for path in ("/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"):
            urllib.request.urlopen(plane.url + path, context=context, timeout=5).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def wait_ready(plane: Plane) -> None:
    """ToolError if the API does not come up."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_ready(plane):
        if time.monotonic() > deadline:
            raise ToolError(
                f"the API server {plane.url} is not ready after {PATIENCE_S:.0f} s; its logs: {plane.directory}"
            )
        time.sleep(0.1)


@dataclass(slots=True)
class ApiServer:
    """An API server on loopback that can be stopped and started again; what it knows survives that."""

    plane: Plane
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.plane.kubeconfig

    @property
    def url(self) -> str:
        return self.plane.url

    def start(self) -> None:
        """Starts what does not run; returns once the API answers."""
        programs = {
            "etcd": render_etcd(self.plane),
            # Nobody here makes the accounts that the admission plugin wants every Pod to have.
            "apiserver": render_apiserver(self.plane, "--disable-admission-plugins=ServiceAccount"),
        }
        for name, argv in programs.items():
            if name not in self._processes:
                self._processes[name] = _spawn(argv, self.plane.directory / f"{name}.log")
        wait_ready(self.plane)

    def stop(self, *names: str) -> None:
        """Kills `etcd`, `apiserver`, or both."""
        for name in names or ("apiserver", "etcd"):
            if process := self._processes.pop(name, None):
                process.kill()
                process.wait()

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Its output; CalledProcessError if it fails."""
        argv = [str(PROGRAMS / "kubectl"), f"--kubeconfig={self.kubeconfig}", *words]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True).stdout


@contextmanager
def running_apiserver(name: str = "test") -> Iterator[ApiServer]:
    """A fresh API server for a block, on free ports of 127.0.0.1; ready in some seconds, gone afterwards."""
    need_programs("etcd", "kube-apiserver", "kubectl")
    with ExitStack() as undo:
        directory = Path(tempfile.mkdtemp(prefix="slicer-apiserver-"))
        undo.callback(shutil.rmtree, directory, ignore_errors=True)
        port, etcd_port, peer_port = _free_ports(3)
        plane = Plane(
            name=name,
            directory=directory,
            address="127.0.0.1",
            services="10.96.0.0/16",
            port=port,
            etcd_port=etcd_port,
            etcd_peer_port=peer_port,
        )
        write_files(plane, make_authority(plane))
        server = ApiServer(plane=plane)
        undo.callback(server.stop)
        server.start()
        yield server


def need_programs(*names: str) -> None:
    """ToolError with the cure if a program was not built yet."""
    absent = [name for name in names if not (PROGRAMS / name).exists()]
    if absent:
        raise ToolError(f"not built yet: {' '.join(absent)}; run `make setup-kubernetes`")


def _spawn(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    # It ends with whoever started it, also when that is killed.
    with open(log, "ab") as out:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=log.parent
        )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
