"""`make setup-kubernetes`: the programs of real Kubernetes clusters, for `make test-kubernetes`.

    python -m tools.kubernetes            builds what is missing, and installs packages
    python -m tools.kubernetes SET…       builds what is missing of these sets

Built once for a machine from Go modules, without a C compiler, and kept in the cache of built programs; the clone gets
a directory of links to them (PROGRAMS).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import apt, gomodule
from tools.pins import Pins, plan_packages, read_pins
from tools.run import TOOLS, ToolError, finish, run, say

PROGRAMS = TOOLS / "kubernetes"
"""A directory of links, named like the programs, into the cache."""
STAGED = re.compile(r"(k8s\.io/\S+) v0\.0\.0(?=\s)")
"""Kubernetes' go.mod asks for its own libraries at a version that only its source tree replaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSet:
    """Programs of one module (`path@version`): name -> package below the module's path ("" = the module itself)."""

    name: str
    module: str
    packages: dict[str, str]

    @property
    def version(self) -> str:
        """As Go writes it: `v1.36.3`."""
        return self.module.partition("@")[2]


def list_sets(pins: Pins) -> tuple[ProgramSet, ...]:
    """Everything that the clusters run, in the order in which it is wanted."""

    def commands(*names: str) -> dict[str, str]:
        return {name: f"cmd/{name}" for name in names}

    plugins = {"bridge": "main", "ptp": "main", "loopback": "main", "host-local": "ipam", "portmap": "meta"}
    node = commands("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    multus = commands("multus", "multus-daemon", "multus-shim", "install_multus", "thin_entrypoint", "passthru-cni")
    return (
        ProgramSet(name="etcd", module=pins.etcd, packages={"etcd": ""}),
        ProgramSet(name="api", module=pins.kubernetes, packages=commands("kube-apiserver", "kubectl")),
        ProgramSet(name="node", module=pins.kubernetes, packages=node),
        ProgramSet(
            name="cni",
            module=pins.cni_plugins,
            packages={name: f"plugins/{kind}/{name}" for name, kind in plugins.items()},
        ),
        ProgramSet(name="coredns", module=pins.coredns, packages={"coredns": ""}),
        ProgramSet(name="multus", module=pins.multus, packages=multus),
        ProgramSet(name="helm", module=pins.helm, packages=commands("helm")),
    )


def main() -> int:
    """Installs packages and builds what is missing; ToolError with the cure otherwise."""
    parser = argparse.ArgumentParser(description="Builds the programs of the Kubernetes test clusters.")
    parser.add_argument(
        "sets", nargs="*", help="only these: " + ", ".join(each.name for each in list_sets(read_pins()))
    )
    wanted = parser.parse_args().sets
    pins = read_pins()
    if not wanted:  # the packages are for whole clusters
        apt.install(plan_packages(pins.kubernetes_commands, shutil.which))
    for each in list_sets(pins):
        if not wanted or each.name in wanted:
            provide(each)
    return 0


def missing(pins: Pins) -> tuple[str, ...]:
    """The programs and commands that are not there, by name."""
    programs = [name for each in list_sets(pins) for name in each.packages if not (PROGRAMS / name).exists()]
    return (*programs, *(name for name in pins.kubernetes_commands if shutil.which(name) is None))


def provide(wanted: ProgramSet) -> None:
    """Leaves a link for each program of the set, building what the cache lacks."""
    absent = {
        name: package for name, package in wanted.packages.items() if not gomodule.cached(wanted.module, name).exists()
    }
    if absent:
        started = time.monotonic()
        _build(wanted, absent)
        say(f"  {wanted.name}: built in {time.monotonic() - started:.0f} s")
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    for name in wanted.packages:
        link = PROGRAMS / name
        link.unlink(missing_ok=True)
        link.symlink_to(gomodule.cached(wanted.module, name))


def _build(wanted: ProgramSet, packages: dict[str, str]) -> None:
    if shutil.which("go") is None:
        raise ToolError(f"Go is needed to build {wanted.module}: install Go 1.26 or newer (https://go.dev/dl)")
    cache = gomodule.cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        work = Path(name)
        path = wanted.module.partition("@")[0]
        full = {program: f"{path}/{package}".rstrip("/") for program, package in packages.items()}
        _scratch_module(wanted, work, tuple(full.values()))
        for program, package in full.items():
            target = work / "out" / program
            flags = f"-ldflags=-s -w {_version_flags(wanted)}"
            _go(work, "build", "-trimpath", flags, "-o", str(target), package)
            target.replace(gomodule.cached(wanted.module, program))


def _scratch_module(wanted: ProgramSet, work: Path, packages: Sequence[str]) -> None:
    # `go install PACKAGE@VERSION` refuses a module that replaces others, as Kubernetes' does.
    _go(work, "mod", "init", f"scratch/{wanted.name}")
    if "k8s.io/kubernetes" in wanted.module:
        for library in _staged_libraries(wanted, work):
            _go(work, "mod", "edit", f"-replace={library}={library}@v0.{wanted.version.partition('.')[2]}", quiet=True)
    _go(work, "get", *(f"{package}@{wanted.version}" for package in packages))


def _staged_libraries(wanted: ProgramSet, work: Path) -> list[str]:
    done = subprocess.run(
        ("go", "mod", "download", "-json", wanted.module), cwd=work, capture_output=True, text=True, check=True
    )
    return sorted(set(STAGED.findall(Path(json.loads(done.stdout)["GoMod"]).read_text())))


def _version_flags(wanted: ProgramSet) -> str:
    """Without these every part of Kubernetes says that it is v0.0.0-master, which clients refuse."""
    if "k8s.io/kubernetes" not in wanted.module:
        return ""
    major, minor, _ = wanted.version.removeprefix("v").split(".")
    values = {"gitVersion": wanted.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def _go(work: Path, *words: str, quiet: bool = False) -> None:
    env = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=mod"}
    if quiet:
        subprocess.run(("go", *words), cwd=work, env={**os.environ, **env}, check=True)
    else:
        run(("go", *words), cwd=work, env=env)


if __name__ == "__main__":
    finish(main)
