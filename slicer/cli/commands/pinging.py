"""`ping`: echo requests from a pod's slice interface, sent by the agent of its node."""

from __future__ import annotations

import secrets
import statistics
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicer.cli import complete, options
from slicer.cli.columns import endpoint_sets
from slicer.cli.connection import connected
from slicer.cli.errors import WaitTimeoutError, cured
from slicer.cli.kinds import Resource
from slicer.cli.output import Format, dump_json, dump_yaml, note
from slicer.cli.progress import POLL_S
from slicer.cli.quantities import format_rtt, parse_duration
from slicer.cli.words import parse_pod
from slicer.model.attachments import Ping
from slicer.model.errors import InvalidError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from slicer.client.rest import Api


def ping(
    ctx: typer.Context,
    slice_name: options.SliceName,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Address, CLUSTER/NS/POD, service NS/NAME, or its DNS name.",
            autocompletion=complete.pods,
        ),
    ],
    source: Annotated[
        str,
        typer.Option("--from", metavar="CLUSTER/NS/POD", help="The pod that asks.", autocompletion=complete.pods),
    ],
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="Echo requests, 1 to 100.")] = 3,
    timeout: options.Timeout = "30s",
    output: options.Output = None,
) -> None:
    """Ping from a pod over its slice interface. Exit code 7 if nobody answers."""
    seconds = parse_duration("--timeout", timeout)
    with connected(ctx) as api:
        attachments = [one["spec"] for one in api.list("attachments", slice=slice_name)]
        asker = find_pod(attachments, source, slice_name)
        address = resolve(target, asker, attachments, [one for one in api.list("exports") if _on(one, slice_name)])
        wanted = Ping(
            id=secrets.token_hex(8),
            cluster=asker["cluster"],
            namespace=asker["namespace"],
            pod=asker["pod"],
            slice=slice_name,
            target=address,
            count=count,
        )
        result = _run(api, wanted, seconds)
    _print_result(wanted, target, result, output)


def find_pod(attachments: list[dict[str, Any]], text: str, slice_name: str) -> dict[str, Any]:
    """The one attachment that `text` means; errors list what there is."""
    cluster, namespace, name = parse_pod("pod", text)
    found = [
        one
        for one in attachments
        if (one["namespace"], one["pod"]) == (namespace, name) and cluster in {None, one["cluster"]}
    ]
    if not found:
        error = NotFoundError(f"no pod {text!r} is attached to slice {slice_name}")
        raise cured(error, f"slicectl get attachments --slice {slice_name} lists them")
    if len({one["cluster"] for one in found}) > 1:
        names = ", ".join(f"{one['cluster']}/{namespace}/{name}" for one in found)
        raise InvalidError(f"{text!r} is one of {names}: say which")
    return found[0]


def resolve(target: str, asker: dict[str, Any], attachments: list[dict[str, Any]], exports: list[Resource]) -> str:
    """The address that `target` means, of a family that the asking pod has."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(target))
    except ValueError:
        pass
    families = {ipaddress.ip_address(text).version for text in asker["addresses"]}
    for address in (*_service_addresses(target, exports), *_pod_addresses(target, attachments)):
        if ipaddress.ip_address(address).version in families:
            return address
    error = NotFoundError(f"{target!r} is no address, attached pod or service with endpoints of slice {asker['slice']}")
    raise cured(error, f"slicectl describe slice {asker['slice']} lists its pods and services")


def _service_addresses(target: str, exports: list[Resource]) -> list[str]:
    """Addresses behind `ns/name`, `name.ns` or the whole DNS name."""
    labels = target.split("/")[::-1] if "/" in target else target.split(".")
    wanted = tuple(labels[:2]) if len(labels) > 1 else (target, "default")
    found = [one for one in exports if (one["spec"]["name"], one["spec"]["namespace"]) == wanted]
    endpoints = [end for one in found for _, ends in endpoint_sets(one) for end in ends if end.get("ready", True)]
    return [str(address) for end in endpoints for address in end["addresses"]]


def _pod_addresses(target: str, attachments: list[dict[str, Any]]) -> list[str]:
    if target.count("/") > 2 or not all(target.split("/")):
        return []
    cluster, namespace, name = parse_pod("target", target)
    found = [one for one in attachments if (one["namespace"], one["pod"]) == (namespace, name)]
    return [str(address) for one in found if cluster in {None, one["cluster"]} for address in one["addresses"]]


def _on(export: Resource, slice_name: str) -> bool:
    return bool(export["spec"]["slice"] == slice_name)


def _run(api: Api, wanted: Ping, timeout_s: float) -> dict[str, Any]:
    """The result that the agent reports; the document is removed whatever happens."""
    from slicer.client.codec import encode

    made = api.create("pings", encode(wanted))
    id_ = str(made["spec"].get("id") or wanted.id)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            status = api.get("pings", id_).get("status") or {}
            if "received" in status:
                return dict(status)
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
    finally:
        api.delete("pings", id_)
    error = WaitTimeoutError(f"the agent of pod {wanted.cluster}/{wanted.namespace}/{wanted.pod} has not answered")
    raise cured(error, "is its cluster connected? slicectl status")


def summary(result: dict[str, Any]) -> list[str]:
    """The result in lines, as ping(8) sums up."""
    sent, received, rtts = result["sent"], result["received"], sorted(result.get("rtts_us") or ())
    loss = f"{100 * (sent - received) / sent:.0f} % lost" if sent else "nothing sent"
    lines = [f"{sent} sent, {received} received, {loss}"]
    if rtts:
        low, middle, high = rtts[0], round(statistics.median(rtts)), rtts[-1]
        lines.append(f"round trip: least {format_rtt(low)}, median {format_rtt(middle)}, most {format_rtt(high)}")
    return lines


def _print_result(wanted: Ping, target: str, result: dict[str, Any], output: Format | None) -> None:
    if output in {Format.JSON, Format.YAML}:
        print(dump_json(result) if output is Format.JSON else dump_yaml(result))
    else:
        via = "" if target == wanted.target else f" ({wanted.target})"
        print(f"{wanted.cluster}/{wanted.namespace}/{wanted.pod} → {target}{via} over slice {wanted.slice}")
        for line in summary(result):
            print(line)
    if result.get("error"):
        raise UnavailableError(f"node {result.get('node') or 'unknown'}: {result['error']}")
    if not result["received"]:
        raise cured(UnavailableError(f"{target} does not answer"), "slicectl status")
    if result["received"] < result["sent"]:
        note("some echo requests were lost")
