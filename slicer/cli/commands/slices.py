"""`create-slice`, `delete-slice`, `qos`, `objectives`: declaring slices and taking them away."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicer.cli import options
from slicer.cli.columns import text_of
from slicer.cli.connection import connected
from slicer.cli.errors import cured
from slicer.cli.kinds import SLICES
from slicer.cli.output import Format, note, print_resources
from slicer.cli.progress import wait
from slicer.cli.quantities import parse_duration, parse_seconds
from slicer.cli.slice_steps import steps_of
from slicer.cli.words import (
    format_objectives,
    format_topology,
    parse_gateways,
    parse_list,
    parse_objectives,
    parse_qos,
    parse_topology,
    topology_of,
)
from slicer.model.clusters import LANES_MAX
from slicer.model.errors import ConflictError, InvalidError
from slicer.model.names import check_range, parse_prefix
from slicer.model.slices import DnsOptions, Encryption, Slice, TunnelMode

if TYPE_CHECKING:
    from slicer.client.rest import Api


def create_slice(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the new slice.")] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", "-p", metavar="PREFIX", help="IPv4 or IPv6 prefix; give one of each for dual stack."),
    ] = None,
    clusters: options.Clusters = None,
    hub_clusters: options.HubClusters = None,
    links: options.Links = None,
    gateways: Annotated[
        str | None, typer.Option(metavar="N|all", help="Active gateways in each cluster; 2 if not said.")
    ] = None,
    guarantee: options.Guarantee = None,
    ceiling: options.Ceiling = None,
    priority: options.Priority = None,
    dscp: options.Dscp = None,
    latency: options.Latency = None,
    loss: options.Loss = None,
    dedicated_tunnels: Annotated[
        bool, typer.Option("--dedicated-tunnels", help="WireGuard tunnels and keys of its own.")
    ] = False,
    tunnels_per_pair: Annotated[
        int | None, typer.Option(metavar="N", help="Parallel tunnels between each two gateways, 1 to 8; 1 if not said.")
    ] = None,
    encryption: Annotated[
        Encryption | None,
        typer.Option(
            metavar="between-clusters|everywhere",
            help="Whether packets are encrypted between the nodes of a cluster as well; never changes.",
        ),
    ] = None,
    namespaces: Annotated[
        list[str] | None, typer.Option(metavar="A,B", help="Only pods of these namespaces may join.")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="TTL of the slice's DNS answers; 5s if not said.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--filename", "-f", help="Read the slice from YAML or JSON instead (- is stdin).")
    ] = None,
    dry_run: options.DryRun = False,
    wait_: options.Wait = False,
    timeout: options.Timeout = "60s",
    output: options.Output = None,
) -> None:
    """Make a slice: a private network over clusters.

    With --wait it returns when packets have passed between all of its clusters that are linked.
    """
    given = {
        "prefixes": prefix,
        "clusters": clusters,
        "topology": parse_topology(hub_clusters, links),
        "gateways": gateways,
        "qos": parse_qos(guarantee, ceiling, priority, dscp),
        "objectives": parse_objectives(latency, loss),
        "tunnels": dedicated_tunnels or None,
        "tunnels_per_pair": tunnels_per_pair,
        "encryption": encryption,
        "namespaces": namespaces,
        "dns": ttl,
    }
    spec = _from_options(name, given) if file is None else _from_file(file, name, given)
    seconds = parse_duration("--timeout", timeout)
    with connected(ctx) as api:
        made = api.create("slices", spec, dry_run=dry_run)
        if wait_ and not dry_run:
            made = _wait_for(api, spec["name"], seconds)
    _say_created(made, output, dry_run=dry_run, waited=wait_)


def delete_slice(
    ctx: typer.Context,
    name: options.SliceName,
    force: Annotated[
        bool, typer.Option("--force", help="Also if pods are attached or services exported: they lose the interface.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: options.DryRun = False,
) -> None:
    """Delete a slice, with its memberships and exports if --force is given."""
    with connected(ctx) as api:
        resource = api.get("slices", name)
        if not (yes or dry_run):
            confirm(f"Delete slice {name} ({text_of(resource['spec']['prefixes'])})?")
        try:
            api.delete("slices", name, force=force, dry_run=dry_run)
        except ConflictError as error:
            raise cured(error, f"to take it away all the same: slicectl delete-slice {name} --force") from None
    note(f"slice {name} {'would be deleted (dry run)' if dry_run else 'deleted'}")


def qos_set(
    ctx: typer.Context,
    slice_name: options.SliceName,
    guarantee: options.Guarantee = None,
    ceiling: options.Ceiling = None,
    priority: options.Priority = None,
    dscp: options.Dscp = None,
    clear: Annotated[bool, typer.Option("--clear", help="No guarantee, no ceiling, no mark.")] = False,
    dry_run: options.DryRun = False,
    output: options.Output = None,
) -> None:
    """Set a slice's bandwidth; what is not given stays as it is. Takes effect while traffic flows."""
    profile = parse_qos(guarantee, ceiling, priority, dscp)
    if (profile is None) != clear:
        raise InvalidError("give at least one of --guarantee, --ceiling, --priority, --dscp, or --clear alone")
    with connected(ctx) as api:
        changed = api.patch("slices", slice_name, {"qos": _merge(profile, priority)}, dry_run=dry_run)
    if output is None:
        from slicer.cli.describe import format_qos

        note(f"slice {slice_name}: {format_qos(changed['spec'].get('qos'))}{' (dry run)' if dry_run else ''}")
    else:
        print_resources(SLICES, [changed], output, time.time(), one=True)


def objectives_set(
    ctx: typer.Context,
    slice_name: options.SliceName,
    latency: options.Latency = None,
    loss: options.Loss = None,
    clear: Annotated[bool, typer.Option("--clear", help="Ask for nothing any more.")] = False,
    dry_run: options.DryRun = False,
) -> None:
    """Say what the ways between a slice's clusters are to be like; what is not given stays as it is."""
    wanted = parse_objectives(latency, loss)
    if (wanted is None) != clear:
        raise InvalidError("give at least one of --latency and --loss, or --clear alone")
    given = None if wanted is None else {"latency_ms": wanted.latency_ms, "loss_percent": wanted.loss_percent}
    patch = given and {key: value for key, value in given.items() if value is not None}
    with connected(ctx) as api:
        changed = api.patch("slices", slice_name, {"objectives": patch}, dry_run=dry_run)
    said = format_objectives(changed["spec"].get("objectives"))
    note(f"slice {slice_name}: objectives: {said}{' (dry run)' if dry_run else ''}")


def topology_set(
    ctx: typer.Context,
    slice_name: options.SliceName,
    hub_clusters: options.HubClusters = None,
    links: options.Links = None,
    mesh: Annotated[bool, typer.Option("--mesh", help="Link every two clusters.")] = False,
    dry_run: options.DryRun = False,
) -> None:
    """Say which clusters of a slice are linked, instead of what was said before. Flows on links that stay go on."""
    from slicer.client.codec import encode

    wanted = parse_topology(hub_clusters, links)
    if (wanted is None) != mesh:
        raise InvalidError("give at least one of --hub-cluster and --link, or --mesh alone")
    with connected(ctx) as api:
        changed = api.patch("slices", slice_name, {"topology": wanted and encode(wanted)}, dry_run=dry_run)
    said = format_topology(topology_of(changed["spec"]))
    note(f"slice {slice_name}: topology: {said}{' (dry run)' if dry_run else ''}")


def tunnels_set(
    ctx: typer.Context,
    slice_name: options.SliceName,
    per_pair: Annotated[int, typer.Option(metavar="N", help="Parallel tunnels between each two gateways, 1 to 8.")],
    dry_run: options.DryRun = False,
) -> None:
    """Say how many tunnels a slice wants between each two gateways. Takes effect while traffic flows, without loss.

    Slices that share tunnels share these, too: the largest number counts.
    """
    check_range("tunnels_per_pair", per_pair, 1, LANES_MAX)
    with connected(ctx) as api:
        changed = api.patch("slices", slice_name, {"tunnels_per_pair": per_pair}, dry_run=dry_run)
    wanted = changed["spec"]["tunnels_per_pair"]
    note(f"slice {slice_name}: tunnels between each two gateways: {wanted}{' (dry run)' if dry_run else ''}")


def confirm(question: str) -> None:
    """Ask on the terminal; InvalidError if there is none to ask or the answer is no."""
    if not sys.stdin.isatty():
        raise cured(InvalidError("there is no terminal to ask for confirmation"), "--yes")
    if not typer.confirm(question):
        raise InvalidError("not confirmed; nothing was changed")


def _merge(profile: Any, priority: int | None) -> dict[str, Any] | None:
    """What a merge patch of `qos` says: the given fields only, null for --clear."""
    if profile is None:
        return None
    given = {"guarantee_bps": profile.guarantee_bps, "ceiling_bps": profile.ceiling_bps, "dscp": profile.dscp}
    return {key: value for key, value in {**given, "priority": priority}.items() if value is not None}


def _from_options(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    from slicer.client.codec import encode

    if not name:
        raise cured(InvalidError("a slice needs a name"), "slicectl create-slice NAME --prefix 10.100.0.0/16")
    if not given["prefixes"]:
        raise cured(
            InvalidError(f"slice {name!r} needs a prefix that no member cluster uses"),
            f"slicectl create-slice {name} --prefix 10.100.0.0/16",
        )
    wanted = Slice(
        name=name,
        prefixes=tuple(parse_prefix("--prefix", text) for text in parse_list(given["prefixes"])),
        clusters=parse_list(given["clusters"] or []),
        topology=given["topology"],
        gateways=2 if given["gateways"] is None else parse_gateways(given["gateways"]),
        qos=given["qos"],
        objectives=given["objectives"],
        tunnels=TunnelMode.DEDICATED if given["tunnels"] else TunnelMode.SHARED,
        tunnels_per_pair=1 if given["tunnels_per_pair"] is None else given["tunnels_per_pair"],
        encryption=given["encryption"] or Encryption.BETWEEN_CLUSTERS,
        dns=DnsOptions() if given["dns"] is None else DnsOptions(ttl_s=parse_seconds("--ttl", given["dns"])),
        namespaces=parse_list(given["namespaces"] or []),
    )
    spec: dict[str, Any] = encode(wanted)
    return spec


def _from_file(file: Path, name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The spec in `file`: a whole resource (as `get -o yaml` prints it) or a bare spec."""
    import yaml

    if any(value is not None for value in given.values()):
        raise InvalidError("--filename stands alone: the slice's options must be in the file")
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidError(f"cannot read a slice from {file}: {' '.join(str(error).split())}") from None
    spec = document.get("spec", document) if isinstance(document, dict) else None
    if not isinstance(spec, dict):
        raise InvalidError(f"{file} holds no slice: expected `name`, `prefixes`, …")
    return {**spec, "name": name or spec.get("name", "")}


def _wait_for(api: Api, name: str, timeout_s: float) -> dict[str, Any]:
    """The slice once packets have passed between all of its clusters."""
    latest: dict[str, Any] = {}

    def observe() -> Any:
        latest.update(api.get("slices", name))
        return steps_of(latest)

    wait(observe, timeout_s, f"slice {name}", "the slice stays declared; slicectl status says what is wrong")
    return latest


def _say_created(made: dict[str, Any], output: Format | None, *, dry_run: bool, waited: bool) -> None:
    if output is not None:
        print_resources(SLICES, [made], output, time.time(), one=True)
        return
    name = made["spec"]["name"]
    if dry_run:
        note(f"slice {name} is fine and would be created (dry run)")
        return
    note(f"slice {name} {'is ready' if waited else 'created'}")
    if not waited:
        note(f"look at it with: slicectl describe slice {name}")
