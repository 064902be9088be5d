"""Pods and namespaces as they ask for slices: what follows from their annotations. Pure.

slicer.io/slices on a pod that went through the webhook       the Multus annotation says the same: CNI attaches it
… on a pod that did not (webhook away, annotated later)       a membership for that pod: the agent attaches it live
… on a namespace                                              a membership for the namespace
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slicer.client.codec import decode, encode
from slicer.client.marks import ATTACHMENTS
from slicer.model.attachments import AddressWish, Attachment, AttachmentState, PathHealth
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import InvalidError
from slicer.model.names import parse_address
from slicer.model.slices import ADDRESSES_RULE, MAC_RULE, Bandwidth, Membership, SliceState
from slicer.plan.pods import (
    NETWORK_PREFIX,
    NETWORKS,
    SLICES,
    network_name,
    parse_networks,
    parse_slices,
    pod_name,
    pod_namespace,
)
from slicer.plan.status import Condition
from slicer.plan.validation import NAMESPACE_PREFIX, POD_PREFIX
from slicer.plan.views import clusters_of

CONNECTED = "slicer.io/connected"
"""Readiness gate: true once the pod is attached everywhere and packets pass from its node."""
GATE = "slicer.io/readiness-gate"
"""Annotation `"true"`: the webhook adds that gate."""
_SYSTEM, _DNS_LABEL = "kube-system", "k8s-app"
_DNS = frozenset({"kube-dns", "node-local-dns"})
"""Labels of cluster DNS: kubeadm's, and the distributions' after it, for CoreDNS; NodeLocal DNSCache's own."""
_FINISHED = frozenset({"Succeeded", "Failed"})
Json = dict[str, Any]
Path = tuple[str, str, str]
"""(slice, cluster, node)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One slice that a pod or namespace asks for by annotation."""

    slice: str
    interface: str | None = None
    addresses: tuple[str, ...] = ()
    mac: str | None = None
    bandwidth: Bandwidth | None = None


def slim_pod(pod: Json) -> Json | None:
    """What has to be remembered of a pod; None for one that has nothing to do with us."""
    annotations = pod["metadata"].get("annotations") or {}
    ours = {key: annotations[key] for key in (SLICES, NETWORKS, ATTACHMENTS) if key in annotations}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    resolver = resolver_addresses(pod)
    if not resolver and not (SLICES in ours or NETWORK_PREFIX in ours.get(NETWORKS, "") or ATTACHMENTS in ours):
        return None
    kept = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")
    metadata = {key: pod["metadata"][key] for key in kept if key in pod["metadata"]}
    conditions = [one for one in pod.get("status", {}).get("conditions") or [] if one["type"] == CONNECTED]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": ours},
        "spec": {"nodeName": pod["spec"].get("nodeName", ""), "gated": CONNECTED in gates},
        "status": {"phase": pod.get("status", {}).get("phase", ""), "conditions": conditions},
        **({"resolver": resolver} if resolver else {}),
    }


def resolver_addresses(pod: Json) -> list[str]:
    """The pod's addresses if it is of the cluster's own DNS; with the node's network those are the node's."""
    metadata = pod["metadata"]
    if metadata.get("namespace") != _SYSTEM or (metadata.get("labels") or {}).get(_DNS_LABEL) not in _DNS:
        return []
    return [one["ip"] for one in pod.get("status", {}).get("podIPs") or []]


def slim_namespace(namespace: Json) -> Json | None:
    """What has to be remembered of a namespace; None for one that asks for nothing."""
    annotations = namespace["metadata"].get("annotations") or {}
    if SLICES not in annotations:
        return None
    kept = ("name", "uid", "resourceVersion", "deletionTimestamp")
    metadata = {key: namespace["metadata"][key] for key in kept if key in namespace["metadata"]}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {**metadata, "annotations": {SLICES: annotations[SLICES]}},
    }


def is_over(pod: Json) -> bool:
    """Whether the pod has ended, for good."""
    return pod["status"]["phase"] in _FINISHED


def is_ending(object_: Json) -> bool:
    """Whether the pod or namespace was deleted and is on its way out."""
    return "deletionTimestamp" in object_["metadata"]


def wishes(annotations: Json, namespace: str, who: str) -> list[Wish]:
    """What `slicer.io/slices` asks for; InvalidError if it cannot be read."""
    text = annotations.get(SLICES, "")
    if not text.strip():
        return []
    return [
        Wish(
            slice=element["name"].removeprefix(NETWORK_PREFIX),
            interface=element.get("interface"),
            addresses=tuple(ip.partition("/")[0] for ip in element.get("ips", [])),
            mac=element.get("mac"),
            bandwidth=_parse_bandwidth(element.get("bandwidth") or {}),
        )
        for element in parse_slices(text, namespace, who)
    ]


def slices_of(pod: Json) -> set[str]:
    """The slices that a pod asks for, by our annotation or by Multus'; nothing of what cannot be read."""
    annotations, namespace, who = pod["metadata"].get("annotations") or {}, pod_namespace(pod), pod_name(pod)
    found: set[str] = set()
    with suppress(InvalidError):
        found |= {wish.slice for wish in wishes(annotations, namespace, who)}
    return found | _by_multus(annotations, namespace, who)


def membership_start(object_: Json, cluster: str) -> str:
    """How the names begin of the memberships that a pod or namespace declares; the slice's name follows."""
    metadata = object_["metadata"]
    if object_["kind"] == "Pod":
        return f"{POD_PREFIX}{cluster}.{metadata['uid']}."
    return f"{NAMESPACE_PREFIX}{cluster}.{metadata['name']}."


def live_memberships(pod: Json, cluster: str) -> list[Membership]:
    """The memberships of a pod whose Multus annotation does not have what it asks for; InvalidError as `wishes`."""
    annotations, namespace, who = pod["metadata"]["annotations"], pod_namespace(pod), pod_name(pod)
    present = _by_multus(annotations, namespace, who)
    missing = [wish for wish in wishes(annotations, namespace, who) if wish.slice not in present]
    place = {"cluster": cluster, "namespace": namespace, "declared_in": cluster, "pod": pod["metadata"]["name"]}
    return [
        decode(
            Membership,
            {
                **place,
                "name": membership_start(pod, cluster) + wish.slice,
                "slice": wish.slice,
                "interface": wish.interface,
                "addresses": list(wish.addresses),
                "mac": wish.mac,
                "bandwidth": wish.bandwidth and encode(wish.bandwidth),
                "reason": f"annotation {SLICES} of the pod",
            },
        )
        for wish in missing
    ]


def namespace_memberships(namespace: Json, cluster: str) -> list[Membership]:
    """The memberships of a namespace; InvalidError for wishes that only one pod could have. Rates are each pod's."""
    name = namespace["metadata"]["name"]
    wanted = wishes(namespace["metadata"]["annotations"], name, f"{name}/*")
    if any(wish.addresses for wish in wanted):
        raise InvalidError(f"namespace {name!r}: {SLICES} {ADDRESSES_RULE}")
    if any(wish.mac for wish in wanted):
        raise InvalidError(f"namespace {name!r}: {SLICES} {MAC_RULE}")
    place = {"cluster": cluster, "namespace": name, "declared_in": cluster}
    reason = f"annotation {SLICES} of the namespace"
    return [
        decode(
            Membership,
            {
                **place,
                "name": membership_start(namespace, cluster) + wish.slice,
                "slice": wish.slice,
                "interface": wish.interface,
                "bandwidth": wish.bandwidth and encode(wish.bandwidth),
                "reason": reason,
            },
        )
        for wish in wanted
    ]


def address_wishes(pod: Json, cluster: str) -> list[AddressWish]:
    """Fixed addresses that the pod asks Multus for, so that they are granted before it is attached."""
    who = {"cluster": cluster, "namespace": pod_namespace(pod), "pod": pod["metadata"]["name"]}
    return [
        AddressWish(slice=name.removeprefix(NETWORK_PREFIX), addresses=tuple(addresses), **who)
        for name, element in _networks(pod["metadata"].get("annotations") or {}, who["namespace"], pod_name(pod))
        if (addresses := [parse_address("address", ip.partition("/")[0]) for ip in element.get("ips", [])])
    ]


def needed_networks(pods: Iterable[Json]) -> set[tuple[str, str]]:
    """(namespace, slice) for which a NetworkAttachmentDefinition has to be there."""
    living = (pod for pod in pods if not is_over(pod) and not is_ending(pod))
    return {(pod_namespace(pod), slice_) for pod in living for slice_ in slices_of(pod)}


def render_attachments(attachments: Sequence[Attachment]) -> str:
    """The annotation's text for what one pod has."""
    elements = [
        {
            "slice": one.slice,
            "interface": one.interface,
            "ips": [str(address) for address in one.addresses],
            "mac": one.mac,
            "state": one.state.value,
            **({"message": one.message} if one.message else {}),
        }
        for one in sorted(attachments, key=lambda one: (one.slice, one.interface))
    ]
    return json.dumps(elements, separators=(",", ":"))


def attachments_by_pod(documents: Documents, cluster: str) -> dict[tuple[str, str], list[Attachment]]:
    """What each pod of the cluster has, by (namespace, pod)."""
    found: dict[tuple[str, str], list[Attachment]] = {}
    for one in of_kind(documents, Attachment):
        if one.cluster == cluster:
            found.setdefault((one.namespace, one.pod), []).append(one)
    return found


def living_paths(documents: Documents) -> frozenset[Path]:
    """From where packets pass to another cluster."""
    return frozenset((one.slice, one.cluster, one.node) for one in of_kind(documents, PathHealth) if one.up)


def connected(pod: Json, attachments: Sequence[Attachment], documents: Documents, paths: Collection[Path]) -> Condition:
    """Whether the pod is attached to all that it asks for, and packets pass from its node (`living_paths`)."""
    up = {one.slice: one for one in attachments if one.state is AttachmentState.ATTACHED}
    missing = sorted(slices_of(pod) - up.keys())
    if missing or not up:
        message = f"not attached to slice {', '.join(missing)}" if missing else "not attached to any slice"
        return Condition(type=CONNECTED, status=False, reason="NotAttached", message=message)
    for name, one in sorted(up.items()):
        if not _passes(one, documents, paths):
            message = f"no packet has passed from node {one.node} over slice {name} yet"
            return Condition(type=CONNECTED, status=False, reason="NoPath", message=message)
    return Condition(type=CONNECTED, status=True, reason="Connected")


def _passes(attachment: Attachment, documents: Documents, paths: Collection[Path]) -> bool:
    """A cluster that the slice links with no other needs no path; otherwise the node has measured one."""
    state = documents.get(f"slice/{attachment.slice}")
    if not isinstance(state, SliceState):
        return True
    if not any(state.spec.is_linked(attachment.cluster, other) for other in clusters_of(state, documents)):
        return True
    return (attachment.slice, attachment.cluster, attachment.node) in paths


def _parse_bandwidth(rates: Json) -> Bandwidth | None:
    """Multus' four integers, of which 0 means unset."""
    names = {"ingressRate": "ingress_bps", "ingressBurst": "ingress_burst_bits"}
    names |= {"egressRate": "egress_bps", "egressBurst": "egress_burst_bits"}
    given = {names[key]: number for key, number in rates.items() if number}
    return Bandwidth(**given) if given else None


def _by_multus(annotations: Json, namespace: str, who: str) -> set[str]:
    return {name.removeprefix(NETWORK_PREFIX) for name, _ in _networks(annotations, namespace, who)}


def _networks(annotations: Json, namespace: str, who: str) -> Iterator[tuple[str, Json]]:
    """Our networks in Multus' annotation, by name; nothing of one that cannot be read."""
    try:
        elements = parse_networks(annotations.get(NETWORKS, ""), who)
    except InvalidError:
        return
    for element in elements:
        name = str(element["name"])
        own = element.get("namespace", namespace) == namespace
        if own and name.startswith(NETWORK_PREFIX) and name == network_name(name.removeprefix(NETWORK_PREFIX)):
            yield name, element
