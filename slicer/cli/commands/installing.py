"""`install`, `uninstall`: Slicer in a Kubernetes cluster, from nothing to working and back."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from slicer.cli import config
from slicer.cli.errors import cured
from slicer.cli.install import installing, plan, uninstalling
from slicer.cli.install.cluster import Cluster, KubernetesCluster
from slicer.cli.install.plan import Wish
from slicer.cli.output import dump_json, note
from slicer.cli.quantities import format_age, parse_seconds
from slicer.model.errors import InvalidError
from slicer.model.names import check_label, check_range, parse_prefix

TOKEN_TTL_S = 24 * 3600
"""How long the printed join command works: people install the second cluster after lunch."""

Context = Annotated[
    str | None, typer.Option(metavar="NAME", help="Context of the kubeconfig; the current one if not given.")
]
Kubeconfig = Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of $KUBECONFIG or ~/.kube/config.")]
ClusterName = Annotated[
    str | None,
    typer.Option("--cluster", metavar="NAME", help="Name among the clusters of the hub; the context's if not given."),
]
Patience = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long each step may take.")]


def install(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    cluster: ClusterName = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="Slices are declared here, and the other clusters dial in.")
    ] = False,
    join: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Join the hub that made this token (@FILE: read it there).")
    ] = None,
    hub_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="How other clusters reach the hub: address or URL.")
    ] = None,
    hub_service: Annotated[
        str, typer.Option(metavar="|".join(plan.SERVICES), help="What makes the hub reachable; node-port at first.")
    ] = "",
    hub_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="With node-port: of every node; 30443 at first.")
    ] = None,
    platform: Annotated[
        str, typer.Option(metavar="|".join(plan.PLATFORMS), help="Where plugins lie elsewhere than usual.")
    ] = "",
    cidr: Annotated[
        list[str] | None, typer.Option(metavar="PREFIX", help="Ranges of this cluster's own; found out if not given.")
    ] = None,
    resolver: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Where else the cluster's DNS asks from, if not from pods in kube-system."),
    ] = None,
    cluster_dns: Annotated[
        bool | None,
        typer.Option(
            "--cluster-dns/--no-cluster-dns", help="Tell the cluster's CoreDNS of slice names.", show_default=False
        ),
    ] = None,
    registry: Annotated[
        str,
        typer.Option(
            "--image-registry", metavar="NAME", help="What the images' names begin with, instead of slicer.io."
        ),
    ] = "",
    tag: Annotated[
        str, typer.Option("--image-tag", metavar="TAG", help="Of the images; this version's if not given.")
    ] = "",
    agent_flag: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="One more flag for the agents; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests instead of applying them.")] = False,
    timeout: Patience = "5m",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="token|json", help="Of a hub: the join token alone, or as JSON.")
    ] = "",
) -> None:
    """Install Slicer in a cluster, or upgrade it.

    With --hub in the first cluster; it prints the command for the next ones. Without --hub and --join an installation
    that is there is upgraded and keeps its settings.
    """
    target = KubernetesCluster(context, kubeconfig)
    old = installing.installed(target)
    name = check_label("cluster name", cluster or (old.cluster if old else _name_of(target)))
    _check_options(service=hub_service, platform=platform, output=output)
    _check_role(target, old, name, hub=hub, join=join)
    installing.check(target)
    wish = old or (Wish(cluster=name, hub=True) if hub else installing.member_wish(name))
    given: dict[str, Any] = {"platform": platform, "registry": registry, "agent_flags": tuple(agent_flag or ())}
    given["cidrs"] = tuple(str(parse_prefix("--cidr", text)) for text in cidr or ())
    given["resolvers"] = tuple(str(parse_prefix("--resolver", text)) for text in resolver or ())
    wish = replace(wish, cluster_dns=wish.cluster_dns if cluster_dns is None else cluster_dns)
    port = wish.port if hub_port is None else check_range("--hub-port", hub_port, 1, 65535)
    _check_hub_options(wish, hub_service, hub_address, port)
    given["service"], given["port"] = hub_service, port
    wish = replace(wish, tag=tag, **{key: value for key, value in given.items() if value})
    wish = installing.learn(target, wish)
    seconds = parse_seconds("--timeout", timeout)
    if wish.hub and installing.is_reached_anew(old, wish, hub_address):
        if wish.service == "load-balancer" and hub_address is None and not dry_run:
            installing.make_balancer(target, wish, seconds)
        wish = installing.reach(target, wish, hub_address)
    if dry_run:
        _print(wish)
        return
    installing.apply(target, wish, _token(join), seconds, note)
    if wish.hub:
        _tell_hub(target, wish, output)
    else:
        note(f"cluster {name} has joined its hub")


def uninstall(
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also while pods use it, and when a node does not answer.")
    ] = False,
    timeout: Patience = "3m",
) -> None:
    """Take Slicer out of a cluster: objects, definitions, and what the agents made on the nodes."""
    target = KubernetesCluster(context, kubeconfig)
    wish = installing.installed(target)
    uninstalling.uninstall(target, wish, force=force, timeout_s=parse_seconds("--timeout", timeout), say=note)
    note(f"Slicer is gone from cluster {target.name}")


def _check_options(*, service: str, platform: str, output: str) -> None:
    """Refuse words that are none of ours."""
    for option, given, known in (
        ("--hub-service", service, ("", *plan.SERVICES)),
        ("--platform", platform, ("", *plan.PLATFORMS)),
        ("--output", output, ("", "token", "json")),
    ):
        if given not in known:
            raise InvalidError(f"{option} {given!r} is not {' or '.join(filter(None, known))}")


def _check_hub_options(wish: Wish, service: str, address: str | None, port: int) -> None:
    """Refuse for a member what says how a hub is reached."""
    if not wish.hub and (service or address or port != wish.port):
        raise InvalidError(f"--hub-service, --hub-address and --hub-port are for a hub; {wish.cluster!r} is a member")


def _check_role(target: Cluster, old: Wish | None, name: str, *, hub: bool, join: str | None) -> None:
    """Refuse what makes no sense for this cluster, before anything is changed."""
    if hub and join:
        raise InvalidError("--hub and --join exclude each other: a hub joins nobody")
    if old is None and not hub and join is None:
        error = InvalidError(f"Slicer is not installed in cluster {target.name}: is it the hub, or does it join one?")
        raise cured(
            cured(error, "slicectl install --hub"), "slicectl install --join TOKEN (from the hub's installation)"
        )
    installing.check_unchanged(old, name, hub=True if hub else False if join else None)


def _name_of(target: Cluster) -> str:
    """The context's name where that is a label; kubeconfigs of clouds are full of others."""
    try:
        return check_label("cluster name", target.name)
    except InvalidError as error:
        raise cured(
            InvalidError(f"context {target.name!r} makes no name for the cluster: {error.message}"), "--cluster NAME"
        ) from None


def _token(join: str | None) -> str | None:
    """The token's text, of the option or of the file that it names; a damaged one is refused."""
    if join is None:
        return None
    from slicer.client.identity import parse_token

    text = Path(join[1:]).read_text().strip() if join.startswith("@") else join
    parse_token(text)
    return text


def _print(wish: Wish) -> None:
    import yaml

    sys.stdout.write(yaml.safe_dump_all(plan.render(wish), sort_keys=False))


def _tell_hub(target: Cluster, wish: Wish, output: str) -> None:
    """The next step, on stdout; and the hub as a context of this user's slicectl."""
    hub = installing.hub_of(target, wish)
    token = installing.make_join_token(target, "*", TOKEN_TTL_S)
    path = _write_context(wish.cluster, hub)
    note(f"the hub is {hub.url}; slicectl knows it as {wish.cluster} ({path})")
    note(f"in another cluster, once, within {format_age(TOKEN_TTL_S)}:")
    if output == "json":
        print(dump_json({"token": token, "url": hub.url, "context": wish.cluster}))
    else:
        print(token if output == "token" else f"slicectl install --context CONTEXT --join {token}")


def _write_context(name: str, hub: installing.Hub) -> Path:
    path = config.default_path(os.environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    ca, token = path.with_name(f"{name}-ca.pem"), path.with_name(f"{name}.token")
    ca.write_text(hub.ca)
    token.touch(mode=0o600)
    token.write_text(hub.admin_token + "\n")
    made = config.Context(name=name, server=hub.url, ca=ca, token_file=token)
    known = config.load(path) or config.Config(path=path)
    others = tuple(one for one in known.contexts if one.name != name)
    config.save(replace(known, current=known.current or name, contexts=(*others, made)))
    return path
