"""Builds a lab and takes it down. Building twice completes what is missing; taking down works on any half-built lab."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from slicer.lab import layout as layouts
from slicer.lab import machines, services, state, wiring, workloads
from slicer.lab.layout import Layout, Machine, Role
from slicer.model.errors import ConflictError, InvalidError

Progress = Callable[[str], None]


def up(layout: Layout, progress: Progress) -> None:
    """Build the lab; ConflictError if one of that name runs already, or is left half-built."""
    with state.locked(layout.name):
        if (layout.directory / "lab.json").exists():
            raise ConflictError(_why_not(state.load(layout.name)))
        state.save(layout)
        progress(f"starting {len(layout.machines())} machines")
        start_machines(layout, layout.machines())
        progress("laying the cables")
        _wire(layout)
        services.start_all(layout, progress)


def down(name: str, progress: Progress) -> None:
    """End every machine of the lab and remove its files; nothing happens if there is none."""
    layouts.check_lab_name(name)
    directory = layouts.ROOT / name
    if not directory.exists():
        progress(f"there is no lab {name!r}: nothing to remove")
        return
    with state.locked(name):
        places = sorted((directory / "machines").glob("*"))
        progress(f"ending {len(places)} machines")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_end, places))
        progress(f"removing {directory}")
        shutil.rmtree(directory)
    with suppress(OSError):  # other labs are there
        layouts.ROOT.rmdir()


def start_machines(layout: Layout, wanted: Iterable[Machine]) -> None:
    """Start machines side by side and wait until each answers."""
    started = [(m, machines.spawn(layout.directory_of(m), m.name)) for m in wanted]
    for machine, process in started:
        machines.wait_ready(layout.directory_of(machine), process)


def kill_machine(layout: Layout, machine: Machine) -> None:
    """Pull the plug: everything on the machine ends at once; its disk (`/var/lib/slicer`) stays."""
    machines.kill(machines.require(layout.directory_of(machine)))


def start_machine(layout: Layout, machine: Machine) -> None:
    """Start a machine again after `kill_machine`: namespaces, cable, programs with what is on their disk, pods."""
    if machine.role is Role.INTERNET:
        raise InvalidError("the internet cannot be started again alone; use: slicectl lab down, slicectl lab up")
    internet = machines.require(layout.directory_of(layout.machine(Role.INTERNET.value)))
    start_machines(layout, [machine])
    record = machines.require(layout.directory_of(machine))
    machines.ip_batch(internet, "\n".join(wiring.render_port(machine, record.pid)) + "\n")
    machines.ip_batch(record, wiring.render_machine(layout, machine))
    services.start_on(layout, machine)
    if machine.role is Role.NODE:
        workloads.recover(layout, machine)


def _why_not(layout: Layout) -> str:
    alive = [m for m in layout.machines() if (r := _record(layout, m)) is not None and machines.is_alive(r)]
    condition = "runs already" if len(alive) == len(layout.machines()) else "is there in part"
    return f"lab {layout.name!r} {condition}; remove it with: slicectl lab down --name {layout.name}"


def _record(layout: Layout, machine: Machine) -> machines.Record | None:
    return machines.read_record(layout.directory_of(machine))


def _wire(layout: Layout) -> None:
    records = {m: machines.require(layout.directory_of(m)) for m in layout.machines()}
    internet, *others = layout.machines()
    machines.ip_batch(records[internet], wiring.render_internet(internet, {m: records[m].pid for m in others}))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda m: machines.ip_batch(records[m], wiring.render_machine(layout, m)), others))


def _end(directory: Path) -> None:
    record = machines.read_record(directory)
    if record is not None:
        machines.kill(record)
