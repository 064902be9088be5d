"""The mutating webhook for pods: `POST /webhook/pods`.

A pod that asks for slices gets Multus' annotation, and the NetworkAttachmentDefinitions that it names are there
before it starts. One that asks for what its namespace may not have is refused, and told whom to ask. The API server
sends only pods with our annotation (match conditions), and goes on without us if we are away: the pod is attached
later then.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slicer.model.documents import Document
from slicer.model.errors import InvalidError, SlicerError
from slicer.plan.pods import NETWORKS, expand_pod, pod_name
from slicer.plan.validation import check_pod
from slicer_controller.api.requests import read_json
from slicer_controller.kube.pods import CONNECTED, GATE, slices_of

Json = dict[str, Any]
PATH = "/webhook/pods"


class Webhook:
    """One for each controller; `provide` makes sure of a network (namespace, slice), and may wait."""

    def __init__(self, documents: Mapping[str, Document], cluster: str, provide: Callable[[str, str], None]) -> None:
        self._documents, self._cluster, self._provide = documents, cluster, provide

    async def __call__(self, request: Request) -> Response:
        """One AdmissionReview in, one out."""
        review = await read_json(request)
        asked = review.get("request") if isinstance(review, dict) else None
        if not isinstance(asked, dict) or not isinstance(asked.get("object"), dict):
            raise InvalidError("the body is no AdmissionReview with an object")
        answer = {"uid": str(asked.get("uid", "")), **await self._decide(asked)}
        return JSONResponse({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})

    async def _decide(self, asked: Json) -> Json:
        # The object of a request for creation has no namespace of its own if the manifest has none.
        namespace = str(asked.get("namespace", ""))
        pod = {**asked["object"], "metadata": {**asked["object"].get("metadata", {}), "namespace": namespace}}
        try:
            expanded = expand_pod(pod)
            wanted = sorted(slices_of(expanded))
            for slice_ in wanted:
                check_pod(pod_name(pod), slice_, namespace, self._cluster, self._documents)
        except SlicerError as error:
            return {"allowed": False, "status": {"code": 403, "reason": error.reason, "message": error.message}}
        warnings = [] if asked.get("dryRun") else await self._provide_all(namespace, wanted)
        return {"allowed": True, **_patch(asked["object"], expanded), **({"warnings": warnings} if warnings else {})}

    async def _provide_all(self, namespace: str, slices: list[str]) -> list[str]:
        """The pod is let in although its network could not be made: it is made later, and the runtime tries again."""
        try:
            for slice_ in slices:
                await asyncio.to_thread(self._provide, namespace, slice_)
        except SlicerError as error:
            return [f"slicer: {error.message}"]
        return []


def _patch(before: Json, after: Json) -> Json:
    """The difference as a JSON patch (RFC 6902): the annotation, and the readiness gate if it is asked for."""
    annotations = before.get("metadata", {}).get("annotations") or {}
    changes: list[Json] = []
    networks = after["metadata"].get("annotations", {}).get(NETWORKS)
    if networks is not None and networks != annotations.get(NETWORKS):
        changes.append({"op": "add", "path": f"/metadata/annotations/{_escaped(NETWORKS)}", "value": networks})
    gates = before.get("spec", {}).get("readinessGates") or []
    if annotations.get(GATE) == "true" and not any(gate.get("conditionType") == CONNECTED for gate in gates):
        wanted = [*gates, {"conditionType": CONNECTED}]
        changes.append({"op": "add", "path": "/spec/readinessGates", "value": wanted})
    if not changes:
        return {}
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(changes).encode()).decode()}


def _escaped(key: str) -> str:
    """A key in a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1")
