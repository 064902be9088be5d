"""One thing that is done to a lab, and how it is undone. Both can be done twice; undoing works after any crash.

RULES    nft rules on a machine              the table is taken away
PROGRAM  a program is killed                 it is started again
MACHINE  a machine's plug is pulled          it is started again, with the pods that ran there
PROCESS  a process is killed by name         nothing: whoever minds it starts it again
DELAY    a relay is put into the cable       the cable is plugged in as it was
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from slicer.lab import building, machines, services, state, workloads
from slicer.lab.chaos import cable, faults
from slicer.lab.layout import Layout
from slicer.model.errors import SlicerError


class Kind(StrEnum):
    """What sort of thing is done."""

    RULES = "rules"
    PROGRAM = "program"
    MACHINE = "machine"
    PROCESS = "process"
    DELAY = "delay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done to one machine."""

    kind: Kind
    machine: str
    said: str
    """In plain words, for the report."""
    detail: str = ""
    """RULES: text for nft. PROGRAM and PROCESS: its name. DELAY: milliseconds each way. MACHINE: which life it ends."""
    after: float = 0.0
    """When: as a share of the experiment's duration."""
    pods: tuple[dict[str, Any], ...] = ()
    """MACHINE: the manifests of the pods that ran there, so that none is lost if we are killed while it starts."""


def to_json(step: Step) -> dict[str, Any]:
    """The step as it stands on disk."""
    return asdict(step)


def from_json(value: Mapping[str, Any]) -> Step:
    """A step that `to_json` wrote."""
    return Step(**{**value, "kind": Kind(value["kind"]), "pods": tuple(value["pods"])})


def do(layout: Layout, step: Step) -> None:
    """Do it; SlicerError if it cannot be done."""
    _DO[step.kind](layout, step)


def undo(layout: Layout, step: Step) -> None:
    """Undo it, whatever of it was done; nothing happens if it was undone already."""
    _UNDO[step.kind](layout, step)


def put_rules(layout: Layout, machine: str, text: str) -> None:
    """Hand text to nft on a machine; SlicerError with what nft says if it refuses."""
    record = machines.require(layout.directory_of(layout.machine(machine)))
    done = machines.run_in(record, ["nft", "-f", "-"], stdin=text)
    if done.returncode != 0:
        raise SlicerError(f"nft on {machine}: {done.stderr.strip()}")


def kill_processes(layout: Layout, machine: str, name: str) -> None:
    """SIGKILL to all of that name, inside the machine's own process namespace; SlicerError if there is none."""
    record = machines.require(layout.directory_of(layout.machine(machine)))
    done = machines.run_in(record, ["pkill", "-KILL", "-x", name])
    if done.returncode != 0:
        raise SlicerError(f"{machine}: no process {name!r} runs there {done.stderr.strip()}".rstrip())


def life_of(layout: Layout, machine: str) -> str:
    """A word that is another one after the machine was started again; empty while it is down."""
    record = machines.read_record(layout.directory_of(layout.machine(machine)))
    return f"{record.pid}/{record.started}" if record is not None and machines.is_alive(record) else ""


def pods_on(layout: Layout, machine: str) -> tuple[dict[str, Any], ...]:
    """Manifests of the pods that run on a machine."""
    return tuple(record["pod"] for node, record in state.pod_records(layout) if node == machine)


def _put_rules(layout: Layout, step: Step) -> None:
    put_rules(layout, step.machine, step.detail)


def _take_rules(layout: Layout, step: Step) -> None:
    if life_of(layout, step.machine):  # what is down has no rules any more
        put_rules(layout, step.machine, faults.REPAIR)


def _kill_program(layout: Layout, step: Step) -> None:
    machines.stop_unit(layout.directory_of(layout.machine(step.machine)), step.detail, signal.SIGKILL)


def _start_program(layout: Layout, step: Step) -> None:
    machine = layout.machine(step.machine)
    units = {unit["name"]: unit for unit in machines.units(layout.directory_of(machine))}
    if step.detail not in units or units[step.detail]["pid"] is None:
        services.start(layout, machine, step.detail)
    services.wait_ready(layout, machine, step.detail)


def _kill_machine(layout: Layout, step: Step) -> None:
    building.kill_machine(layout, layout.machine(step.machine))


def _start_machine(layout: Layout, step: Step) -> None:
    """One that is half started is started anew: nobody can tell what of it is missing."""
    machine, life = layout.machine(step.machine), life_of(layout, step.machine)
    if life and life == step.detail:  # we were stopped before we killed it
        return
    if life:
        building.kill_machine(layout, machine)
    building.start_machine(layout, machine)
    there = {(pod["metadata"].get("namespace"), pod["metadata"]["name"]) for pod in pods_on(layout, machine.name)}
    lost = [p for p in step.pods if (p["metadata"].get("namespace"), p["metadata"]["name"]) not in there]
    workloads.run(layout, machine.cluster, lost, [], machine.name)


def _kill_process(layout: Layout, step: Step) -> None:
    kill_processes(layout, step.machine, step.detail)


def _delay(layout: Layout, step: Step) -> None:
    cable.delay(layout, layout.machine(step.machine), int(step.detail))


def _plug_in(layout: Layout, step: Step) -> None:
    cable.plug_in(layout, layout.machine(step.machine))


def _nothing(_layout: Layout, _step: Step) -> None:
    return


_Act = Callable[[Layout, Step], None]
_DO: Mapping[Kind, _Act] = {
    Kind.RULES: _put_rules,
    Kind.PROGRAM: _kill_program,
    Kind.MACHINE: _kill_machine,
    Kind.PROCESS: _kill_process,
    Kind.DELAY: _delay,
}
_UNDO: Mapping[Kind, _Act] = {
    Kind.RULES: _take_rules,
    Kind.PROGRAM: _start_program,
    Kind.MACHINE: _start_machine,
    Kind.PROCESS: _nothing,
    Kind.DELAY: _plug_in,
}


def parse_journal(text: str) -> tuple[Step, ...]:
    """The steps of a journal's text, in the order in which they were done."""
    return tuple(from_json(value) for value in json.loads(text))


def render_journal(done: tuple[Step, ...]) -> str:
    """The steps as a journal's text."""
    return json.dumps([to_json(step) for step in done])
