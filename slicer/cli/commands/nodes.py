"""`delete-node`: a machine that is gone for good; nobody but a user can know that."""

from __future__ import annotations

from typing import Annotated

import typer

from slicer.cli import options
from slicer.cli.commands.slices import confirm
from slicer.cli.connection import chosen, connected
from slicer.cli.errors import cured
from slicer.cli.output import note
from slicer.model.errors import ConflictError, InvalidError, NotFoundError
from slicer.model.names import check_label, check_subdomain


def delete_node(
    ctx: typer.Context,
    node: Annotated[str, typer.Argument(metavar="CLUSTER/NODE", help="The node, as `get nodes` names it.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also if its agent is connected: its pods lose what they have of slices.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: options.DryRun = False,
) -> None:
    """Delete a node that is gone for good: its endpoints and gateway slots end, its addresses are given out again.

    Asks its cluster's member, not the hub: --context (in the lab NAME/CLUSTER), or --server, --ca and --token-file.
    """
    cluster, slash, name = node.partition("/")
    if not slash:
        raise cured(InvalidError(f"node {node!r} is not CLUSTER/NODE"), "slicectl get nodes -o name")
    check_label("cluster name", cluster)
    check_subdomain("node name", name)
    with connected(ctx) as api:
        if not (yes or dry_run):
            confirm(f"Delete node {node} at {chosen(ctx).server}?")
        try:
            api.delete("nodes", node, force=force, dry_run=dry_run)
        except ConflictError as error:
            raise cured(error, f"to take it away all the same: slicectl delete-node {node} --force") from None
        except (NotFoundError, InvalidError) as error:
            cure = f"nodes are deleted at the member of their cluster ({cluster}): --context, or --server with its --ca"
            raise cured(error, cure) from None
    note(f"node {node} {'would be deleted (dry run)' if dry_run else 'deleted'}")
