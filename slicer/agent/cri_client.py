"""The two calls of the Container Runtime Interface (CRI, runtime.v1) that tell which pods run on this node.

Only the fields that are read here are declared; whatever else a runtime sends is skipped, as protobuf wants it. A map
is on the wire what a repeated message with `key` = 1 and `value` = 2 is, so PAIRS stand for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from slicer.model.errors import InvalidError
from slicer.plan.membership import Sandbox

SERVICE = "/runtime.v1.RuntimeService/"
CALL_S = 10.0
"""A runtime that is busy with a hundred pods answers late; one that hangs must not hang us."""
READY = 0
"""PodSandboxState SANDBOX_READY."""
NODE_NETWORK = 2
"""NamespaceMode NODE: the pod has the node's own network, and no slice."""
POD_LABEL = "io.kubernetes.pod."
"""The kubelet adds the pod's name, namespace and uid as labels; they say nothing new and would be reported."""
_STRING, _ENUM, _BOOL = "string", "enum", "bool"
Fields = tuple[tuple[str, int, str], ...]
"""(name, number, type) of each field of a message; `*` after the type means repeated."""
_FIELDS: Mapping[str, Fields] = {
    "Pair": (("key", 1, _STRING), ("value", 2, _STRING)),
    "PodSandboxMetadata": (("name", 1, _STRING), ("uid", 2, _STRING), ("namespace", 3, _STRING)),
    "PodSandbox": (("id", 1, _STRING), ("metadata", 2, "PodSandboxMetadata"), ("labels", 5, "Pair*")),
    "PodSandboxStateValue": (("state", 1, _ENUM),),
    "PodSandboxFilter": (("state", 2, "PodSandboxStateValue"),),
    "ListPodSandboxRequest": (("filter", 1, "PodSandboxFilter"),),
    "ListPodSandboxResponse": (("items", 1, "PodSandbox*"),),
    "PodSandboxStatusRequest": (("pod_sandbox_id", 1, _STRING), ("verbose", 2, _BOOL)),
    "NamespaceOption": (("network", 1, _ENUM),),
    "Namespace": (("options", 2, "NamespaceOption"),),
    "LinuxPodSandboxStatus": (("namespaces", 1, "Namespace"),),
    "PodSandboxStatus": (("linux", 6, "LinuxPodSandboxStatus"),),
    "PodSandboxStatusResponse": (("status", 1, "PodSandboxStatus"), ("info", 2, "Pair*")),
}
"""The numbers are those of Kubernetes' cri-api, runtime/v1/api.proto."""
_TYPES = {_STRING: 9, _BOOL: 8, _ENUM: 5}
"""FieldDescriptorProto.Type; an enumeration is read as the int32 that it is on the wire."""


def message_classes(messages: Mapping[str, Fields] = _FIELDS) -> dict[str, Any]:
    """Protobuf classes of `messages`, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="slicer/cri.proto", package="runtime.v1", syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, label=3 if kind.endswith("*") else 1, **_type_of(kind))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptors = {name: pool.FindMessageTypeByName(f"runtime.v1.{name}") for name in messages}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in descriptors.items()}


def _type_of(kind: str) -> dict[str, Any]:
    name = kind.rstrip("*")
    return {"type": _TYPES[name]} if name in _TYPES else {"type": 11, "type_name": f".runtime.v1.{name}"}


MESSAGES = message_classes()


class Runtime:
    """A connection to a runtime's socket; `close` it. Lives in one event loop."""

    def __init__(self, socket: Path) -> None:
        self._channel = Channel(path=str(socket))
        self._list = self._method("ListPodSandbox")
        self._status = self._method("PodSandboxStatus")

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    async def ready(self) -> list[Any]:
        """The PodSandbox messages of the pods that run now."""
        state = MESSAGES["PodSandboxStateValue"](state=READY)
        request = MESSAGES["ListPodSandboxRequest"](filter=MESSAGES["PodSandboxFilter"](state=state))
        return list((await self._list(request, timeout=CALL_S)).items)

    async def status(self, container_id: str) -> Any:
        """The PodSandboxStatusResponse with the runtime's own information; None if it is gone."""
        request = MESSAGES["PodSandboxStatusRequest"](pod_sandbox_id=container_id, verbose=True)
        try:
            return await self._status(request, timeout=CALL_S)
        except GRPCError as error:
            if error.status is Status.NOT_FOUND:
                return None
            raise

    def _method(self, name: str) -> UnaryUnaryMethod[Any, Any]:
        return UnaryUnaryMethod(self._channel, SERVICE + name, MESSAGES[f"{name}Request"], MESSAGES[f"{name}Response"])


def sandbox_of(item: Any, status: Any) -> Sandbox | None:
    """The running pod; None for one on the node's own network. InvalidError if nobody says where its namespace is."""
    if status.status.linux.namespaces.options.network == NODE_NETWORK:
        return None
    return Sandbox(
        container_id=item.id,
        namespace=item.metadata.namespace,
        name=item.metadata.name,
        uid=item.metadata.uid,
        labels=tuple(sorted((p.key, p.value) for p in item.labels if not p.key.startswith(POD_LABEL))),
        netns=_netns(item.id, status.info),
    )


def _netns(container_id: str, info: Iterable[Any]) -> str:
    """Path of the network namespace: containerd and CRI-O both show the OCI runtime specification under `info`."""
    text = next((pair.value for pair in info if pair.key == "info"), "")
    try:
        namespaces = json.loads(text)["runtimeSpec"]["linux"]["namespaces"]
        return next(str(n["path"]) for n in namespaces if n["type"] == "network" and n.get("path"))
    except (ValueError, KeyError, TypeError, StopIteration):
        raise InvalidError(f"the runtime names no network namespace of pod sandbox {container_id}") from None
