"""The images that the clusters themselves need, and the test pods' one; made once, kept in the cache, no registry.

pause     sleeps: holds a pod's namespaces
coredns   the cluster's DNS
multus    thick and thin
tools     Debian with Python, ip, ping, dig, curl, iperf3: what the test pods run, under the names that the examples use
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools import gomodule
from tools.archive import Content, Link, render_layer, write_archive
from tools.kubernetes import PROGRAMS
from tools.pins import Pins
from tools.run import run, say

REGISTRY = "slicer.test"
"""No such registry exists: what is not imported fails, visibly."""
EXAMPLES = (
    "docker.io/nicolaka/netshoot:latest",
    "docker.io/networkstatic/iperf3:latest",
    "docker.io/library/python:3.12-slim",
)
"""Images that the manifests under manifests/examples name; all are the tools image here."""
MULTUS = "/usr/src/multus-cni/bin"
NOT_WANTED = (
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
)
NOT_FILES = ("./dev/*", "./proc/*", "./sys/*")


def provide(pins: Pins) -> list[Path]:
    """Makes what is missing; all archives, the small ones first."""
    makers = {"pause": _pause, "coredns": _coredns, "multus": _multus}
    found = []
    for name, make in makers.items():
        target = _cached(name, _recipe(pins))
        if not target.exists():
            make(target)
        found.append(target)
    tools = _cached("tools", _debian_recipe(pins))
    if not tools.exists():
        write_archive(tools, (f"{REGISTRY}/tools:1", *EXAMPLES), (debian_root(pins),), {"Cmd": ["sleep", "infinity"]})
    return [*found, tools]


def debian_root(pins: Pins) -> Path:
    """A tar file with a small Debian: Python and the tools; also a base for other images."""
    target = _cached("debian", _debian_recipe(pins))
    if target.exists():
        return target
    say("making a small Debian for the test pods (once)")
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        root = Path(work) / "root"
        packages = ",".join(pins.kubernetes_tools)
        run(("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root))
        leave_out = [f"--exclude={pattern}" for pattern in (*NOT_WANTED, *NOT_FILES)]
        fixed = ("--sort=name", "--mtime=@0", "--numeric-owner")
        run(("tar", *fixed, "-C", root, *leave_out, "-cf", Path(work) / "root.tar", "."))
        (Path(work) / "root.tar").replace(target)
    return target


def _cached(name: str, recipe: str) -> Path:
    """Where an archive made by `recipe` is kept; those of other recipes are removed."""
    directory = gomodule.cache_directory() / "images"
    directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    for old in directory.glob(f"{name}-*.tar"):
        if digest not in old.name:
            old.unlink()
    return directory / f"{name}-{digest}.tar"


def _recipe(pins: Pins) -> str:
    return f"{pins.coredns} {pins.multus} {Path(__file__).read_text()}"


def _debian_recipe(pins: Pins) -> str:
    return " ".join((*pins.kubernetes_tools, *NOT_WANTED))


def _pause(target: Path) -> None:
    write_archive(target, (f"{REGISTRY}/pause:1",), (_busybox(),), {"Entrypoint": ["/bin/sleep", "infinity"]})


def _coredns(target: Path) -> None:
    layer = render_layer({"/coredns": PROGRAMS / "coredns", "/tmp": None})
    write_archive(target, (f"{REGISTRY}/coredns:1",), (layer,), {"Entrypoint": ["/coredns"]})


def _multus(target: Path) -> None:
    programs: dict[str, Content] = {
        f"{MULTUS}/{name.removesuffix('-cni')}": PROGRAMS / name
        for name in ("multus", "multus-daemon", "multus-shim", "passthru-cni", "thin_entrypoint", "install_multus")
    }
    write_archive(target, (f"{REGISTRY}/multus:1",), (_busybox(), render_layer(programs)), {})


def _busybox() -> bytes:
    """A layer with busybox and what programs expect of any system."""
    program = Path(shutil.which("busybox") or "/bin/busybox")
    entries: dict[str, Content] = {
        "/bin/busybox": program,
        "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": b"root:x:0:\n",
        # Multus looks for the pods' namespaces there.
        "/var/run": Link(to="/run"),
        **dict.fromkeys(("/tmp", "/proc", "/sys", "/dev", "/run", "/root")),
        **{f"/bin/{name}": Link(to="/bin/busybox") for name in _applets(program)},
    }
    return render_layer(entries)


def _applets(program: Path) -> Iterator[str]:
    listed = subprocess.run((program, "--list"), capture_output=True, text=True, check=True).stdout
    return (name for name in listed.split() if name != "busybox")
