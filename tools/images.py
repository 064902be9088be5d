"""The images controller, agent and dns as OCI archives, made without docker: `python -m tools.images [--output DIR]`.

    Debian's Python | the agent's programs | Python packages (uv.lock) | ours       one layer each

manifests/images/Containerfile makes the same images with ordinary tools. Layers that are slow to make are kept in
~/.cache/slicer/images by what they are made of; an archive's bytes depend on its content alone.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tools import debian_root, gomodule, plugin
from tools.archive import Content, Link, render_layer, write_archive
from tools.pins import read_pins
from tools.run import ROOT, TOOLS, ToolError, finish, run, say

REGISTRY = "slicer.io"
PACKAGES = ROOT / "manifests/images/packages.toml"
SITE = "usr/lib/python3/dist-packages"
"""Where Debian's Python looks for packages without being told."""
UV = TOOLS / "uv/bin/uv"
FORMAT = "2"
"""Raised when layers are made differently from the same things: kept ones are then made again."""
NOBODY = "65532:65532"
SINGLE = {"util-linux": ("usr/bin/unshare", "usr/bin/nsenter"), "coreutils": ("usr/bin/nice",)}
"""Of packages with a hundred programs those that the agent runs."""
UNUSED = ("kubernetes/aio", "bin")
"""Of the Python packages: a second, asynchronous Kubernetes client (68 MB), and programs for people."""
DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "etc", "var/lib", "opt", "usr/lib/slicer")
FILES: dict[str, Content] = {
    "usr/bin/python3": Link(to="python3.11"),
    "var/run": Link(to="/run"),
    "etc/passwd": b"root:x:0:0:root:/:/sbin/nologin\nslicer:x:65532:65532:slicer:/:/sbin/nologin\n",
    "etc/group": b"root:x:0:\nslicer:x:65532:\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One of the images."""

    name: str
    extras: tuple[str, ...]
    """Of pyproject.toml: which Python packages it carries."""
    module: str
    user: str = NOBODY
    packages: tuple[str, ...] = ()
    """Tables of PACKAGES beside `python`."""


IMAGES = (
    Image(name="controller", extras=("controller", "kubernetes"), module="slicer_controller.main"),
    Image(name="agent", extras=("agent",), module="slicer.agent.main", user="0:0", packages=("agent",)),
    Image(name="dns", extras=("dns",), module="slicer_dns.main"),
)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="controller, agent, dns; without any: all")
    parser.add_argument("--output", type=Path, default=ROOT / "dist/images", help="directory for the archives")
    parser.add_argument("--tag", default=version())
    parser.add_argument("--registry", default=REGISTRY, help="what the images' names begin with")
    parser.add_argument("--root", type=Path, help="write the images' files below this directory instead of archives")
    given = parser.parse_args()
    unknown = sorted(set(given.images) - {image.name for image in IMAGES})
    if unknown:
        raise ToolError(f"there is no image {unknown[0]!r}; there are {', '.join(image.name for image in IMAGES)}")
    if os.geteuid() != 0:
        raise ToolError("root is needed: the files in an image belong to root")
    for image in IMAGES:
        if given.images and image.name not in given.images:
            continue
        if given.root:
            unpack(image, given.root / image.name)
        else:
            build(image, given.output, f"{given.registry}/slicer-{image.name}:{given.tag}")
    return 0


def version() -> str:
    """The project's version, which is the images' tag."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def build_all(output: Path, tag: str = "", registry: str = REGISTRY) -> list[Path]:
    """The archives of all images, in `output`."""
    return [build(image, output, f"{registry}/slicer-{image.name}:{tag or version()}") for image in IMAGES]


def build(image: Image, output: Path, name: str) -> Path:
    """The archive of one image, as `output`/<image>.tar."""
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{image.name}.tar"
    write_archive(target, [name], list(_layers(image)), config_of(image))
    say(f"{target}: {name}, {target.stat().st_size / 1e6:.1f} MB")
    return target


def unpack(image: Image, root: Path) -> None:
    """The image's files in the directory `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for layer in _layers(image):
        with tarfile.open(fileobj=io.BytesIO(layer) if isinstance(layer, bytes) else layer.open("rb")) as archive:
            archive.extractall(root, filter="fully_trusted")


def config_of(image: Image) -> dict[str, Any]:
    """How the image is run (OCI image configuration); the Containerfile says the same."""
    title = {"title": f"slicer-{image.name}", "version": version(), "licenses": "Apache-2.0"}
    return {
        "Entrypoint": ["/usr/bin/python3", "-I", "-m", image.module],
        "Env": ["PATH=/usr/sbin:/usr/bin", "PYTHONUNBUFFERED=1", "LANG=C.UTF-8"],
        "User": image.user,
        "Labels": {f"org.opencontainers.image.{key}": value for key, value in title.items()},
    }


def _layers(image: Image) -> Iterator[bytes | Path]:
    yield _python()
    yield from _programs(image)
    yield _dependencies(image)
    yield _ours(image)


def _python() -> Path:
    """Debian's Python, its library compiled: a read-only root has no place to keep what is compiled later."""
    packages = _packages("python")

    def make(root: Path) -> None:
        debian_root.fill(root, packages)
        _compile(root, root / "usr/lib/python3.11", "/usr/lib/python3.11")

    def entries(root: Path) -> dict[str, Content]:
        return {**dict.fromkeys(DIRECTORIES), **_tree(root), **FILES}

    return _layer("python", [*packages, str(FILES)], make, entries)


def _programs(image: Image) -> Iterator[Path]:
    for table in image.packages:
        packages = _packages(table)

        def make(root: Path, packages: Sequence[str] = packages) -> None:
            debian_root.fill(root, packages)
            for package, kept in SINGLE.items():
                _programs_of(package, kept, root)

        yield _layer(table, [*packages, str(SINGLE)], make, _tree)


def _programs_of(package: str, kept: Sequence[str], root: Path) -> None:
    """Only these files of a package."""
    with tempfile.TemporaryDirectory() as work:
        debian_root.fill(Path(work), [package])
        for name in kept:
            shutil.copy2(Path(work, name), root / name)


def _dependencies(image: Image) -> Path:
    """What uv.lock says for the image's extras, for Debian's Python."""
    extras = [word for extra in image.extras for word in ("--extra", extra)]
    export = [str(UV), "export", "--frozen", "--no-dev", "--no-emit-project", "--quiet", *extras]
    wanted = subprocess.run(export, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    def make(root: Path) -> None:
        requirements = root.parent / "requirements.txt"
        requirements.write_text(wanted)
        target = root / SITE
        run((*_pip(target), "--require-hashes", "--only-binary", ":all:", "-r", requirements))
        for name in UNUSED:
            shutil.rmtree(target / name, ignore_errors=True)
        _compile(_unpacked("python"), target, f"/{SITE}")

    pinned = [line for line in wanted.splitlines() if not line.startswith("#")]
    return _layer(f"{image.name}-packages", pinned, make, _tree)


def _ours(image: Image) -> bytes:
    """The project's own packages, the CNI executable, and wireguard-go for hosts whose kernel has no WireGuard."""
    entries = dict(_tree(_site()))
    if image.name == "agent":
        entries["usr/lib/slicer/wireguard-go"] = _wireguard_go()
        entries["usr/lib/slicer/slicer-cni"] = plugin.build()
    return render_layer(entries)


@cache
def _site() -> Path:
    """A root with the project's own packages, installed and compiled: once for all images, gone with the process."""
    work = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, work)
    target = work / "root" / SITE
    target.mkdir(parents=True)
    run((UV, "build", "--wheel", "--quiet", "--out-dir", work))
    (wheel,) = work.glob("*.whl")
    run((*_pip(target), "--no-deps", wheel))
    _compile(_unpacked("python"), target, f"/{SITE}")
    return work / "root"


def _pip(target: Path) -> tuple[str | Path, ...]:
    words = ("--quiet", "--target", target, "--python-version", "3.11", "--link-mode", "copy")
    return (UV, "pip", "install", *words)


def _wireguard_go() -> Path:
    module = read_pins().wireguard_go
    built = gomodule.build(module, "", "wireguard-go")
    if built is None:
        raise ToolError(f"Go is needed to build {module} for the agent's image: install Go 1.23 or newer")
    return built


def _compile(base: Path, directory: Path, seen_as: str) -> None:
    """Compile `directory` with the Python of the image, as it will be called there."""
    libraries = base / "usr/lib/x86_64-linux-gnu"
    python = (libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, base / "usr/bin/python3.11")
    words = ("-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash")
    subprocess.run(
        [*python, *words, "-s", directory, "-p", seen_as, directory],
        env={"PYTHONHOME": str(base / "usr"), "SOURCE_DATE_EPOCH": "0"}, check=True,
    )  # fmt: skip


def _layer(
    name: str, made_of: Sequence[str], make: Callable[[Path], None], entries: Callable[[Path], dict[str, Content]]
) -> Path:
    """The layer's tar file, kept by what it is made of; beside it what was unpacked for it."""
    digest = hashlib.sha256("\n".join([*made_of, FORMAT]).encode()).hexdigest()[:12]
    kept = _cache() / f"{name}-{digest}"
    if not (kept / "layer.tar").exists():
        say(f"layer {name}")
        shutil.rmtree(kept, ignore_errors=True)
        (kept / "root").mkdir(parents=True)
        make(kept / "root")
        (kept / "layer.new").write_bytes(render_layer(entries(kept / "root")))
        (kept / "layer.new").rename(kept / "layer.tar")
    latest = _cache() / name
    latest.unlink(missing_ok=True)
    latest.symlink_to(kept.name)
    return kept / "layer.tar"


def _unpacked(name: str) -> Path:
    return (_cache() / name / "root").resolve()


def _cache() -> Path:
    return gomodule.cache_directory() / "images"


def _tree(root: Path) -> dict[str, Content]:
    """Everything in `root` by its path there."""
    found: dict[str, Content] = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory, name)
            if path.is_symlink():
                found[str(path.relative_to(root))] = Link(to=str(path.readlink()))
            elif path.is_file():
                found[str(path.relative_to(root))] = path
    return found


def _packages(table: str) -> list[str]:
    return list(tomllib.loads(PACKAGES.read_text())[table])


if __name__ == "__main__":
    finish(main)
