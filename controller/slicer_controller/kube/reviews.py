"""Who asks, and may they: questions to the API server about tokens and rights (TokenReview, SubjectAccessReview).

So that the cluster's own users and roles hold for REST as well, and agents join with the identity that Kubernetes gives
their pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slicer.client.kube_api import Api
from slicer.model.errors import DeniedError, UnauthenticatedError
from slicer_controller.kube.naming import GROUP

AUDIENCE = "slicer"
"""Of the projected tokens of agents and DNS servers: they are worth nothing anywhere else."""
AGENT_ACCOUNT, DNS_ACCOUNT = "slicer-agent", "slicer-dns"
_POD_NAME = "authentication.kubernetes.io/pod-name"
RESOURCES: Mapping[str, str] = {
    "slices": "slices",
    "clusters": "sliceclusters",
    "memberships": "slicememberships",
    "exports": "sliceexports",
    "nodes": "slicenodes",
    "gateways": "slicegateways",
    "attachments": "sliceattachments",
    "tunnels": "slicetunnels",
    "tunnel-history": "slicetunnels",
    "pings": "slicepings",
    "drains": "slicedrains",
    "rotations": "slicerotations",
    "join-tokens": "slicejointokens",
}
"""Collections of REST, and the resource of our group whose rights they ask for (some exist only for RBAC)."""
METRICS = "/metrics"
"""As everywhere in Kubernetes: a role gives it by `nonResourceURLs`, and Prometheus' own role has it."""
_VERBS: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who showed a token."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())


class Reviewer:
    """Asks one API server."""

    def __init__(self, api: Api, namespace: str, cluster: str) -> None:
        self._api, self._namespace, self._cluster = api, namespace, cluster

    def authenticate(self, token: str, *audiences: str) -> User:
        """Whose token it is; UnauthenticatedError for one that the API server does not know."""
        body: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        if audiences:
            body["spec"]["audiences"] = list(audiences)
        status = self._api.create("/apis/authentication.k8s.io/v1/tokenreviews", body).get("status", {})
        if not status.get("authenticated") or (audiences and not set(audiences) & set(status.get("audiences", []))):
            raise UnauthenticatedError("the Kubernetes API server does not know this token")
        user = status["user"]
        return User(
            name=user["username"],
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups", ())),
            extra=tuple((key, tuple(values)) for key, values in (user.get("extra") or {}).items()),
        )

    def authorize(self, user: User, method: str, path: str) -> None:
        """DeniedError unless the cluster's roles allow the user this request on REST."""
        if path == METRICS:
            self._ask(user, {"nonResourceAttributes": {"path": METRICS, "verb": "get"}}, f"get {METRICS}")
            return
        collection, _, name = path.removeprefix("/v1/").partition("/")
        resource = RESOURCES.get(collection)
        if resource is None:
            raise DeniedError(f"{path}: no role speaks of {collection!r}; use the administrator's token")
        verb = _VERBS.get(method, "get" if name else "list")
        attributes = {"group": GROUP, "resource": resource, "verb": verb} | ({"name": name} if name else {})
        what = f"{verb} {resource}.{GROUP}" + (f" {name!r}" if name else "")
        self._ask(user, {"resourceAttributes": attributes}, what)

    def _ask(self, user: User, attributes: Json, what: str) -> None:
        """DeniedError unless the user may do it."""
        spec = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            **attributes,
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = self._api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body).get("status", {})
        if not status.get("allowed"):
            raise DeniedError(f"user {user.name!r} may not {what} in this cluster")

    def identify(self, token: str) -> tuple[str, str]:
        """(`node` or `dns`, name) of the agent or DNS server whose pod's token this is."""
        user = self.authenticate(token, AUDIENCE)
        accounts = {
            f"system:serviceaccount:{self._namespace}:{AGENT_ACCOUNT}": "node",
            f"system:serviceaccount:{self._namespace}:{DNS_ACCOUNT}": "dns",
        }
        kind = accounts.get(user.name)
        pod_names = dict(user.extra).get(_POD_NAME, ())
        if kind is None or len(pod_names) != 1:
            raise DeniedError(f"user {user.name!r} is neither an agent's nor a DNS server's pod")
        pod = self._api.get(f"/api/v1/namespaces/{self._namespace}/pods/{pod_names[0]}")
        return kind, str(pod["spec"]["nodeName"] if kind == "node" else pod_names[0])
