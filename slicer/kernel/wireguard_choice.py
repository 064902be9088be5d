"""Which WireGuard this node has: the kernel's if it can make a device, else wireguard-go if it can be found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from slicer.kernel.commands import run_host
from slicer.kernel.wireguard import Secret, WireGuard
from slicer.kernel.wireguard_go import WireGuardGo, find_program
from slicer.model.errors import InvalidError

CHOICES = ("auto", "kernel", "wireguard-go")
_PROBE = "w-probe"


def choose(choice: str, public_of: Callable[[Secret], str], logs: Path) -> WireGuard | None:
    """The back end; None if `auto` finds none. InvalidError for a choice that this node cannot have."""
    if choice not in CHOICES:
        raise InvalidError(f"WireGuard back end {choice!r} is none of {', '.join(CHOICES)}")
    if choice in {"auto", "kernel"} and kernel_can():
        from slicer.kernel.wireguard_kernel import KernelWireGuard

        return KernelWireGuard()
    program = find_program() if choice != "kernel" else None
    if program is None and choice != "auto":
        raise InvalidError(f"WireGuard back end {choice!r} is not on this node")
    return WireGuardGo(program, public_of, logs) if program else None


def kernel_can() -> bool:
    """Whether the kernel makes WireGuard devices: tried, because the module may be loaded by trying.

    In a namespace that ends with the attempt: a device that an agent left which was killed half way would make every
    later attempt fail, and the tunnels move to wireguard-go.
    """
    with suppress(OSError):
        run_host("unshare", "--net", "ip", "link", "add", "name", _PROBE, "type", "wireguard")
        return True
    return False
