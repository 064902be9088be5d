"""`export`, `unexport`: giving services a name on a slice."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from slicer.cli import complete, options
from slicer.cli.columns import dns_name
from slicer.cli.connection import connected
from slicer.cli.errors import cured
from slicer.cli.kinds import SERVICES
from slicer.cli.output import note, print_resources
from slicer.cli.words import parse_labels, parse_list, parse_namespaced, parse_port
from slicer.model.errors import InvalidError
from slicer.model.slices import Export

Service = Annotated[
    str,
    typer.Argument(metavar="NS/NAME", help="Namespace and name of the service.", autocompletion=complete.services),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NS", help="Namespace, if it does not stand before the name.")
]


def export(
    ctx: typer.Context,
    slice_name: options.SliceName,
    service: Annotated[str, typer.Argument(metavar="NS/NAME", help="Namespace and name of the service.")],
    namespace: Namespace = None,
    selector: Annotated[
        list[str] | None, typer.Option("--selector", "-l", metavar="K=V", help="Labels of the pods behind it.")
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option("--port", "-p", metavar="PORT", help="8080, http:8080 or dns:53/udp; may be repeated."),
    ] = None,
    clusters: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B", help="Only pods of these clusters; without it all.", autocompletion=complete.clusters
        ),
    ] = None,
    dry_run: options.DryRun = False,
    output: options.Output = None,
) -> None:
    """Give the pods with these labels a common DNS name on the slice."""
    namespace, name = parse_namespaced("service", service, namespace)
    if not selector:
        error = InvalidError(f"service {service} needs the labels of its pods")
        raise cured(error, f"slicectl export {slice_name} {service} --selector app={name}")
    wanted = Export(
        slice=slice_name,
        namespace=namespace,
        name=name,
        selector=parse_labels("--selector", selector),
        ports=tuple(parse_port(text) for text in parse_list(port or [])),
        clusters=parse_list(clusters or []),
    )
    with connected(ctx) as api:
        made = api.create("exports", _encoded(wanted), dry_run=dry_run)
    if output is not None:
        print_resources(SERVICES, [made], output, time.time(), one=True)
        return
    note(f"service {namespace}/{name} {'would be exported (dry run)' if dry_run else 'exported'}: {dns_name(made, 0)}")


def unexport(
    ctx: typer.Context,
    slice_name: options.SliceName,
    service: Service,
    namespace: Namespace = None,
    dry_run: options.DryRun = False,
) -> None:
    """Take a service's name off the slice. The pods stay attached."""
    namespace, name = parse_namespaced("service", service, namespace)
    with connected(ctx) as api:
        api.delete("exports", f"{slice_name}/{namespace}/{name}", dry_run=dry_run)
    note(f"service {namespace}/{name} {'would be taken' if dry_run else 'taken'} off slice {slice_name}")


def _encoded(wanted: Export) -> dict[str, Any]:
    from slicer.client.codec import encode

    spec: dict[str, Any] = encode(wanted)
    return spec
