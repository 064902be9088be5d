"""`get`, `describe`, `whois`: looking at what there is."""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicer.cli import complete, options
from slicer.cli.connection import connected
from slicer.cli.errors import cured
from slicer.cli.following import follow
from slicer.cli.kinds import DESCRIBED, GATEWAYS, Kind, Resource, kind_named
from slicer.cli.output import Format, note, print_resources, show
from slicer.model.errors import InvalidError, NotFoundError
from slicer.model.names import parse_address

if TYPE_CHECKING:
    from slicer.client.rest import Api

KINDS_HELP = "slices, clusters, nodes, gateways, tunnels, members, attachments, services, drains or rotations."


def get(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KINDS_HELP, autocompletion=complete.kinds)],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only this one; the last parts suffice.", autocompletion=complete.names),
    ] = None,
    slice_name: options.SliceFilter = None,
    cluster: options.ClusterFilter = None,
    output: options.Output = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on and print every change.")] = False,
) -> None:
    """Show resources of one kind."""
    wanted = kind_named(kind)
    form = output or Format.TABLE
    # Which nodes, gateways and tunnels a slice has to do with, the hub knows.
    asked = {"slice": slice_name} if slice_name is not None and not wanted.single else {}
    with connected(ctx) as api:
        if watch:
            follow(api, wanted, form, lambda one: bool(select([one], wanted, name, slice_name, cluster)), asked)
            return
        found = select(api.list(wanted.collection, **asked), wanted, name, slice_name, cluster)
        drained = _drained(api, cluster) if wanted is GATEWAYS and form in {Format.TABLE, Format.WIDE} else []
    if drained:
        note(f"drained, and so no gateway: {', '.join(drained)}")
    if name is not None and not found:
        raise not_found(wanted, name)
    if not found and form in {Format.TABLE, Format.WIDE}:
        note(f"no {wanted.plural}")
        return
    print_resources(wanted, found, form, time.time(), one=name is not None and len(found) == 1)


def _drained(api: Api, cluster: str | None) -> list[str]:
    """Nodes that are to be no gateways and have no slot any more."""
    drains = [one for one in api.list("drains") if cluster in {None, one["spec"]["cluster"]}]
    return [f"{d['spec']['cluster']}/{d['spec']['node']}" for d in drains if d["status"]["state"] == "drained"]


def describe(
    ctx: typer.Context,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="slice, cluster, node, attachment or service.", autocompletion=complete.described
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which one.", autocompletion=complete.names)],
) -> None:
    """Show one resource with everything that belongs to it."""
    from slicer.cli.describe import describe as describe_one
    from slicer.cli.describe import render

    wanted = kind_named(kind)
    if wanted not in DESCRIBED:
        known = ", ".join(one.singular for one in DESCRIBED)
        raise cured(
            InvalidError(f"a {wanted.singular} has no description; {known} have"), f"slicectl get {kind} -o yaml"
        )
    with connected(ctx) as api:
        found = select(api.list(wanted.collection), wanted, name, None, None)
        if not found:
            raise not_found(wanted, name)
        related = {
            one: api.list(one) for one in ("attachments", "gateways", "tunnels", "nodes", "exports", "memberships")
        }
    now = time.time()
    for number, resource in enumerate(found):
        if number:
            print()
        show(render(describe_one(wanted, resource, related, now)))


def whois(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="An address on a slice.")],
    slice_name: options.SliceFilter = None,
    output: options.Output = None,
) -> None:
    """Show which pod holds a slice address."""
    from slicer.cli.kinds import ATTACHMENTS

    text = str(parse_address("address", address))
    with connected(ctx) as api:
        attachments = select(api.list("attachments"), ATTACHMENTS, None, slice_name, None)
        found = [one for one in attachments if text in one["spec"]["addresses"]]
        if not found:
            raise _nobody(text, api.list("slices"), slice_name)
    print_resources(ATTACHMENTS, found, output or Format.TABLE, time.time())


def select(
    resources: list[Resource], kind: Kind, name: str | None, slice_name: str | None, cluster: str | None
) -> list[Resource]:
    """The resources that the filters leave, sorted by name."""
    left = [
        one
        for one in resources
        if (name is None or kind.matches(one, name))
        and (slice_name is None or in_slice(one["spec"], slice_name))
        and (cluster is None or in_cluster(one, cluster))
    ]
    exact = [one for one in left if kind.name_of(one) == name]
    return sorted(exact or left, key=kind.name_of)


def in_slice(spec: dict[str, Any], name: str) -> bool:
    """Whether a resource belongs to the slice, or to none (nodes, gateways, tunnels: the hub chose them)."""
    return bool(spec.get("slice", spec["name"] if "prefixes" in spec else name) == name)


def in_cluster(resource: Resource, name: str) -> bool:
    """Whether a resource belongs to the cluster: it lies there, spans it, or one of its ends is there."""
    spec = resource["spec"]
    if "cluster" in spec:
        return name in {spec["cluster"], spec.get("remote_cluster")}
    if "clusters" in spec:
        return not spec["clusters"] or name in spec["clusters"]
    return bool(spec["name"] == name)


def not_found(kind: Kind, name: str) -> NotFoundError:
    """The error for a name that nothing has."""
    return cured(NotFoundError(f"there is no {kind.singular} {name!r}"), f"slicectl get {kind.plural} lists them")


def _nobody(text: str, slices: list[Resource], slice_name: str | None) -> NotFoundError:
    address = ipaddress.ip_address(text)
    inside = [
        one["spec"]["name"]
        for one in slices
        if any(address in ipaddress.ip_network(prefix) for prefix in one["spec"]["prefixes"])
        and slice_name in {None, one["spec"]["name"]}
    ]
    if inside:
        error = NotFoundError(f"no pod holds {text}, which lies in slice {', '.join(inside)}")
        return cured(error, f"slicectl get attachments --slice {inside[0]} lists the addresses in use")
    return cured(NotFoundError(f"{text} lies in no slice"), "slicectl get slices lists the prefixes")
