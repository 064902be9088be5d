"""`member`: rules that say which pods belong to a slice; a running pod gets or loses its interface at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicer.cli import complete, options
from slicer.cli.columns import member_who, text_of
from slicer.cli.connection import connected
from slicer.cli.errors import cured
from slicer.cli.kinds import MEMBERS, Resource
from slicer.cli.output import Format, note, print_resources
from slicer.cli.progress import Step, wait
from slicer.cli.quantities import parse_duration
from slicer.cli.words import parse_labels, parse_list, parse_pod
from slicer.model.errors import InvalidError, NotFoundError
from slicer.model.names import parse_address
from slicer.model.slices import Membership

if TYPE_CHECKING:
    from slicer.client.rest import Api

Pod = Annotated[
    str | None,
    typer.Option("--pod", metavar="NS/POD", help="One pod (CLUSTER/NS/POD also says the cluster)."),
]
Pods = Annotated[
    list[str] | None,
    typer.Option("--pod", metavar="NS/POD", help="One pod (CLUSTER/NS/POD also says the cluster); may be repeated."),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NS", help="All pods of a namespace, or with --labels some.")
]
Labels = Annotated[list[str] | None, typer.Option("--labels", "-l", metavar="K=V", help="Pods that have these labels.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        "-c",
        metavar="CLUSTER",
        help="Where the pods run; needed if the slice has several.",
        autocompletion=complete.clusters,
    ),
]


def add(
    ctx: typer.Context,
    slice_name: options.SliceName,
    pods: Pods = None,
    namespace: Namespace = None,
    labels: Labels = None,
    cluster: Cluster = None,
    interface: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Interface name in the pod; without it the first free net1, net2 …"),
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="This address or none; with --pod only.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the membership; without it made of what it says.")
    ] = None,
    reason: options.Reason = "",
    dry_run: options.DryRun = False,
    wait_: options.Wait = False,
    timeout: options.Timeout = "30s",
    output: options.Output = None,
) -> None:
    """Let pods into a slice. Running pods get their interface without a restart."""
    seconds = parse_duration("--timeout", timeout)
    addresses = tuple(parse_address("--ip", text) for text in parse_list(ip or []))
    _check_one_pod(pods or (), name, addresses)
    with connected(ctx) as api:
        named: Sequence[str | None] = pods or (None,)
        chosen = [_who(pod, namespace, labels, cluster or _only_cluster(api, slice_name, pod)) for pod in named]
        common: dict[str, Any] = {"slice": slice_name, "interface": interface, "addresses": addresses, "reason": reason}
        memberships = [Membership(name=name or default_name(slice_name, who), **common, **who) for who in chosen]
        made = _create_all(api, memberships, dry_run=dry_run)
        for membership in memberships if wait_ and not dry_run else ():
            _wait(api, membership, seconds)
    _say_added(made, output, dry_run=dry_run)


def remove(
    ctx: typer.Context,
    slice_name: options.SliceName,
    pod: Pod = None,
    namespace: Namespace = None,
    labels: Labels = None,
    cluster: Cluster = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the membership.", autocompletion=complete.memberships),
    ] = None,
    dry_run: options.DryRun = False,
) -> None:
    """Take a membership away, named as it was added. Its pods lose the interface at once."""
    with connected(ctx) as api:
        rules = [one for one in api.list("memberships") if one["spec"]["slice"] == slice_name]
        found = _matching(rules, slice_name, name=name, pod=pod, namespace=namespace, labels=labels, cluster=cluster)
        for one in found:
            api.delete("memberships", one["spec"]["name"], dry_run=dry_run)
    for one in found:
        verb = "would be removed (dry run)" if dry_run else "removed"
        note(f"member {one['spec']['name']} {verb}: {member_who(one, 0)} of cluster {one['spec']['cluster']}")


def list_(
    ctx: typer.Context,
    slice_name: Annotated[
        str | None, typer.Argument(metavar="SLICE", help="Only of this slice.", autocompletion=complete.slices)
    ] = None,
    output: options.Output = None,
) -> None:
    """Show the memberships."""
    with connected(ctx) as api:
        if slice_name is not None:
            api.get("slices", slice_name)
        rules = [one for one in api.list("memberships") if slice_name in {None, one["spec"]["slice"]}]
    if not rules and output in {None, Format.TABLE, Format.WIDE}:
        note(f"no members{f' of slice {slice_name}' if slice_name else ''}")
        return
    print_resources(MEMBERS, sorted(rules, key=MEMBERS.name_of), output or Format.TABLE, time.time())


def default_name(slice_name: str, who: dict[str, Any]) -> str:
    """A name made of what the rule says, so that the same rule added twice collides with itself."""
    pairs = [part.lower() for pair in who["labels"] for part in pair]
    parts = [slice_name, who["cluster"], who["namespace"], *([who["pod"]] if who["pod"] else pairs)]
    kept = "".join(c if c.isalnum() or c in "-." else "-" for c in "-".join(parts))
    return kept.strip("-.")[:253]


def _who(pod: str | None, namespace: str | None, labels: list[str] | None, cluster: str) -> dict[str, Any]:
    pairs = parse_labels("--labels", labels or [])
    if pod is None:
        if namespace is None:
            cure = "--pod NAMESPACE/POD, --namespace NAMESPACE, or --namespace NAMESPACE --labels KEY=VALUE"
            raise cured(InvalidError("say who becomes a member"), cure)
        return {"cluster": cluster, "namespace": namespace, "pod": None, "labels": pairs}
    if pairs:
        raise InvalidError(f"--pod {pod} already names one pod; leave --labels away")
    of_cluster, of_namespace, name = parse_pod("--pod", pod if namespace is None else f"{namespace}/{pod}")
    if of_cluster not in {None, cluster}:
        raise InvalidError(f"--pod {pod} lies in cluster {of_cluster}, but --cluster says {cluster}")
    return {"cluster": cluster, "namespace": of_namespace, "pod": name, "labels": ()}


def _only_cluster(api: Api, slice_name: str, pod: str | None) -> str:
    """The cluster that the pod's name says, or the only one of the slice."""
    named = parse_pod("--pod", pod)[0] if pod else None
    if named is not None:
        return named
    resource = api.get("slices", slice_name)
    clusters = [one["name"] for one in (resource.get("status") or {}).get("clusters") or ()]
    clusters = clusters or resource["spec"]["clusters"]
    if len(clusters) == 1:
        return str(clusters[0])
    message = f"slice {slice_name} has the clusters {', '.join(clusters) or '(none yet)'}: say which"
    raise cured(InvalidError(message), f"--cluster {clusters[0] if clusters else 'CLUSTER'}")


def _check_one_pod(pods: Sequence[str], name: str | None, addresses: Sequence[object]) -> None:
    """A name, and addresses, are one pod's."""
    if len(pods) > 1 and (name or addresses):
        raise InvalidError(
            f"{'--name' if name else '--ip'} is for one pod, and there are {len(pods)}: add them one by one"
        )
    twice = sorted({pod for pod in pods if pods.count(pod) > 1})
    if twice:
        raise InvalidError(f"--pod {twice[0]} is given twice")


def _create_all(api: Api, memberships: Sequence[Membership], *, dry_run: bool) -> list[Resource]:
    """All of them or, where one would be refused, none."""
    from slicer.client.codec import encode

    fields = [encode(membership) for membership in memberships]
    if len(fields) > 1 and not dry_run:
        _create_all(api, memberships, dry_run=True)
    return [api.create("memberships", one, dry_run=dry_run) for one in fields]


def _wait(api: Api, membership: Membership, timeout_s: float) -> None:
    cure = "is the pod running? the membership stays, the pod is attached as soon as it can be: slicectl status"
    what = f"member {membership.name}"
    wait(lambda: steps(api.list("attachments"), membership), timeout_s, what, cure)


def steps(attachments: list[Resource], membership: Membership) -> list[Step]:
    """Whether at least one pod of the membership has its interface."""
    mine = [one["spec"] for one in attachments if one["spec"].get("membership") == membership.name]
    attached = [one for one in mine if one["state"] == "attached"]
    who = f"pod {membership.namespace}/{membership.pod}" if membership.pod else f"pods of {membership.namespace}"
    places = [f"{one['pod']} has {one['interface']} {text_of(one['addresses'])}" for one in attached]
    reasons = [str(one["message"]) for one in mine if one.get("message")]
    done = bool(attached) and len(attached) == len(mine)
    return [Step(title=f"interface for {who}", done=done, detail="; ".join([*reasons, *places]))]


def _matching(
    rules: list[Resource],
    slice_name: str,
    *,
    name: str | None,
    pod: str | None,
    namespace: str | None,
    labels: list[str] | None,
    cluster: str | None,
) -> list[Resource]:
    if name is None and pod is None and namespace is None:
        raise cured(InvalidError("say which membership"), "--name NAME, or --pod or --namespace as it was added")
    of_cluster = parse_pod("--pod", pod)[0] if pod else None
    place = cluster or of_cluster
    who = {} if name else _who(pod, namespace, labels, place or "")
    found = [
        one
        for one in rules
        if (name is None or one["spec"]["name"] == name)
        and place in {None, one["spec"]["cluster"]}
        and (name is not None or _same(one["spec"], who))
    ]
    if not found:
        raise cured(NotFoundError(f"slice {slice_name} has no such member"), f"slicectl member list {slice_name}")
    if len(found) > 1:
        clusters = ", ".join(one["spec"]["cluster"] for one in found)
        raise cured(InvalidError(f"there are such members in the clusters {clusters}: say which"), "--cluster CLUSTER")
    return found


def _same(spec: dict[str, Any], who: dict[str, Any]) -> bool:
    return (spec["namespace"], spec.get("pod"), spec.get("labels") or {}) == (
        who["namespace"],
        who["pod"],
        dict(who["labels"]),
    )


def _say_added(made: list[Resource], output: Format | None, *, dry_run: bool) -> None:
    if output is not None:
        print_resources(MEMBERS, made, output, time.time(), one=len(made) == 1)
        return
    verb = "would be added (dry run)" if dry_run else "added"
    for one in made:
        spec = one["spec"]
        place = f"of cluster {spec['cluster']} in slice {spec['slice']}"
        note(f"member {spec['name']} {verb}: {member_who(one, 0)} {place}")
