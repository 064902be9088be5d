"""Options and arguments that several commands share: one spelling, one help text, one completion."""

from __future__ import annotations

from typing import Annotated

import typer

from slicer.cli import complete
from slicer.cli.output import Format

Output = Annotated[
    Format | None,
    typer.Option(
        "--output", "-o", help="How to print the answer.", show_default=False, metavar="table|wide|json|yaml|name"
    ),
]
SliceName = Annotated[str, typer.Argument(metavar="SLICE", help="Name of the slice.", autocompletion=complete.slices)]
SliceFilter = Annotated[
    str | None,
    typer.Option("--slice", "-s", metavar="SLICE", help="Only of this slice.", autocompletion=complete.slices),
]
ClusterFilter = Annotated[
    str | None,
    typer.Option("--cluster", "-c", metavar="CLUSTER", help="Only of this cluster.", autocompletion=complete.clusters),
]
Clusters = Annotated[
    list[str] | None,
    typer.Option(
        "--clusters",
        metavar="A,B",
        help="Member clusters; without it all, also those that join later.",
        autocompletion=complete.clusters,
    ),
]
HubClusters = Annotated[
    list[str] | None,
    typer.Option(
        "--hub-cluster",
        metavar="A,B",
        help="Clusters that are linked with all others; the others are not linked with each other.",
        autocompletion=complete.clusters,
    ),
]
Links = Annotated[
    list[str] | None, typer.Option("--link", metavar="A:B", help="Two clusters that are linked; may be repeated.")
]
Guarantee = Annotated[
    str | None, typer.Option(metavar="RATE", help="Bandwidth that the slice always gets: 20M, 1.5G, 800k (bit/s).")
]
Ceiling = Annotated[str | None, typer.Option(metavar="RATE", help="Bandwidth that the slice never exceeds.")]
Priority = Annotated[
    int | None, typer.Option(metavar="0-7", help="Who borrows spare bandwidth first: 0 before 7; 4 if not set.")
]
Dscp = Annotated[
    int | None, typer.Option(metavar="0-63", help="DSCP written into the slice's packets; 46 is expedited forwarding.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever reads it later.")]
Latency = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Round trip between clusters that is wanted at most, like 50ms.")
]
Loss = Annotated[
    int | None, typer.Option(metavar="PERCENT", help="Loss between clusters that is wanted at most, 0 to 99.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Let the hub check everything, but change nothing.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when it works, not only when it is written down.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long --wait waits: 30s, 2m.")]
