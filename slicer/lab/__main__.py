"""`python -m slicer.lab`: the command line of the lab, which `slicectl lab` starts as a process."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slicer.lab import building, layout, machines, services, state, workloads
from slicer.lab.layout import Layout
from slicer.model.errors import InvalidError, NotFoundError, SlicerError, UnavailableError

EXIT_OF = ((InvalidError, 2), (NotFoundError, 4), (UnavailableError, 7))
"""The same numbers as slicectl's; every other SlicerError is 1 (a conflict 5)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, or the number of the kind of error, whose message goes to stderr."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `slicectl lab status | head` ends quietly
    given = _parse(sys.argv[1:] if argv is None else argv)
    if os.geteuid() != 0:
        print("the lab makes network namespaces: run it as root", file=sys.stderr)
        return 1
    try:
        return int(given.do(given) or 0)
    except SlicerError as error:
        print(error.message, file=sys.stderr)
        return next((number for kind, number in EXIT_OF if isinstance(error, kind)), 5 if _is_conflict(error) else 1)
    except KeyboardInterrupt:
        print("interrupted; `slicectl lab down` removes what is there", file=sys.stderr)
        return 130


def _is_conflict(error: SlicerError) -> bool:
    return error.reason == "Conflict"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; everything behind the first `--` is the command of `exec`, whatever it looks like."""
    end = argv.index("--") if "--" in argv else len(argv)
    given, rest = _parser().parse_known_args(argv[:end])
    if rest and given.do is not _exec:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    given.argv = [*rest, *argv[end + 1 :]]
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slicectl lab", description="Clusters on one machine, to try and to test with."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Any, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_)
        # What makes or ends a lab never guesses which; the rest takes the one that there is.
        found = layout.DEFAULT_NAME if name in {"up", "down", "demo"} else state.default_name()
        sub.add_argument("--name", default=os.environ.get("SLICER_LAB") or found, help="which lab (%(default)s)")
        sub.set_defaults(do=do)
        return sub

    up = command("up", _up, "build a lab: a hub, and clusters of nodes with their control planes")
    up.add_argument("--clusters", default="a,b", help="names, by comma (%(default)s)")
    up.add_argument("--nodes", type=int, default=2, help="in each cluster (%(default)s)")
    command("down", _down, "end everything in the lab and remove its files")
    run = command("run", _run, "start pods from manifests (Pod, Deployment, NetworkAttachmentDefinition)")
    run.add_argument("-f", "--filename", action="append", required=True, help="file, or - for standard input")
    run.add_argument("--cluster", required=True)
    run.add_argument("--node", default="", help="default: spec.nodeName, else the node with the fewest pods")
    exec_ = command("exec", _exec, "run a command in a pod (CLUSTER/NAMESPACE/POD, or its last parts) or on a machine")
    exec_.add_argument("where")
    exec_.usage = "slicectl lab exec [--name NAME] WHERE -- COMMAND [ARGUMENT ...]"
    command("logs", _logs, "a pod's output, or a machine's: MACHINE/PROGRAM").add_argument("where")
    command("describe", _describe, "a pod: node, addresses, network-status as Multus writes it").add_argument("pod")
    command("delete", _delete, "end pods, with CNI DEL").add_argument("pods", nargs="+")
    command("status", _status, "machines, programs and pods")
    for name, do, help_ in (
        ("stop", _stop, "end a program (MACHINE/PROGRAM) or pull a machine's plug (MACHINE)"),
        ("start", _start, "start a program or a machine again"),
        ("restart", _restart, "stop, then start"),
    ):
        sub = command(name, do, help_)
        sub.add_argument("what", help="a-n1/agent, a-cp/member, a-cp/dns, hub/hub, or a machine: a-n1")
        if do is not _start:
            sub.add_argument("--kill", action="store_true", help="SIGKILL instead of SIGTERM")
    command("demo", _demo, "build a lab and show what Slicer does; fails if any of it does not hold")
    return parser


def _demo(given: argparse.Namespace) -> int:
    from slicer.lab import demo

    return demo.main(given.name)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _up(given: argparse.Namespace) -> None:
    clusters = tuple(word.strip() for word in given.clusters.split(","))
    wanted = Layout(name=given.name, clusters=clusters, nodes=given.nodes)
    try:
        building.up(wanted, _say)
    except UnavailableError as error:
        cure = (
            f"slicectl lab logs MACHINE/PROGRAM says more; slicectl lab down --name {given.name} removes what is there"
        )
        raise UnavailableError(f"{error.message}\n{cure}") from None
    _say(f"lab {given.name!r} is up; look around with: slicectl status, slicectl lab status --name {given.name}")


def _down(given: argparse.Namespace) -> None:
    building.down(given.name, _say)


def _run(given: argparse.Namespace) -> None:
    lab = state.load(given.name)
    texts = [(name, sys.stdin.read() if name == "-" else _read(name)) for name in given.filename]
    wanted, networks = workloads.parse_manifests(texts)
    for record in workloads.run(lab, given.cluster, wanted, networks, given.node):
        interfaces = [f"{s['interface']} {', '.join(s.get('ips', ()))}" for s in json.loads(record["status"])]
        print(f"pod {given.cluster}/{record['namespace']}/{record['name']} runs: {'; '.join(interfaces)}")


def _read(name: str) -> str:
    try:
        return Path(name).read_text()
    except OSError as error:
        raise InvalidError(f"manifest {name}: {error.strerror}") from None


def _exec(given: argparse.Namespace) -> None:
    if not given.argv:
        raise InvalidError("no command: slicectl lab exec POD -- COMMAND")
    argv = workloads.exec_argv(state.load(given.name), given.where, given.argv)
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606 - the command is what the user asked for, on their terminal


def _logs(given: argparse.Namespace) -> None:
    for path in workloads.logs_of(state.load(given.name), given.where):
        sys.stdout.write(path.read_text(errors="replace"))


def _describe(given: argparse.Namespace) -> None:
    lab = state.load(given.name)
    node, record = workloads.find(lab, given.pod)
    rows = {
        "Name": workloads.full_name(lab, node, record),
        "Node": node,
        "Phase": record["phase"],
        "Sandbox": record["id"],
        "Network namespace": record["netns"],
        "Labels": ", ".join(f"{k}={v}" for k, v in (record["pod"]["metadata"].get("labels") or {}).items()) or "none",
    }
    for key, value in rows.items():
        print(f"{key + ':':<19}{value}")
    print(f"Network status:\n{record['status']}")


def _delete(given: argparse.Namespace) -> None:
    lab = state.load(given.name)
    for text in given.pods:
        print(f"pod {workloads.delete(lab, text)} is gone")


def _status(given: argparse.Namespace) -> None:
    lab = state.load(given.name)
    print(f"lab {lab.name}: {lab.directory}\n")
    print(f"{'MACHINE':<12}{'ADDRESS':<16}PROGRAMS")
    for machine in lab.machines():
        print(f"{machine.name:<12}{machine.addresses[0]!s:<16}{_programs(lab, machine)}")
    records = state.pod_records(lab)
    print(f"\n{'POD':<28}{'NODE':<8}{'PHASE':<9}INTERFACES")
    for node, record in records:
        status = json.loads(record["status"])
        addresses = "; ".join(f"{s['interface']} {', '.join(s.get('ips', ()))}" for s in status)
        print(f"{workloads.full_name(lab, node, record):<28}{node:<8}{record['phase']:<9}{addresses}")


def _programs(lab: Layout, machine: layout.Machine) -> str:
    record = machines.read_record(lab.directory_of(machine))
    if record is None or not machines.is_alive(record):
        return "(the machine is down)"
    units = {u["name"]: u for u in machines.units(lab.directory_of(machine))}
    names = services.PROGRAMS[machine.role]
    return ", ".join(f"{name} {_condition(units.get(name))}" for name in names) or "-"


def _condition(unit: dict[str, Any] | None) -> str:
    if unit is None:
        return "stopped"
    return "runs" if unit["pid"] is not None else f"ended ({unit['exit']})"


def _stop(given: argparse.Namespace) -> None:
    lab = state.load(given.name)
    name, _, program = given.what.partition("/")
    machine = lab.machine(name)
    if program:
        number = signal.SIGKILL if given.kill else signal.SIGTERM
        machines.stop_unit(lab.directory_of(machine), program, number)
    else:
        building.kill_machine(lab, machine)


def _start(given: argparse.Namespace) -> None:
    lab = state.load(given.name)
    name, _, program = given.what.partition("/")
    machine = lab.machine(name)
    if program:
        services.start(lab, machine, program)
        services.wait_ready(lab, machine, program)
    else:
        building.start_machine(lab, machine)


def _restart(given: argparse.Namespace) -> None:
    _stop(given)
    _start(given)


if __name__ == "__main__":
    sys.exit(main())
