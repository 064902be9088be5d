"""Completion of names from the server. Whatever goes wrong, there is just nothing to offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from slicer.client.rest import Api


def kinds(incomplete: str) -> list[str]:
    """The kinds of `slicectl get`."""
    from slicer.cli.kinds import KINDS

    return _starting(incomplete, (kind.plural for kind in KINDS))


def described(incomplete: str) -> list[str]:
    """The kinds of `slicectl describe`."""
    from slicer.cli.kinds import DESCRIBED

    return _starting(incomplete, (kind.singular for kind in DESCRIBED))


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the kind that stands before."""
    from slicer.cli.kinds import kind_named

    def ask(api: Api) -> Iterable[str]:
        kind = kind_named(str(ctx.params["kind"]))
        return (kind.name_of(item) for item in api.list(kind.collection))

    return _asked(ctx, incomplete, ask)


def slices(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of slices."""
    return _asked(ctx, incomplete, lambda api: (item["spec"]["name"] for item in api.list("slices")))


def clusters(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of clusters, also the last of several with commas."""
    done, comma, last = incomplete.rpartition(",")
    found = _asked(ctx, last, lambda api: (item["spec"]["name"] for item in api.list("clusters")))
    return [f"{done}{comma}{name}" for name in found]


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """CLUSTER/NODE of the nodes."""
    return _asked(
        ctx, incomplete, lambda api: (f"{n['spec']['cluster']}/{n['spec']['name']}" for n in api.list("nodes"))
    )


def memberships(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of memberships."""
    return _asked(ctx, incomplete, lambda api: (item["spec"]["name"] for item in api.list("memberships")))


def services(ctx: typer.Context, incomplete: str) -> list[str]:
    """NAMESPACE/NAME of the services of the slice that stands before."""

    def ask(api: Api) -> Iterable[str]:
        specs = (item["spec"] for item in api.list("exports"))
        return (f"{one['namespace']}/{one['name']}" for one in specs if one["slice"] == ctx.params.get("slice_name"))

    return _asked(ctx, incomplete, ask)


def pods(ctx: typer.Context, incomplete: str) -> list[str]:
    """CLUSTER/NAMESPACE/POD of what is attached to the slice that stands before."""

    def ask(api: Api) -> Iterable[str]:
        specs = (item["spec"] for item in api.list("attachments"))
        # Behind an option without its value the parser has not read the slice's name: then all pods are offered.
        wanted = ctx.params.get("slice_name")
        found = (one for one in specs if wanted in {None, one["slice"]})
        return (f"{one['cluster']}/{one['namespace']}/{one['pod']}" for one in found)

    return _asked(ctx, incomplete, ask)


def contexts(incomplete: str) -> list[str]:
    """Names of contexts, and of running labs."""
    import os

    from slicer.cli import config

    try:
        file = config.load(config.default_path(os.environ))
        known = (*(file.contexts if file else ()), *config.labs())
    except Exception:
        return []
    return _starting(incomplete, (context.name for context in known))


def _asked(ctx: typer.Context, incomplete: str, ask: Callable[[Api], Iterable[str]]) -> list[str]:
    from slicer.cli.connection import connected

    try:
        with connected(ctx) as api:
            return _starting(incomplete, ask(api))
    except Exception:
        return []


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})
