"""`gateway drain`, `gateway undrain`, `rotate-keys`: planned work on gateways and tunnels that loses no packet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicer.cli import complete, options
from slicer.cli.connection import connected
from slicer.cli.errors import cured
from slicer.cli.kinds import DRAINS, ROTATIONS
from slicer.cli.output import note, print_resources
from slicer.cli.progress import Step, wait
from slicer.cli.quantities import parse_duration
from slicer.model.errors import ConflictError, InvalidError, NotFoundError

if TYPE_CHECKING:
    from slicer.client.rest import Api

Resource = dict[str, Any]
DRAIN_TIMEOUT = "3m"
"""Two steps wait a minute each at most with force, and linger a little (`slicer.plan.draining`)."""
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="NODE or CLUSTER/NODE.", autocompletion=complete.nodes)]
ClusterName = Annotated[
    str | None,
    typer.Option("--cluster", metavar="CLUSTER", help="Cluster of the node.", autocompletion=complete.clusters),
]


def drain(
    ctx: typer.Context,
    node: NodeName,
    cluster: ClusterName = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also the cluster's last gateway; each of two steps waits a minute at most for others."
        ),
    ] = False,
    reason: options.Reason = "",
    dry_run: options.DryRun = False,
    wait_: options.Wait = False,
    timeout: options.Timeout = DRAIN_TIMEOUT,
    output: options.Output = None,
) -> None:
    """Let a node carry nothing for other nodes any more: no new flows, and its old ones leave without a lost packet."""
    seconds = parse_duration("--timeout", timeout)
    with connected(ctx) as api:
        where, name = find_node(api.list("nodes"), node, cluster)
        spec = {"cluster": where, "node": name, "force": force, "reason": reason}
        made = _declare(api, spec, dry_run=dry_run)
        if wait_ and not dry_run:
            cure = f"who is waited for may be down: slicectl get drains; go on without them: --force; {_back(name)}"
            wait(lambda: drain_steps(api.get("drains", f"{where}/{name}")), seconds, f"drain of {name}", cure)
    if output is not None:
        print_resources(DRAINS, [made], output, time.time(), one=True)
        return
    note(f"gateway {where}/{name} {'would be drained (dry run)' if dry_run else 'is drained'}; {_back(name)}")


def undrain(ctx: typer.Context, node: NodeName, cluster: ClusterName = None, dry_run: options.DryRun = False) -> None:
    """Let a drained node be a gateway again, if one is wanted there."""
    with connected(ctx) as api:
        drains = [one["spec"] for one in api.list("drains")]
        where, name = find_node(
            [{"spec": {"cluster": one["cluster"], "name": one["node"]}} for one in drains],
            node,
            cluster,
            "drained node",
        )
        api.delete("drains", f"{where}/{name}", dry_run=dry_run)
    note(f"node {where}/{name} {'would be' if dry_run else 'is'} free to be a gateway")


def rotate_keys(
    ctx: typer.Context,
    slice_name: Annotated[
        str | None,
        typer.Option("--slice", metavar="SLICE", help="The tunnels of this slice.", autocompletion=complete.slices),
    ] = None,
    tunnel_set: Annotated[
        int | None, typer.Option("--tunnel-set", metavar="N", min=0, help="This tunnel set; without both: all.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take a rotation that runs back.")] = False,
    reason: options.Reason = "",
    dry_run: options.DryRun = False,
    wait_: options.Wait = False,
    timeout: options.Timeout = "2m",
    output: options.Output = None,
) -> None:
    """Give gateways new WireGuard keys: new devices beside the old ones, which go when nobody uses them any more."""
    seconds = parse_duration("--timeout", timeout)
    with connected(ctx) as api:
        numbers = chosen_sets(api.list("slices"), slice_name, tunnel_set)
        if cancel:
            _cancel(api, numbers, dry_run=dry_run)
            return
        wishes = [{"tunnel_set": number, "generation": 0, "reason": reason} for number in numbers]
        made = [api.create("rotations", wish, dry_run=dry_run) for wish in wishes]
        if wait_ and not dry_run:
            names = [one["metadata"]["name"] for one in made]
            cure = "the old keys stay in use meanwhile: slicectl get rotations; take it back: rotate-keys --cancel"
            wait(lambda: [rotation_step(api.get("rotations", name)) for name in names], seconds, "rotation", cure)
    if output is not None:
        print_resources(ROTATIONS, made, output, time.time(), one=len(made) == 1)
        return
    for one in made:
        verb = "would become" if dry_run else "become"
        note(f"keys of tunnel set {one['spec']['tunnel_set']} {verb} generation {one['spec']['generation']}")


def find_node(nodes: list[Resource], text: str, cluster: str | None, what: str = "node") -> tuple[str, str]:
    """(cluster, node) that NODE or CLUSTER/NODE means, of those that there are."""
    where, slash, name = text.rpartition("/")
    if slash and cluster not in {None, where}:
        raise InvalidError(f"{what} {text!r} lies in cluster {where}, but --cluster says {cluster}")
    where = where or cluster or ""
    found = [
        (str(one["spec"]["cluster"]), str(one["spec"]["name"]))
        for one in nodes
        if one["spec"]["name"] == name and where in {"", one["spec"]["cluster"]}
    ]
    if not found:
        place = f" in cluster {where!r}" if where else ""
        raise cured(NotFoundError(f"there is no {what} {name!r}{place}"), "slicectl get nodes lists them")
    if len(found) > 1:
        clusters = ", ".join(cluster for cluster, _ in found)
        raise cured(InvalidError(f"{what} {name!r} is in the clusters {clusters}: say which"), f"{found[0][0]}/{name}")
    return found[0]


def chosen_sets(slices: list[Resource], slice_name: str | None, tunnel_set: int | None) -> list[int]:
    """Tunnel sets that the options mean, sorted; all in use without any."""
    if slice_name is not None and tunnel_set is not None:
        raise InvalidError("give --slice or --tunnel-set, not both")
    if tunnel_set is not None:
        return [tunnel_set]
    meant = [one for one in slices if slice_name in {None, one["spec"]["name"]}]
    if not meant and slice_name is not None:
        raise cured(NotFoundError(f"there is no slice {slice_name!r}"), "slicectl get slices lists them")
    if not meant:
        raise NotFoundError("there is no slice, and so there are no tunnels")
    return sorted({int(one["status"]["tunnel_set"]) for one in meant})


def drain_steps(resource: Resource) -> list[Step]:
    """Whether everybody has left the gateway, and whether it has no slot any more."""
    status, node = resource["status"], resource["spec"]["node"]
    waiting = ", ".join(status["waiting_for"])
    left = status["state"] == "drained" or all(one["state"] == "leaving" for one in status["slots"])
    return [
        Step(title=f"others leave {node}", done=left, detail=f"waiting for {waiting}" if waiting and not left else ""),
        Step(title=f"{node} is no gateway any more", done=status["state"] == "drained"),
    ]


def rotation_step(resource: Resource) -> Step:
    """Whether the rotation is over; who is waited for."""
    status, spec = resource["status"], resource["spec"]
    title = f"keys of tunnel set {spec['tunnel_set']}, generation {spec['generation']}"
    if status["finished_at_s"] is not None:
        return Step(title=title, done=True)
    waiting = ", ".join(status["waiting_for"])
    return Step(
        title=title, done=False, detail=f"{status['state']}: waiting for {waiting}" if waiting else status["state"]
    )


def _declare(api: Api, spec: Resource, *, dry_run: bool) -> Resource:
    """A new drain; with force also one that is there already and had none."""
    try:
        return api.create("drains", spec, dry_run=dry_run)
    except ConflictError as error:
        if error.reason != "Exists" or not spec["force"]:
            raise
        return api.replace("drains", f"{spec['cluster']}/{spec['node']}", spec, dry_run=dry_run)


def _cancel(api: Api, numbers: list[int], *, dry_run: bool) -> None:
    running = [
        one["metadata"]["name"]
        for one in api.list("rotations")
        if one["spec"]["tunnel_set"] in numbers and one["status"]["state"] != "done"
    ]
    if not running:
        raise cured(NotFoundError("no rotation runs"), "slicectl get rotations shows those that were")
    for name in running:
        api.delete("rotations", name, dry_run=dry_run)
        note(f"rotation {name} {'would be' if dry_run else 'is'} taken back")


def _back(node: str) -> str:
    return f"take it back with: slicectl gateway undrain {node}"
