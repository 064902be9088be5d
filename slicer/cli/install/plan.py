"""What is applied to a cluster, from what the user asked and what the cluster is like. Reads manifests, asks nobody."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from slicer.cli.install import manifests
from slicer.cli.install.manifests import Object, Patch
from slicer.client.marks import JOIN_SECRET, NAMESPACE

INSIDE = f"https://slicer-controller.{NAMESPACE}.svc:7443"
HUB_PORT = 7443
FIRST = ("Namespace", "CustomResourceDefinition")
LATE = frozenset({("DaemonSet", "slicer-agent"), ("Deployment", "slicer-dns")})
"""They mount what the controller makes: its CA."""
PLATFORMS = ("gke", "openshift")
INSTALLATION = "slicer.io/installation"
"""Annotation of ConfigMap slicer: what this installation was given."""
FOUND = "found_cidrs"
"""Field of a wish that is not remembered."""
SERVICES = ("node-port", "load-balancer", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one installation is to be."""

    cluster: str
    hub: bool = False
    service: str = "node-port"
    """How the other clusters reach a hub: one of SERVICES."""
    port: int = 30443
    """Of the nodes, for `node-port`."""
    platform: str = ""
    registry: str = "slicer.io"
    tag: str = ""
    """Of the images; empty: this version's."""
    cidrs: tuple[str, ...] = ()
    """The cluster's own ranges; empty: those that are found."""
    found_cidrs: tuple[str, ...] = ()
    """What the cluster says that its ranges are: looked up by each installation, so never remembered."""
    resolvers: tuple[str, ...] = ()
    advertise: str = INSIDE
    """Of a hub the URL that join tokens hold: once found out or given it stays, because members dial it."""
    cluster_dns: bool = True
    """Whether the cluster's own DNS is told of the slices' zone."""
    agent_flags: tuple[str, ...] = ()


def render(wish: Wish, where: Path | None = None) -> list[Object]:
    """All objects of the installation, in the order in which they are applied."""
    root = where or manifests.directory()
    objects = manifests.build(root / "base", [root / "components" / name for name in _components(wish)], _patches(wish))
    for container in manifests.containers(objects):
        container["image"] = image(container["image"], wish)
    return sorted(objects, key=_order)


def image(name: str, wish: Wish) -> str:
    """The image's name with the wished registry and tag."""
    path, _, tag = name.rpartition(":")
    return f"{wish.registry}/{path.rpartition('/')[2]}:{wish.tag or tag}"


def early(objects: Iterable[Object]) -> list[Object]:
    """What the controller needs."""
    return [found for found in objects if (found["kind"], found["metadata"]["name"]) not in LATE]


def late(objects: Iterable[Object]) -> list[Object]:
    """What needs the controller."""
    return [found for found in objects if (found["kind"], found["metadata"]["name"]) in LATE]


def join_secret(token: str) -> Object:
    """Where the controller of a member finds the hub's join token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": JOIN_SECRET, "namespace": NAMESPACE},
        "stringData": {"token": token},
    }


def cidrs_of(nodes: Sequence[Object], service_cidrs: Sequence[Object], dns: Sequence[Object]) -> tuple[str, ...]:
    """The ranges that are the cluster's own, as far as it says: pods, Services, nodes."""
    found = {cidr for node in nodes for cidr in node.get("spec", {}).get("podCIDRs", ())}
    found |= {cidr for one in service_cidrs for cidr in one.get("spec", {}).get("cidrs", ())}
    if not service_cidrs:  # before Kubernetes 1.33: at least the address that every pod asks
        found |= {_host(service["spec"]["clusterIP"]) for service in dns if service["spec"].get("clusterIP") != "None"}
    found |= {_host(address) for node in nodes for address in addresses(node, "InternalIP")}
    return tuple(sorted(found))


def addresses(node: Object, kind: str) -> list[str]:
    """The node's addresses of a kind (InternalIP, ExternalIP)."""
    return [one["address"] for one in node.get("status", {}).get("addresses", ()) if one["type"] == kind]


def condition(found: Object, kind: str) -> str:
    """`True`, `False` or `Unknown`: how the object's condition of this kind is; empty if nothing is said of it."""
    conditions = found.get("status", {}).get("conditions", ())
    return next((str(one["status"]) for one in conditions if one["type"] == kind), "")


def node_address(nodes: Sequence[Object]) -> str | None:
    """An address at which other clusters may reach a port of the nodes: an external one where there is any."""
    for kind in ("ExternalIP", "InternalIP"):
        for node in sorted(nodes, key=_readiest):
            for address in addresses(node, kind):
                return address
    return None


def _readiest(node: Object) -> tuple[bool, str]:
    return condition(node, "Ready") != "True", str(node["metadata"]["name"])


def balancer_address(service: Object | None) -> str | None:
    """What the cloud gave a Service of type LoadBalancer."""
    for one in (service or {}).get("status", {}).get("loadBalancer", {}).get("ingress", ()) or ():
        return str(one.get("hostname") or one.get("ip"))
    return None


def url(host: str, port: int) -> str:
    """The URL of a controller."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def is_rolled_out(found: Object | None) -> bool:
    """Whether every pod of a Deployment or DaemonSet is of its newest template, and ready."""
    if found is None or found["status"].get("observedGeneration", 0) < found["metadata"]["generation"]:
        return False
    status = found["status"]
    if found["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(status.get("updatedNumberScheduled", 0) == status.get("numberReady", 0) == wanted)
    wanted = found["spec"].get("replicas", 1)
    have = (status.get("updatedReplicas", 0), status.get("readyReplicas", 0), status.get("replicas", 0))
    return bool(have == (wanted, wanted, wanted))


def progress_of(found: Object | None) -> str:
    """`2 of 3 ready`."""
    if found is None:
        return "not there yet"
    status = found.get("status", {})
    if found["kind"] == "DaemonSet":
        return f"{status.get('numberReady', 0)} of {status.get('desiredNumberScheduled', 0)} nodes ready"
    return f"{status.get('readyReplicas', 0)} of {found['spec'].get('replicas', 1)} ready"


def trouble(pods: Sequence[Object]) -> str:
    """Why a pod does not start, in the words of whoever knows; empty if nobody complains."""
    for pod in pods:
        status = pod.get("status", {})
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            if last := _last_words(container):
                return f"pod {pod['metadata']['name']}: {last}"
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
                return f"pod {pod['metadata']['name']}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
        for condition in status.get("conditions", ()):
            if condition.get("reason") == "Unschedulable":
                return f"pod {pod['metadata']['name']}: {condition.get('message', 'cannot be scheduled')}"
    return ""


def _last_words(container: Object) -> str:
    """What a container that failed said last: our programs log JSON, and Kubernetes keeps the log's end.

    Nothing of one that runs (again): it may be better this time.
    """
    if container.get("state", {}).get("running"):
        return ""
    states = (container.get("state", {}), container.get("lastState", {}))
    ended: Object = next((state["terminated"] for state in states if state.get("terminated")), {})
    if not ended.get("exitCode"):
        return ""
    for line in reversed(str(ended.get("message", "")).splitlines()):
        with suppress(ValueError, TypeError, KeyError):
            return str(json.loads(line)["error"])
    return ""


def remember(wish: Wish) -> str:
    """The wish as text, kept with the installation: an upgrade begins with it."""
    return json.dumps({key: value for key, value in asdict(wish).items() if key != FOUND}, sort_keys=True)


def recall(text: str) -> Wish:
    """The wish of `remember`; what later versions wrote and this one does not know is left out."""
    known = {field.name for field in fields(Wish)}
    values: dict[str, Any] = {}
    for key, value in json.loads(text).items():
        if key in known - {FOUND}:
            values[key] = tuple(value) if isinstance(value, list) else value
    return Wish(**values)


def _components(wish: Wish) -> list[str]:
    names = ["hub"] if wish.hub and wish.service != "none" else []
    if wish.hub and wish.service == "load-balancer":
        names.append("load-balancer")
    return names + ([wish.platform] if wish.platform else [])


def _patches(wish: Wish) -> list[Patch]:
    cidrs = wish.cidrs or wish.found_cidrs
    values = {"cluster": wish.cluster, "advertise": wish.advertise, "cidrs": ",".join(cidrs)}
    values["resolvers"] = ",".join(wish.resolvers)
    settings: list[dict[str, Any]] = [
        {"op": "replace", "path": f"/data/{key}", "value": value} for key, value in values.items()
    ]
    settings.append({"op": "add", "path": "/metadata/annotations", "value": {INSTALLATION: remember(wish)}})
    patches = [Patch(kind="ConfigMap", name="slicer", operations=tuple(settings))]
    arguments = "/spec/template/spec/containers/0/args/-"
    if wish.hub and wish.service == "none":
        patches.append(_add("Deployment", "slicer-controller", arguments, ["--role=hub"]))
    if wish.hub and wish.service == "node-port":
        port = {"op": "replace", "path": "/spec/ports/0/nodePort", "value": wish.port}
        patches.append(Patch(kind="Service", name="slicer-hub", operations=(port,)))
    if wish.agent_flags:
        patches.append(_add("DaemonSet", "slicer-agent", arguments, wish.agent_flags))
    # Settings reach a pod when it starts: a change of them is a change of the pod.
    patches += [_annotate(name, values) for name in ("slicer-controller", "slicer-dns")]
    return patches


def _add(kind: str, name: str, path: str, values: Sequence[Any]) -> Patch:
    return Patch(kind=kind, name=name, operations=tuple({"op": "add", "path": path, "value": v} for v in values))


def _annotate(name: str, values: Mapping[str, str]) -> Patch:
    text = " ".join(f"{key}={value}" for key, value in sorted(values.items()))
    operation = {"op": "add", "path": "/spec/template/metadata/annotations", "value": {"slicer.io/settings": text}}
    return Patch(kind="Deployment", name=name, operations=(operation,))


def _order(found: Object) -> int:
    kind = found["kind"]
    return FIRST.index(kind) if kind in FIRST else len(FIRST)


def _host(address: str) -> str:
    return f"{address}/128" if ":" in address else f"{address}/32"
