"""The steps of an installation, in order; each may be repeated, so that a command that was cut off is run again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from slicer.cli.errors import cured
from slicer.cli.install import naming, plan
from slicer.cli.install.cluster import Cluster
from slicer.cli.install.plan import INSIDE, Wish
from slicer.cli.progress import Step, wait
from slicer.client.marks import CA_MAP, NAMESPACE, STATE_SECRET
from slicer.model.errors import ConflictError, InvalidError, NotFoundError, UnavailableError

OLDEST = (1, 30)
"""Match conditions of webhooks, CEL's CIDR library and `status.hostIPs` are there from this version on."""
MULTUS = "network-attachment-definitions.k8s.cni.cncf.io"
CONTROLLER = "app.kubernetes.io/component=controller"
_ASK = """
import http.client, json, os, ssl, sys
given = json.loads(sys.stdin.readline())
open_ = ssl.create_default_context()
open_.check_hostname, open_.verify_mode = False, ssl.CERT_NONE  # this very pod: nobody is in between
link = http.client.HTTPSConnection(os.environ["POD_IP"], 7443, context=open_, timeout=20)
head = {"Authorization": "Bearer " + given["token"], "Content-Type": "application/json"}
link.request("POST", "/v1/join-tokens", json.dumps({"spec": given["spec"]}), head)
sys.stdout.write(link.getresponse().read().decode())
"""
"""Run inside the controller's pod: the API server's way in exists wherever `kubectl exec` does."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A hub that was installed, as users reach it."""

    url: str
    ca: str
    admin_token: str


def check(cluster: Cluster) -> None:
    """Refuse a cluster that lacks what Slicer stands on."""
    found = cluster.version()
    if found < OLDEST:
        have, want = (".".join(map(str, version)) for version in (found, OLDEST))
        raise cured(InvalidError(f"cluster {cluster.name} runs Kubernetes {have}; Slicer needs {want}"), "upgrade it")
    if cluster.get("CustomResourceDefinition", MULTUS) is None:
        error = NotFoundError(f"cluster {cluster.name} has no Multus (no definition {MULTUS})")
        raise cured(
            error, "install Multus: https://github.com/k8snetworkplumbingwg/multus-cni#quickstart-installation-guide"
        )
    if not cluster.list("Node"):
        raise NotFoundError(f"cluster {cluster.name} has no node")


def installed(cluster: Cluster) -> Wish | None:
    """What an earlier installation by slicectl was given; None if there is none."""
    settings = cluster.get("ConfigMap", "slicer", NAMESPACE)
    if settings is None:
        return None
    text = settings["metadata"].get("annotations", {}).get(plan.INSTALLATION)
    if text is None:
        error = ConflictError(f"Slicer in cluster {cluster.name} was not installed by slicectl")
        raise cured(error, "upgrade it with the tool that installed it: kubectl apply -k, or helm upgrade")
    return plan.recall(text)


def learn(cluster: Cluster, wish: Wish) -> Wish:
    """The wish with what the cluster itself says: its ranges."""
    nodes, services = cluster.list("Node"), cluster.list("ServiceCIDR")
    dns = cluster.list("Service", "kube-system", "k8s-app=kube-dns")
    return replace(wish, found_cidrs=plan.cidrs_of(nodes, services, dns))


def is_reached_anew(old: Wish | None, wish: Wish, given: str | None) -> bool:
    """Whether the hub's URL has to be found: one that was told to members stays while nothing else is asked for."""
    ways = [(one.service, one.port if one.service == "node-port" else None) for one in (old, wish) if one]
    return old is None or given is not None or ways[0] != ways[1]


def reach(cluster: Cluster, wish: Wish, given: str | None) -> Wish:
    """The wish of a hub, with the URL at which other clusters reach it. Only looks; NotFoundError if there is none."""
    if given is not None:
        port = plan.HUB_PORT if wish.service != "node-port" else wish.port
        return replace(wish, advertise=given if "://" in given else plan.url(given, port))
    if wish.service == "node-port":
        address = plan.node_address(cluster.list("Node"))
        if address is None:
            raise cured(NotFoundError(f"no node of cluster {cluster.name} has an address"), "--hub-address ADDRESS")
        return replace(wish, advertise=plan.url(address, wish.port))
    if wish.service == "none":
        raise cured(InvalidError("--hub-service none needs to know how the hub is reached"), "--hub-address ADDRESS")
    address = plan.balancer_address(cluster.get("Service", "slicer-hub", NAMESPACE))
    if address is None:
        error = NotFoundError(f"Service slicer-hub of cluster {cluster.name} has no address yet")
        raise cured(error, "--hub-address ADDRESS; what is no dry run makes the Service and waits")
    return replace(wish, advertise=plan.url(address, plan.HUB_PORT))


def make_balancer(cluster: Cluster, wish: Wish, timeout_s: float) -> None:
    """Make Service slicer-hub before the rest, which is told its address, and wait until the cloud has given one."""
    objects = plan.render(wish)
    for found in objects:
        if (found["kind"], found["metadata"]["name"]) in {("Namespace", NAMESPACE), ("Service", "slicer-hub")}:
            cluster.apply(found)

    def steps() -> Sequence[Step]:
        address = plan.balancer_address(cluster.get("Service", "slicer-hub", NAMESPACE))
        return [Step(title="load balancer", done=address is not None, detail=address or "no address yet")]

    cure = "has this cluster load balancers? else: --hub-service node-port, or --hub-address ADDRESS"
    wait(steps, timeout_s, f"Service slicer-hub of cluster {cluster.name}", cure)


def apply(cluster: Cluster, wish: Wish, token: str | None, timeout_s: float, say: Say) -> None:
    """Apply everything and wait until it works."""
    objects = plan.render(wish)
    first = [found for found in objects if found["kind"] in plan.FIRST]
    for found in first:
        cluster.apply(found)
    definitions = [found["metadata"]["name"] for found in first if found["kind"] == "CustomResourceDefinition"]
    _wait_for_definitions(cluster, definitions, timeout_s)
    if token is not None:
        cluster.apply(plan.join_secret(token))
    for found in plan.early(objects):
        if found not in first:
            cluster.apply(found)
    say(f"{len(objects)} objects applied")
    wait(lambda: controller_steps(cluster), timeout_s, f"cluster {cluster.name}", _cure(cluster))
    for found in plan.late(objects):
        cluster.apply(found)
    wait(lambda: steps_of(cluster), timeout_s, f"cluster {cluster.name}", _cure(cluster))
    if wish.cluster_dns:
        naming.put_in(cluster, say)
    else:
        naming.take_out(cluster)


def controller_steps(cluster: Cluster) -> list[Step]:
    """The controller, and the CA that it publishes."""
    controller = _step(cluster, "controller", "Deployment", "slicer-controller")
    ca = cluster.get("ConfigMap", CA_MAP, NAMESPACE)
    return [controller, Step(title="its certificate authority", done=ca is not None)]


def steps_of(cluster: Cluster) -> list[Step]:
    """What must be up beside the controller before an installation is done."""
    return [
        _step(cluster, "name servers", "Deployment", "slicer-dns"),
        _step(cluster, "agents", "DaemonSet", "slicer-agent"),
    ]


def make_join_token(cluster: Cluster, name: str, ttl_s: int) -> str:
    """A join token of the hub for the cluster `name` (`*`: one that it does not know yet)."""
    answer = cluster.run(
        controller_pod(cluster),
        NAMESPACE,
        ["/usr/bin/python3", "-I", "-c", _ASK],
        json.dumps({"token": admin_token(cluster), "spec": {"kind": "cluster", "name": name, "ttl_s": ttl_s}}),
    )
    made = json.loads(answer)
    if "status" not in made or not isinstance(made["status"], dict):
        raise UnavailableError(f"the hub in cluster {cluster.name} makes no join token: {made.get('detail', answer)}")
    return str(made["status"]["token"])


def controller_pod(cluster: Cluster) -> str:
    """Name of the pod that runs the controller."""
    for pod in cluster.list("Pod", NAMESPACE, CONTROLLER):
        if plan.condition(pod, "Ready") == "True":
            return str(pod["metadata"]["name"])
    raise UnavailableError(f"no controller is ready in cluster {cluster.name}")


def admin_token(cluster: Cluster) -> str:
    """The administrator's bearer token."""
    secret = cluster.get("Secret", STATE_SECRET, NAMESPACE)
    if secret is None:
        raise NotFoundError(f"cluster {cluster.name} has no Secret {NAMESPACE}/{STATE_SECRET}")
    return base64.b64decode(secret["data"]["admin.token"]).decode().strip()


def hub_of(cluster: Cluster, wish: Wish) -> Hub:
    """How users reach the hub that runs in this cluster."""
    ca = cluster.get("ConfigMap", CA_MAP, NAMESPACE)
    if ca is None:
        raise NotFoundError(f"cluster {cluster.name} has no ConfigMap {NAMESPACE}/{CA_MAP}")
    return Hub(url=wish.advertise, ca=ca["data"]["ca.pem"], admin_token=admin_token(cluster))


def check_unchanged(old: Wish | None, cluster: str, *, hub: bool | None) -> None:
    """Refuse what would take a running installation apart: another name, another role."""
    if old is None:
        return
    if old.cluster != cluster:
        error = ConflictError(f"Slicer is installed here as cluster {old.cluster!r}, not {cluster!r}")
        raise cured(error, f"--cluster {old.cluster}, or uninstall it first")
    if hub is not None and hub != old.hub:
        is_, wished = ("the hub", "a member") if old.hub else ("a member", "the hub")
        raise cured(ConflictError(f"cluster {cluster!r} is {is_} and cannot become {wished}"), "uninstall it first")


def member_wish(cluster: str) -> Wish:
    """A member: its own agents are the only ones that dial its controller."""
    return Wish(cluster=cluster, advertise=INSIDE, service="none")


def _wait_for_definitions(cluster: Cluster, names: Sequence[str], timeout_s: float) -> None:
    """The API server serves a kind some moments after its definition was accepted."""

    def steps() -> Sequence[Step]:
        found = [cluster.get("CustomResourceDefinition", name) for name in names]
        ready = [one for one in found if one and plan.condition(one, "Established") == "True"]
        return [
            Step(title="resource definitions", done=len(ready) == len(found), detail=f"{len(ready)} of {len(found)}")
        ]

    wait(steps, timeout_s, f"cluster {cluster.name}", f"kubectl --context {cluster.name} get crd")


def _step(cluster: Cluster, title: str, kind: str, name: str) -> Step:
    found = cluster.get(kind, name, NAMESPACE)
    done = plan.is_rolled_out(found)
    detail = plan.progress_of(found)
    if not done:
        component = name.removeprefix("slicer-")
        pods = cluster.list("Pod", NAMESPACE, f"app.kubernetes.io/component={component}")
        detail = plan.trouble(pods) or detail
    return Step(title=title, done=done, detail=detail)


def _cure(cluster: Cluster) -> str:
    return f"kubectl --context {cluster.name} -n {NAMESPACE} describe pods; when it is mended, run the command again"
