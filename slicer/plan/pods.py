"""Pods as they ask for slices, and what Multus makes of them. Pure; webhook and lab call the same functions.

    slicer.io/slices (on a pod) → k8s.v1.cni.cncf.io/networks → attach requests → stdin and CNI_ARGS of a plugin call

One rule for names: the NetworkAttachmentDefinition of slice `red` is called `slicer-red` and lies in the pod's own
namespace, so that Multus' namespace isolation never stands in the way.
Multus' forms are those of the NPWG multi-network specification v1.3 and of Multus 4.3.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.model.errors import InvalidError
from slicer.model.names import check_interface_name, check_label, check_mac, check_subdomain, parse_address
from slicer.model.slices import Bandwidth

SLICES = "slicer.io/slices"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
NETWORK_PREFIX = "slicer-"
CNI_VERSION = "1.1.0"
_RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
_ELEMENT_KEYS = {
    "name",
    "namespace",
    "interface",
    "ips",
    "mac",
    "bandwidth",
    "portMappings",
    "default-route",
    "cni-args",
    "infiniband-guid",
    "ipam-claim-reference",
}
_SLICE_KEYS = {"slice", "interface", "ips", "mac", "bandwidth"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRequest:
    """One element of Multus' networks annotation, resolved: what one plugin call is made from."""

    namespace: str
    """Of the NetworkAttachmentDefinition."""
    name: str
    interface: str
    ips: tuple[str, ...] = ()
    """As written, with or without a prefix length."""
    mac: str = ""
    bandwidth: tuple[tuple[str, int], ...] = ()
    """All four of Multus' integers (0 = unset), or nothing."""
    cni_args: tuple[tuple[str, Any], ...] = ()
    """Free JSON values, by key; see `args.cni` in CNI's conventions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentity:
    """Who a plugin call is made for."""

    namespace: str
    name: str
    uid: str
    container_id: str


def expand_pod(pod: Json) -> Json:
    """The pod with its `slicer.io/slices` turned into Multus' annotation; the same pod if it asks for no slice.

    What the pod already asks of Multus stays, in its place. Expanding twice changes nothing: a slice whose network
    stands there already is not added again, and refused if it stands there with other wishes.
    """
    annotations = pod.get("metadata", {}).get("annotations") or {}
    text = annotations.get(SLICES, "")
    if not text.strip():
        return pod
    who = pod_name(pod)
    namespace = pod_namespace(pod)
    present = parse_networks(annotations.get(NETWORKS, ""), who)
    wanted = parse_slices(text, namespace, who)
    added = [element for element in wanted if not _stands_there(element, present, namespace, who)]
    expanded = copy.deepcopy(pod)
    merged = [*present, *added]
    _check_interfaces(merged, who)
    expanded["metadata"]["annotations"][NETWORKS] = json.dumps(merged, separators=(",", ":"))
    return expanded


def parse_slices(text: str, namespace: str, who: str) -> list[Json]:
    """`slicer.io/slices` as elements of Multus' annotation.

    Either `red,blue@net5`, or a JSON list of objects with slice, interface, ips, mac, bandwidth.
    """
    if _is_json(text):
        elements = [_slice_element(item, namespace, who) for item in _json_list(text, SLICES, who)]
    else:
        elements = [_slice_word(word, namespace, who) for word in _words(text, SLICES, who)]
    names = [element["name"] for element in elements]
    for name in names:
        if names.count(name) > 1:
            slice_ = name.removeprefix(NETWORK_PREFIX)
            raise InvalidError(f"pod {who}: {SLICES} {text!r} names slice {slice_!r} twice")
    return elements


def parse_networks(text: str, who: str) -> list[Json]:
    """Multus' annotation as a list of its JSON elements, whichever form it has; nothing is resolved yet."""
    if not text.strip():
        return []
    if not _is_json(text):
        return [_network_word(word, who) for word in _words(text, NETWORKS, who)]
    elements = _json_list(text, NETWORKS, who)
    for element in elements:
        _check_network(element, who)
    return elements


def plan_attachments(pod: Json) -> tuple[AttachRequest, ...]:
    """The plugin calls that Multus makes for the pod, in order; `net<N>` (from 1) where no interface is named."""
    who, namespace = pod_name(pod), pod_namespace(pod)
    text = (pod.get("metadata", {}).get("annotations") or {}).get(NETWORKS, "")
    elements = parse_networks(text, who)
    _check_interfaces(elements, who)
    return tuple(_request(element, namespace, position) for position, element in enumerate(elements, start=1))


def network_name(slice_: str) -> str:
    """The name of a slice's NetworkAttachmentDefinition."""
    return NETWORK_PREFIX + slice_


def render_network(slice_: str, namespace: str) -> Json:
    """The NetworkAttachmentDefinition of a slice in one namespace."""
    config = {
        "cniVersion": CNI_VERSION,
        "name": network_name(slice_),
        "type": "slicer",
        "capabilities": {"ips": True, "mac": True, "bandwidth": True},
        "slicer": {"slice": slice_},
    }
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": network_name(slice_), "namespace": namespace},
        "spec": {"config": json.dumps(config)},
    }


def network_config(network: Json) -> Json:
    """The CNI configuration in a NetworkAttachmentDefinition, with its name filled in where it has none."""
    name = network["metadata"]["name"]
    where = f"{network['metadata'].get('namespace', 'default')}/{name}"
    try:
        config = json.loads(network["spec"]["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"NetworkAttachmentDefinition {where}: spec.config is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise InvalidError(f"NetworkAttachmentDefinition {where}: spec.config is not a JSON object")
    return {**config, "name": config.get("name") or name}


def render_stdin(config: Json, request: AttachRequest) -> Json:
    """The configuration that one plugin reads: `args.cni`, and `runtimeConfig` limited to the capabilities it declares.

    `capabilities` stays in, as libcni leaves it (STANDARDS: CNI 1.1.0, "Network configuration format").
    """
    stdin = copy.deepcopy(config)
    if request.cni_args:
        stdin.setdefault("args", {}).setdefault("cni", {}).update(dict(request.cni_args))
    offered = {"ips": list(request.ips), "mac": request.mac, "bandwidth": dict(request.bandwidth)}
    declared = config.get("capabilities") or {}
    runtime = {key: value for key, value in offered.items() if value and declared.get(key)}
    if runtime:
        stdin["runtimeConfig"] = runtime
    return stdin


def render_environment(command: str, pod: PodIdentity, request: AttachRequest, netns: str, path: str) -> dict[str, str]:
    """The `CNI_*` variables of one plugin call, all of them, unused ones empty (as libcni sets them)."""
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": netns,
        "CNI_IFNAME": request.interface,
        "CNI_ARGS": render_cni_args(pod, request),
        "CNI_PATH": path,
    }


def render_cni_args(pod: PodIdentity, request: AttachRequest) -> str:
    """`CNI_ARGS` as Multus writes them; MAC and IP (a comma list) only when asked for."""
    pairs = {
        "IgnoreUnknown": "true",
        "K8S_POD_NAMESPACE": pod.namespace,
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": pod.container_id,
        "K8S_POD_UID": pod.uid,
    }
    if request.mac:
        pairs["MAC"] = request.mac
    if request.ips:
        pairs["IP"] = ",".join(request.ips)
    return ";".join(f"{key}={value}" for key, value in pairs.items())


def render_network_status(entries: Sequence[Mapping[str, Any]]) -> str:
    """Multus' network-status annotation, to the byte: `[`, each element indented by four, joined by `,`, `]`."""
    return "[" + ",".join(json.dumps(entry, indent=4) for entry in entries) + "]"


def status_entries(network: str, result: Json, *, default: bool = False) -> list[Json]:
    """The elements of network-status for one result: one for each interface in the pod, bare addresses."""
    interfaces = result.get("interfaces") or []
    inside = [number for number, interface in enumerate(interfaces) if interface.get("sandbox")]
    entries = []
    for number in inside:
        interface = interfaces[number]
        # Addresses that name no interface go to the last one, as in Multus.
        ips = [
            ip["address"].partition("/")[0]
            for ip in result.get("ips") or []
            if ip.get("interface", inside[-1]) == number
        ]
        entry: Json = {"name": network, "interface": interface["name"]}
        entry |= {"ips": ips} if ips else {}
        entry |= {key: interface[key] for key in ("mac", "mtu") if interface.get(key)}
        entry |= {"default": True} if default else {}
        entries.append({**entry, "dns": result.get("dns") or {}})
    return entries


def pod_name(pod: Json) -> str:
    """`namespace/name`, for messages; generateName where there is no name yet."""
    metadata = pod.get("metadata", {})
    name = metadata.get("name") or f"{metadata.get('generateName', '')}*"
    return f"{pod_namespace(pod)}/{name}"


def pod_namespace(pod: Json) -> str:
    """The pod's namespace; `default` where the manifest names none."""
    return str(pod.get("metadata", {}).get("namespace") or "default")


def _is_json(text: str) -> bool:
    return any(mark in text for mark in '[{"')


def _words(text: str, annotation: str, who: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise InvalidError(f"pod {who}: {annotation} {text!r} has an empty element")
    return words


def _json_list(text: str, annotation: str, who: str) -> list[Json]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidError(f"pod {who}: {annotation} {text!r} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidError(f"pod {who}: {annotation} is nested too deeply") from None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidError(f"pod {who}: {annotation} {text!r} is not a JSON list of objects")
    return value


def _slice_word(word: str, namespace: str, who: str) -> Json:
    slice_, at, interface = word.partition("@")
    element: Json = {"slice": slice_}
    if at:
        element["interface"] = interface
    return _slice_element(element, namespace, who)


def _slice_element(item: Json, namespace: str, who: str) -> Json:
    unknown = sorted(set(item) - _SLICE_KEYS)
    if unknown:
        raise InvalidError(f"pod {who}: {SLICES} has the unknown key {unknown[0]!r} in {json.dumps(item)}")
    slice_ = item.get("slice")
    if not isinstance(slice_, str):
        raise InvalidError(f"pod {who}: {SLICES} names no slice in {json.dumps(item)}")
    _named(who, SLICES, check_label, "slice name", slice_)
    element: Json = {"name": network_name(slice_), "namespace": namespace}
    element |= {key: item[key] for key in ("interface", "ips", "mac", "bandwidth") if key in item}
    if "bandwidth" in element:
        element["bandwidth"] = _bandwidth(element["bandwidth"], SLICES, who)
    _check_wishes(element, SLICES, who)
    return element


def _network_word(word: str, who: str) -> Json:
    """`[<namespace>/]<name>[@<interface>]`."""
    rest, at, interface = word.partition("@")
    namespace, slash, name = rest.rpartition("/")
    element: Json = {"name": name}
    if slash:
        element["namespace"] = namespace
    if at:
        element["interface"] = interface
    _check_network(element, who)
    return element


def _check_network(element: Json, who: str) -> None:
    unknown = sorted(set(element) - _ELEMENT_KEYS)
    if unknown:
        raise InvalidError(f"pod {who}: {NETWORKS} has the unknown key {unknown[0]!r} in {json.dumps(element)}")
    if not isinstance(element.get("name"), str):
        raise InvalidError(f"pod {who}: {NETWORKS} names no network in {json.dumps(element)}")
    _named(who, NETWORKS, _check_network_name, "network name", element["name"])
    if "namespace" in element:
        _named(who, NETWORKS, check_label, "namespace", element["namespace"])
    if "bandwidth" in element:
        element["bandwidth"] = _bandwidth(element["bandwidth"], NETWORKS, who)
    _check_wishes(element, NETWORKS, who)


def _check_network_name(what: str, text: str) -> None:
    """Multus' rule: a DNS label, but of any length that Kubernetes takes."""
    check_subdomain(what, text)
    if "." in text:
        raise InvalidError(f"{what} {text!r} has a dot; Multus takes a-z, 0-9 and '-'")


def _check_wishes(element: Json, annotation: str, who: str) -> None:
    if "interface" in element:
        _named(who, annotation, lambda _, text: check_interface_name(text), "", element["interface"])
    if "mac" in element:
        _named(who, annotation, lambda _, text: check_mac(text), "", element["mac"])
    ips = element.get("ips", [])
    if not isinstance(ips, list):
        raise InvalidError(f"pod {who}: {annotation}: ips {json.dumps(ips)} is not a list")
    for ip in ips:
        _named(who, annotation, lambda _, text: parse_address("address", text.partition("/")[0]), "", ip)


def _named(who: str, annotation: str, check: Any, what: str, text: Any) -> None:
    """Run a check of the model; its message then also names the pod and the annotation."""
    if not isinstance(text, str):
        raise InvalidError(f"pod {who}: {annotation}: {json.dumps(text)} is not a text")
    try:
        check(what, text)
    except InvalidError as error:
        raise InvalidError(f"pod {who}: {annotation}: {error.message}") from None


def _bandwidth(value: Any, annotation: str, who: str) -> Json:
    """All four integers of Multus' struct, in bit/s and bit; 0 means unset."""
    if not isinstance(value, dict) or set(value) - set(_RATES):
        keys = ", ".join(_RATES)
        raise InvalidError(f"pod {who}: {annotation}: bandwidth {json.dumps(value)} may have only {keys}")
    for key, number in value.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InvalidError(f"pod {who}: {annotation}: {key} {json.dumps(number)} is not a number of bits")
    full = {key: value.get(key, 0) for key in _RATES}
    try:
        Bandwidth(ingress_bps=full["ingressRate"] or None, egress_bps=full["egressRate"] or None)
    except InvalidError as error:
        raise InvalidError(f"pod {who}: {annotation}: bandwidth: {error.message}") from None
    return full


def _stands_there(element: Json, present: Sequence[Json], namespace: str, who: str) -> bool:
    for other in present:
        if other["name"] != element["name"] or other.get("namespace", namespace) != namespace:
            continue
        if any(other.get(key) != element[key] for key in element if key not in {"name", "namespace"}):
            slice_ = element["name"].removeprefix(NETWORK_PREFIX)
            raise InvalidError(f"pod {who}: {SLICES} and {NETWORKS} ask for slice {slice_!r} with different wishes")
        return True
    return False


def _check_interfaces(elements: Sequence[Json], who: str) -> None:
    taken = {"eth0": "the primary network"}
    for position, element in enumerate(elements, start=1):
        interface = element.get("interface") or f"net{position}"
        if interface in taken:
            raise InvalidError(
                f"pod {who}: interface {interface!r} is asked for by {taken[interface]} and {element['name']}"
            )
        taken[interface] = element["name"]


def _request(element: Json, namespace: str, position: int) -> AttachRequest:
    return AttachRequest(
        namespace=element.get("namespace") or namespace,
        name=element["name"],
        interface=element.get("interface") or f"net{position}",
        ips=tuple(element.get("ips", ())),
        mac=element.get("mac", ""),
        bandwidth=tuple((element.get("bandwidth") or {}).items()),
        cni_args=tuple((element.get("cni-args") or {}).items()),
    )
