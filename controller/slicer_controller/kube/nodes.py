"""Nodes as Kubernetes knows them: where they are and are reached, who is to be a gateway, and which are gone for good.

An agent that is silent may be well, so that only a node whose object was deleted is forgotten, with its gateway slots
and blocks; and only after a while, and if its agent is not connected. When the object is back, so is the node.
"""

from __future__ import annotations

import logging
from typing import Any

from slicer.model.clusters import Node, Surroundings
from slicer.model.documents import of_kind
from slicer.model.errors import InvalidError
from slicer.model.names import Address, parse_address
from slicer_controller.access import PLATFORM, Peer
from slicer_controller.context import Context
from slicer_controller.kube.naming import GROUP
from slicer_controller.kube.objects import Objects

NODES = "nodes"
OUTSIDE = f"{GROUP}/outside-addresses"
"""Annotation of a Node: where other clusters reach it, comma separated; instead of its ExternalIPs."""
GATEWAY = f"{GROUP}/gateway"
"""Label of a Node: `true` prefers it as a gateway, `false` makes it none."""
ZONE = "topology.kubernetes.io/zone"
GONE_S = 60.0
"""A node that is made anew under its name keeps what it has."""
Json = dict[str, Any]
log = logging.getLogger(__name__)


def slim_node(node: Json) -> Json:
    """What has to be remembered of a node."""
    metadata = {key: node["metadata"][key] for key in ("name", "uid", "resourceVersion")}
    labels = node["metadata"].get("labels") or {}
    said = {"zone": labels.get(ZONE, ""), "gateway": labels.get(GATEWAY, "")}
    return {"metadata": metadata, "outside": _outside_texts(node), **said}


class Nodes:
    """One for each member."""

    def __init__(self, context: Context, objects: Objects) -> None:
        self._context, self._objects = context, objects
        self._missing_since_s: dict[str, float] = {}

    def surroundings(self, name: str) -> Surroundings:
        """What Kubernetes knows of the node."""
        node = self._objects.get(NODES, name)
        if node is None:
            return Surroundings()
        return Surroundings(
            outside_addresses=tuple(_addresses(node["outside"])),
            zone=node["zone"],
            gateway=_wish(name, node["gateway"]),
        )

    def reconcile(self) -> None:
        """Forget nodes whose object has been gone for a while; nothing before nodes were listed once."""
        if NODES not in self._objects.synced:
            return
        self._readmit()
        cluster, now = self._context.cluster, self._context.clock()
        reported = {node.name for node in of_kind(self._context.state.documents, Node) if node.cluster == cluster}
        missing = {name for name in reported if self._objects.get(NODES, name) is None}
        self._missing_since_s = {name: self._missing_since_s.get(name, now) for name in missing}
        for name, since_s in self._missing_since_s.items():
            peer = Peer(kind="node", cluster=cluster, name=name)
            if now - since_s >= GONE_S and peer.uri not in self._context.connected:
                self._context.dismiss(peer, PLATFORM)
                log.info("node forgotten", extra={"node": name})

    def _readmit(self) -> None:
        """A node whose object is back (clouds register nodes anew) is let in with the certificate that it has.

        One that a user deleted stays out: it has to join again.
        """
        for peer in self._context.door.revoked(PLATFORM):
            if self._objects.get(NODES, peer.name) is not None:
                self._context.door.readmit(peer)
                log.info("node is back", extra={"node": peer.name})


def _wish(name: str, text: str) -> bool | None:
    """What the label says; a slip makes and ends no gateway."""
    if text not in {"", "true", "false"}:
        log.warning("label ignored", extra={"node": name, "label": GATEWAY, "value": text})
    return {"true": True, "false": False}.get(text)


def _outside_texts(node: Json) -> list[str]:
    annotation = (node["metadata"].get("annotations") or {}).get(OUTSIDE, "")
    if annotation.strip():
        return [word.strip() for word in annotation.split(",")]
    addresses = node.get("status", {}).get("addresses") or []
    return [one["address"] for one in addresses if one["type"] == "ExternalIP"]


def _addresses(texts: list[str]) -> list[Address]:
    """Those that can be read; a slip in an annotation takes no gateway away."""
    found = []
    for text in texts:
        try:
            found.append(parse_address("outside address", text))
        except InvalidError as error:
            log.warning("outside address ignored", extra={"error": error.message})
    return found
