"""What is pinned in tools/versions.toml, as values."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.run import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The versions outside uv.lock, and the commands that the project calls with the packages that bring them."""

    uv: str
    wireguard_go: str
    cni_plugins: str
    coredns: str
    commands: Mapping[str, str]
    bench_commands: Mapping[str, str]
    kubernetes: str
    etcd: str
    multus: str
    helm: str
    kubernetes_tools: tuple[str, ...]
    kubernetes_commands: Mapping[str, str]
    kernel_image: str
    virtiofsd: tuple[str, ...]
    kernel_commands: Mapping[str, str]


def parse_pins(text: str) -> Pins:
    """The pins in TOML `text`; KeyError for a missing one."""
    table = tomllib.loads(text)
    return Pins(
        uv=table["python"]["uv"],
        wireguard_go=table["go"]["wireguard_go"],
        cni_plugins=table["go"]["cni_plugins"],
        coredns=table["go"]["coredns"],
        commands=table["commands"],
        bench_commands=table["bench_commands"],
        kubernetes=table["kubernetes"]["kubernetes"],
        etcd=table["kubernetes"]["etcd"],
        multus=table["kubernetes"]["multus"],
        helm=table["kubernetes"]["helm"],
        kubernetes_tools=tuple(table["kubernetes"]["tools"]),
        kubernetes_commands=table["kubernetes_commands"],
        kernel_image=table["kernel"]["image"],
        virtiofsd=tuple(table["kernel"]["virtiofsd"]),
        kernel_commands=table["kernel_commands"],
    )


def read_pins() -> Pins:
    """The pins of this clone."""
    return parse_pins((ROOT / "tools/versions.toml").read_text())


def plan_packages(commands: Mapping[str, str], found: Callable[[str], object]) -> tuple[str, ...]:
    """The packages that bring the commands for which `found` is false, sorted, each once."""
    return tuple(sorted({package for command, package in commands.items() if not found(command)}))
