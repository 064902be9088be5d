"""A Kubernetes cluster as the installer sees it: get, list, apply (server-side), delete, run a command in a pod."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slicer.cli.errors import cured
from slicer.cli.install.manifests import Object
from slicer.model.errors import (
    DeniedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnauthenticatedError,
    UnavailableError,
)

FIELD_MANAGER = "slicectl"
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where the API server keeps objects of a kind."""

    api: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL's path; without a name that of the list."""
        prefix = f"/api/{self.api}" if self.api == "v1" else f"/apis/{self.api}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{prefix}{middle}/{self.plural}" + (f"/{name}" if name else "")


RBAC, APPS, SLICER = "rbac.authorization.k8s.io/v1", "apps/v1", "slicer.io/v1alpha1"
KINDS: dict[str, Kind] = {
    "Namespace": Kind(api="v1", plural="namespaces", namespaced=False),
    "Node": Kind(api="v1", plural="nodes", namespaced=False),
    "Pod": Kind(api="v1", plural="pods"),
    "Service": Kind(api="v1", plural="services"),
    "Secret": Kind(api="v1", plural="secrets"),
    "ConfigMap": Kind(api="v1", plural="configmaps"),
    "ServiceAccount": Kind(api="v1", plural="serviceaccounts"),
    "ResourceQuota": Kind(api="v1", plural="resourcequotas"),
    "Deployment": Kind(api=APPS, plural="deployments"),
    "DaemonSet": Kind(api=APPS, plural="daemonsets"),
    "PodDisruptionBudget": Kind(api="policy/v1", plural="poddisruptionbudgets"),
    "NetworkPolicy": Kind(api="networking.k8s.io/v1", plural="networkpolicies"),
    "ServiceCIDR": Kind(api="networking.k8s.io/v1", plural="servicecidrs", namespaced=False),
    "Lease": Kind(api="coordination.k8s.io/v1", plural="leases"),
    "ClusterRole": Kind(api=RBAC, plural="clusterroles", namespaced=False),
    "ClusterRoleBinding": Kind(api=RBAC, plural="clusterrolebindings", namespaced=False),
    "Role": Kind(api=RBAC, plural="roles"),
    "RoleBinding": Kind(api=RBAC, plural="rolebindings"),
    "MutatingWebhookConfiguration": Kind(
        api="admissionregistration.k8s.io/v1", plural="mutatingwebhookconfigurations", namespaced=False
    ),
    "CustomResourceDefinition": Kind(
        api="apiextensions.k8s.io/v1", plural="customresourcedefinitions", namespaced=False
    ),
    "NetworkAttachmentDefinition": Kind(api="k8s.cni.cncf.io/v1", plural="network-attachment-definitions"),
    "Slice": Kind(api=SLICER, plural="slices", namespaced=False),
    "SliceCluster": Kind(api=SLICER, plural="sliceclusters", namespaced=False),
    "QosProfile": Kind(api=SLICER, plural="qosprofiles", namespaced=False),
    "SliceMembership": Kind(api=SLICER, plural="slicememberships"),
    "SlicerRecord": Kind(api=SLICER, plural="slicerrecords"),
}


class Cluster(Protocol):
    """What the installer asks of a cluster. The test's fake and KubernetesCluster keep the same rules."""

    name: str
    """Of the kubeconfig's context."""

    def version(self) -> tuple[int, int]:
        """Major and minor version of the API server."""

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object; None if there is none, or no such kind."""

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """The objects, of all namespaces when none is given; none where the kind is unknown."""

    def apply(self, wanted: Object) -> None:
        """Make the object so: the fields in `wanted` are ours, others stay. DeniedError, InvalidError."""

    def patch(self, kind: str, name: str, namespace: str, change: Object) -> None:
        """A JSON merge patch; nothing happens if there is no such object."""

    def delete(self, kind: str, name: str, namespace: str = "") -> bool:
        """Whether there was such an object; it may need some time to go."""

    def run(self, pod: str, namespace: str, argv: Sequence[str], stdin: str) -> str:
        """What a command in the pod's first container makes of one line; UnavailableError if it fails."""


class KubernetesCluster:
    """By the kubernetes client: credentials of all kinds are its trade."""

    def __init__(self, context: str | None, kubeconfig: Path | None) -> None:
        from kubernetes import config
        from kubernetes.client import Configuration

        from slicer.client.kube_api import Api

        file = str(kubeconfig) if kubeconfig else None
        try:
            known, current = config.list_kube_config_contexts(config_file=file)  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise cured(InvalidError(f"no kubeconfig can be read: {error}"), _KUBECONFIG) from None
        self.name = context or str(current["name"])
        if self.name not in {one["name"] for one in known}:
            names = ", ".join(str(one["name"]) for one in known)
            raise cured(NotFoundError(f"the kubeconfig has no context {self.name!r}; it has {names}"), _KUBECONFIG)
        made = Configuration()
        config.load_kube_config(file, self.name, made)  # type: ignore[no-untyped-call]
        self._api = Api(made, timeout_s=(TIMEOUT_S, TIMEOUT_S))

    def version(self) -> tuple[int, int]:
        found = self._ask("GET", "/version")
        assert found is not None
        return int(found["major"]), int("".join(c for c in found["minor"] if c.isdigit()))

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        return self._ask("GET", KINDS[kind].path(namespace, name))

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        query = [("labelSelector", selector)] if selector else []
        found = self._ask("GET", KINDS[kind].path(namespace), query=query) or {"items": []}
        return [{"kind": kind, **one} for one in found["items"]]

    def apply(self, wanted: Object) -> None:
        head = wanted["metadata"]
        path = KINDS[wanted["kind"]].path(head.get("namespace", ""), head["name"])
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        if self._ask("PATCH", path, query=query, body=wanted, content="application/apply-patch+yaml") is None:
            what = f"{wanted['kind']} {head['name']}"
            raise UnavailableError(f"cluster {self.name} does not know {wanted['apiVersion']} ({what})")

    def patch(self, kind: str, name: str, namespace: str, change: Object) -> None:
        self._ask("PATCH", KINDS[kind].path(namespace, name), body=change, content="application/merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str = "") -> bool:
        body = {"propagationPolicy": "Background"}
        return self._ask("DELETE", KINDS[kind].path(namespace, name), body=body) is not None

    def run(self, pod: str, namespace: str, argv: Sequence[str], stdin: str) -> str:
        from kubernetes.client import CoreV1Api
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import stream

        options = {"command": list(argv), "stdin": True, "stdout": True, "stderr": True, "tty": False}
        try:
            call = CoreV1Api(self._api.client).connect_get_namespaced_pod_exec
            shell = stream(call, pod, namespace, _preload_content=False, **options)
            shell.write_stdin(stdin + "\n")  # the end of stdin cannot be told: the command reads a line
            shell.run_forever(timeout=TIMEOUT_S)
            out, words, code = shell.read_stdout(timeout=1), shell.read_stderr(timeout=1), shell.returncode
        except ApiException as error:
            raise UnavailableError(f"{self.name}: no command can be run in pod {pod}: {error.reason}") from None
        if code != 0:
            raise UnavailableError(f"{self.name}: a command in pod {pod} failed: {str(words).strip()[-500:]}")
        return str(out)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Object | None = None,
        content: str = "application/json",
    ) -> Object | None:
        """The answer's document; None for 404. Errors name the cluster, and what to do."""
        try:
            return self._api.request(method, path, body=body, query=list(query), content_type=content)
        except NotFoundError:
            return None
        except SlicerError as error:
            told = type(error)(f"cluster {self.name}: {error.message}", reason=error.reason)
            raise (cured(told, _CURES[type(error)].format(self.name)) if type(error) in _CURES else told) from None


_CURES: dict[type[SlicerError], str] = {
    UnauthenticatedError: "are the credentials of context {0} still valid? kubectl --context {0} auth whoami",
    DeniedError: "installing needs the rights of cluster-admin in context {0}",
    UnavailableError: "does `kubectl --context {0} get nodes` work?",
}
_KUBECONFIG = "kubectl config get-contexts lists them; --kubeconfig FILE or $KUBECONFIG says where they are"
