"""Taking Slicer out of a cluster: refused while pods use it, and then nothing of it stays.

The order matters: first no new pod is given an interface; then the controller itself gives up what it made; then the
agents go, and what they left on the nodes; then everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from slicer.cli.errors import WaitTimeoutError, cured
from slicer.cli.install import manifests, naming, plan
from slicer.cli.install.cluster import KINDS, Cluster
from slicer.cli.install.manifests import Object
from slicer.cli.install.plan import Wish
from slicer.cli.progress import Step, wait
from slicer.client.marks import ATTACHMENTS, FINALIZER, FORCE, JOIN_SECRET, MANAGED_BY, MANAGER_NAME, NAMESPACE, WEBHOOK
from slicer.model.errors import ConflictError, NotFoundError

OURS = ("SliceMembership", "Slice", "QosProfile", "SliceCluster")
"""What users declared, in the order in which it is deleted."""
MANAGED = f"{MANAGED_BY}={MANAGER_NAME}"
SHOWN = 5
GIVING_UP_S = 30.0
"""How long the controller may take to give up what it made, before that is done without it."""

Say = Callable[[str], None]


def pods_of(cluster: Cluster) -> list[str]:
    """Pods that are attached here, and would lose their slices."""
    pods = [pod for pod in cluster.list("Pod") if pod["metadata"].get("annotations", {}).get(ATTACHMENTS, "[]") != "[]"]
    return sorted(f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in pods)


def members_of(cluster: Cluster, wish: Wish | None) -> list[str]:
    """Clusters that depend on this hub. One that Slicer was taken out of is still declared here, and is none of them.

    One that is cut off keeps its attached pods, as the hub last heard; one that the hub says nothing of counts.
    """
    if wish is None or not wish.hub:
        return []
    attached = _attached_by_cluster(cluster)
    found = []
    for one in cluster.list("SliceCluster"):
        name = str(one["metadata"]["name"])
        connected = plan.condition(one, "Connected") != "False"
        if name != wish.cluster and (connected or attached[name]):
            found.append(f"cluster {name}" + ("" if connected else f" (cut off, with {attached[name]} attached pods)"))
    return sorted(found)


def _attached_by_cluster(cluster: Cluster) -> Counter[str]:
    """Attachments of each cluster, as the hub knows them."""
    found: Counter[str] = Counter()
    for one in cluster.list("Slice"):
        for part in one.get("status", {}).get("clusters", ()):
            found[part["name"]] += part.get("attachments", 0)
    return found


def check_unused(cluster: Cluster, wish: Wish | None) -> None:
    """ConflictError naming what uses Slicer."""
    pods, members = pods_of(cluster), members_of(cluster, wish)
    users = [*pods, *members]
    if not users:
        return
    more = f" and {len(users) - SHOWN} more" if len(users) > SHOWN else ""
    error = ConflictError(f"Slicer in cluster {cluster.name} is in use by {', '.join(users[:SHOWN])}{more}")
    if pods:
        cured(error, "take these pods out of their slices first: kubectl get pods -A; slicectl get attachments")
    if members:
        cured(error, "uninstall it in these clusters first: slicectl uninstall --context CONTEXT")
        cured(error, f"of one that is gone for good: {_FORGET.format(context=cluster.name, force=FORCE)}")
    raise cured(error, "slicectl uninstall --force detaches pods: their slice interfaces go, the pods run on")


_FORGET = (
    "kubectl --context {context} annotate slicecluster NAME {force}=true; "
    "kubectl --context {context} delete slicecluster NAME"
)


def uninstall(cluster: Cluster, wish: Wish | None, *, force: bool, timeout_s: float, say: Say) -> None:
    """Remove everything; what does not go in time is named."""
    if wish is None and cluster.get("Namespace", NAMESPACE) is None and not _definitions(cluster):
        raise NotFoundError(f"Slicer is not installed in cluster {cluster.name}")
    if not force:
        check_unused(cluster, wish)
    cluster.delete("MutatingWebhookConfiguration", WEBHOOK)
    naming.take_out(cluster)
    _delete_declared(cluster, say, force=force)
    _clean_nodes(cluster, wish, force=force, timeout_s=timeout_s, say=say)
    _stop_controller(cluster, timeout_s)
    _clean_objects(cluster)
    objects = plan.render(wish or plan.Wish(cluster="unknown", hub=True))
    _delete_all(cluster, objects)
    gone = [*(found for found in objects if found["kind"] in plan.FIRST)]
    wait(
        lambda: _gone_steps(cluster, gone),
        timeout_s,
        f"cluster {cluster.name}",
        f"kubectl --context {cluster.name} get namespace {NAMESPACE} -o yaml (get crd NAME -o yaml) says what holds it",
    )


def _definitions(cluster: Cluster) -> list[str]:
    names = [f"{KINDS[kind].plural}.slicer.io" for kind in OURS]
    return [name for name in names if cluster.get("CustomResourceDefinition", name)]


def _delete_declared(cluster: Cluster, say: Say, *, force: bool) -> None:
    """With the controller's help while it is there: it holds these objects until what they stood for is gone."""
    for one in _declared(cluster):
        head = one["metadata"]
        if force and one["kind"] == "Slice":  # the controller keeps a slice that is in use
            cluster.patch("Slice", head["name"], "", {"metadata": {"annotations": {FORCE: "true"}}})
        cluster.delete(one["kind"], head["name"], head.get("namespace", ""))

    def steps() -> Sequence[Step]:
        left = _declared(cluster)
        return [
            Step(title="slices and memberships given up", done=not left, detail=f"{len(left)} left" if left else "")
        ]

    try:
        wait(steps, GIVING_UP_S, f"cluster {cluster.name}", "")
    except WaitTimeoutError:
        say("the controller does not give its objects up; they are removed without it")
    for one in _declared(cluster):
        _let_go(cluster, one, say)


def _let_go(cluster: Cluster, found: Object, say: Say) -> None:
    """Take our finalizer off, and nobody else's: what others still have to do is not ours to skip."""
    head = found["metadata"]
    others = [one for one in head.get("finalizers", ()) if one != FINALIZER]
    # Only of the state that was read: somebody may put another one on meanwhile. Then the command is run again.
    change = {"finalizers": others, "resourceVersion": head.get("resourceVersion")}
    cluster.patch(found["kind"], head["name"], head.get("namespace", ""), {"metadata": change})
    if others:
        say(f"{found['kind']} {head['name']} waits for whoever put {', '.join(others)} on it")


def _declared(cluster: Cluster) -> list[Object]:
    return [one for kind in OURS for one in cluster.list(kind)]


def _clean_nodes(cluster: Cluster, wish: Wish | None, *, force: bool, timeout_s: float, say: Say) -> None:
    """Agents off; then a pod on each node that removes what they left in the kernel and on the disk."""
    objects = manifests.build(manifests.directory() / "cleanup")
    agent = cluster.get("DaemonSet", "slicer-agent", NAMESPACE)
    if agent is not None:
        _follow_agent(objects, agent)
        cluster.delete("DaemonSet", "slicer-agent", NAMESPACE)
        selector = "app.kubernetes.io/component=agent"
        _wait_none(cluster, "agents stopped", lambda: cluster.list("Pod", NAMESPACE, selector), timeout_s)
    elif (
        cluster.get("Namespace", NAMESPACE) is None or cluster.get("ServiceAccount", "slicer-agent", NAMESPACE) is None
    ):
        return
    elif wish is not None:
        for container in manifests.containers(objects):
            container["image"] = plan.image(container["image"], wish)
    for found in objects:
        cluster.apply(found)
    try:
        wait(lambda: _node_steps(cluster), timeout_s, f"cluster {cluster.name}", _unclean_cure(cluster))
    except WaitTimeoutError as error:
        if not force:
            raise
        say(f"{error.message}: what the agent left there stays until the machine is set up anew")
    cluster.delete("DaemonSet", "slicer-cleanup", NAMESPACE)
    selector = "app.kubernetes.io/component=cleanup"
    _wait_none(cluster, "nodes released", lambda: cluster.list("Pod", NAMESPACE, selector), timeout_s)


def _follow_agent(objects: Sequence[Object], agent: Object) -> None:
    """The images and host paths of the agent that ran here, so that what was put there is found again."""
    pod = agent["spec"]["template"]["spec"]
    installer = pod["initContainers"][0]
    paths = [word for word in installer["args"] if word.startswith(("--bin-dir=", "--home="))]
    for container in manifests.containers(objects):
        container["image"] = installer["image"]
        if container["name"] == "files":
            others = [word for word in container["args"] if not word.startswith(("--bin-dir=", "--home="))]
            container["args"] = [*others, *paths]


def _node_steps(cluster: Cluster) -> Sequence[Step]:
    found = cluster.get("DaemonSet", "slicer-cleanup", NAMESPACE)
    pods = cluster.list("Pod", NAMESPACE, "app.kubernetes.io/component=cleanup")
    done = plan.is_rolled_out(found)
    return [
        Step(title="nodes cleaned", done=done, detail="" if done else plan.trouble(pods) or plan.progress_of(found))
    ]


def _unclean_cure(cluster: Cluster) -> str:
    return f"kubectl --context {cluster.name} get nodes; --force goes on without the nodes that do not answer"


def _stop_controller(cluster: Cluster, timeout_s: float) -> None:
    """It would make anew what is removed from now on."""
    cluster.delete("Deployment", "slicer-controller", NAMESPACE)
    selector = "app.kubernetes.io/component=controller"
    _wait_none(cluster, "controller stopped", lambda: cluster.list("Pod", NAMESPACE, selector), timeout_s)


def _clean_objects(cluster: Cluster) -> None:
    """What the controller made outside of its namespace."""
    for one in cluster.list("NetworkAttachmentDefinition", "", MANAGED):
        cluster.delete(one["kind"], one["metadata"]["name"], one["metadata"]["namespace"])
    for pod in cluster.list("Pod"):
        head = pod["metadata"]
        if ATTACHMENTS in head.get("annotations", {}):
            cluster.patch("Pod", head["name"], head["namespace"], {"metadata": {"annotations": {ATTACHMENTS: None}}})


def _delete_all(cluster: Cluster, objects: Sequence[Object]) -> None:
    """The namespace takes along what is in it; records would hold it if their definition went first."""
    cluster.delete("Secret", JOIN_SECRET, NAMESPACE)
    for found in reversed(objects):
        if found["kind"] not in plan.FIRST:
            cluster.delete(found["kind"], found["metadata"]["name"], found["metadata"].get("namespace", ""))
    for found in reversed([one for one in objects if one["kind"] in plan.FIRST]):
        cluster.delete(found["kind"], found["metadata"]["name"])


def _gone_steps(cluster: Cluster, objects: Sequence[Object]) -> Sequence[Step]:
    left = [one for one in objects if cluster.get(one["kind"], one["metadata"]["name"]) is not None]
    names = ", ".join(f"{one['kind']} {one['metadata']['name']}" for one in left)
    return [Step(title="namespace and definitions removed", done=not left, detail=names)]


def _wait_none(cluster: Cluster, title: str, find: Callable[[], list[Object]], timeout_s: float) -> None:
    def steps() -> Sequence[Step]:
        left = find()
        names = ", ".join(str(one["metadata"]["name"]) for one in left[:SHOWN])
        return [Step(title=title, done=not left, detail=names)]

    wait(steps, timeout_s, f"cluster {cluster.name}", _unclean_cure(cluster))
