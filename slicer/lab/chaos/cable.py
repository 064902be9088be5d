"""A machine's cable, with a relay in it that holds back what goes between clusters: the kernel may have no netem.

    usual     machine eth0 ====== p1.11 - br0
    delayed   machine eth0 ====== p1.11 - relay - r1.11 ====== q1.11 - br0

The relay is a program of the lab's internet, so that it outlives whoever started it; the cable works while it does.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from slicer.lab import machines, services
from slicer.lab.layout import Layout, Machine, Role, port_of
from slicer.model.errors import SlicerError, UnavailableError

READY_S = 10.0


def delay(layout: Layout, machine: Machine, delay_ms: int) -> None:
    """Hold back each of the machine's packets of WireGuard so long, in each direction."""
    internet = layout.directory_of(layout.machine(Role.INTERNET.value))
    record = machines.require(internet)
    port, near, far = _names(machine)
    machines.ip_batch(record, f"link add {far} type veth peer name {near}\nlink set {near} up\nlink set {far} up\n")
    argv = [sys.executable, "-m", "slicer.lab.chaos.relay", port, near, str(delay_ms)]
    _log(layout, machine).unlink(missing_ok=True)  # it says when *this* relay is ready
    machines.start_unit(internet, _unit(machine), argv, env=services.environment())
    _wait_ready(layout, machine)
    _nft(record, f"{_mute(port)}{_mute(near)}")
    machines.ip_batch(record, f"link set {port} nomaster\nlink set {far} master br0\n")


def plug_in(layout: Layout, machine: Machine) -> None:
    """The cable as it usually is; nothing happens if it is."""
    internet = layout.directory_of(layout.machine(Role.INTERNET.value))
    record = machines.require(internet)
    port, near, far = _names(machine)
    there = {link["ifname"]: link for link in json.loads(_run(record, "ip", "-json", "link", "show"))}
    if port in there:  # not while the machine is down
        machines.ip_batch(record, f"link set {port} master br0\n")
    _nft(record, f"{_unmute(port)}{_unmute(near)}")
    if far in there:
        machines.ip_batch(record, f"link delete {far}\n")
    with suppress(SlicerError):  # there is none
        machines.stop_unit(internet, _unit(machine))


def _names(machine: Machine) -> tuple[str, str, str]:
    port = port_of(machine)
    return port, f"r{port[1:]}", f"q{port[1:]}"


def _unit(machine: Machine) -> str:
    return f"relay-{machine.name}"


def _log(layout: Layout, machine: Machine) -> Path:
    return layout.directory_of(layout.machine(Role.INTERNET.value)) / "logs" / f"{_unit(machine)}.log"


def _wait_ready(layout: Layout, machine: Machine) -> None:
    internet = layout.directory_of(layout.machine(Role.INTERNET.value))
    log = _log(layout, machine)
    deadline = time.monotonic() + READY_S
    while "ready" not in machines.tail(log, 1):
        unit = next(unit for unit in machines.units(internet) if unit["name"] == _unit(machine))
        if unit["pid"] is None or time.monotonic() > deadline:
            raise UnavailableError(f"the relay of {machine.name} did not start:\n{machines.tail(log)}")
        time.sleep(0.02)


def _table_of(device: str) -> str:
    return f"table netdev chaos_{device.replace('.', '_')}"


def _mute(device: str) -> str:
    """The kernel itself does nothing with what comes in there; the relay has heard it before."""
    chain = f'chain in {{ type filter hook ingress device "{device}" priority 0; drop; }}'
    return f"{_unmute(device)}{_table_of(device)} {{\n{chain}\n}}\n"


def _unmute(device: str) -> str:
    return f"{_table_of(device)} {{}}\ndelete {_table_of(device)}\n"


def _nft(record: machines.Record, text: str) -> None:
    done = machines.run_in(record, ["nft", "-f", "-"], stdin=text)
    if done.returncode != 0:
        raise SlicerError(f"nft: {done.stderr.strip()}")


def _run(record: machines.Record, *argv: str) -> str:
    done = machines.run_in(record, argv)
    if done.returncode != 0:
        raise SlicerError(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout
