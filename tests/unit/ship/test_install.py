"""`slicectl install`, on a cluster that is a dictionary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slicer.cli.errors import WaitTimeoutError
from slicer.cli.install import installing, plan, uninstalling
from slicer.cli.install.plan import Wish
from slicer.model.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from tests.unit.ship.cluster import FakeCluster

HUB = Wish(cluster="a", hub=True, cidrs=("10.244.0.0/24",), advertise="https://192.0.2.11:30443")


def install(cluster: FakeCluster, wish: Wish = HUB, token: str | None = None) -> None:
    """Apply the wish, with little patience."""
    installing.apply(cluster, wish, token, 0.05, lambda _: None)


def uninstall(cluster: FakeCluster, *, force: bool = False) -> None:
    """Take it out again, with little patience."""
    wish = installing.installed(cluster)
    uninstalling.uninstall(cluster, wish, force=force, timeout_s=0.05, say=lambda _: None)


def cures(error: pytest.ExceptionInfo[Exception]) -> str:
    """What the user is told to do."""
    return "\n".join(getattr(error.value, "__notes__", ()))


def test_a_hub_is_installed_and_lets_others_join(cluster: FakeCluster) -> None:
    """After the installation of a hub its wish can be read back, and it makes a token for a cluster not known yet."""
    installing.check(cluster)
    install(cluster)

    assert installing.installed(cluster) == HUB
    assert installing.make_join_token(cluster, "*", 60) == "slicer1.made"
    assert installing.hub_of(cluster, HUB) == installing.Hub(url=HUB.advertise, ca="CA", admin_token="admin")


def test_definitions_come_first_and_agents_last(cluster: FakeCluster) -> None:
    """Namespace and definitions are applied before all else; agent and DNS when the controller's CA is there."""
    install(cluster)
    applied = [call.removeprefix("apply ") for call in cluster.calls if call.startswith("apply")]

    assert applied[0] == "Namespace slicer-system"
    assert set(applied[-2:]) == {"DaemonSet slicer-agent", "Deployment slicer-dns"}


def test_a_member_gets_its_token(cluster: FakeCluster) -> None:
    """The hub's token lies in the Secret that the controller reads; a member has no Service for other clusters."""
    install(cluster, installing.member_wish("b"), "slicer1.token")
    secret = cluster.get("Secret", "slicer-join", "slicer-system")

    assert secret["stringData"] == {"token": "slicer1.token"}
    assert cluster.get("Service", "slicer-hub", "slicer-system") is None
    assert installing.installed(cluster).hub is False


def test_what_does_not_start_is_named(cluster: FakeCluster) -> None:
    """An installation that does not come up says which part, in the words of the kubelet, and what to look at."""
    cluster.ready = False
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    status = {"containerStatuses": [{"state": {"waiting": waiting}}]}
    labels = {"app.kubernetes.io/component": "controller"}
    cluster.put("Pod", "slicer-controller-1", "slicer-system", labels=labels, status=status)

    with pytest.raises(WaitTimeoutError, match=r"controller.*ImagePullBackOff: no such image") as error:
        install(cluster)

    assert "describe pods" in cures(error)
    assert "DaemonSet slicer-agent" not in cluster.kinds()


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            '{"event": "leading"}\n{"event": "cannot run", "error": "a cluster \'b\' has joined"}\n',
            "a cluster 'b' has joined",
        ),
        ("Traceback\nnot JSON", "CrashLoopBackOff"),
    ],
)
def test_a_program_that_ends_is_heard(cluster: FakeCluster, log: str, said: str) -> None:
    """The last error in its log, as Kubernetes keeps it; without one, what the kubelet says."""
    cluster.ready = False
    waiting, ended = {"reason": "CrashLoopBackOff"}, {"exitCode": 5, "message": log}
    status = {"containerStatuses": [{"state": {"waiting": waiting}, "lastState": {"terminated": ended}}]}
    labels = {"app.kubernetes.io/component": "controller"}
    cluster.put("Pod", "slicer-controller-1", "slicer-system", labels=labels, status=status)

    with pytest.raises(WaitTimeoutError, match=f"pod slicer-controller-1: {said}"):
        install(cluster)


def test_a_program_that_runs_again_is_not_called_dead(cluster: FakeCluster) -> None:
    """What it said when it ended last time is no news while it starts."""
    cluster.ready = False
    ended = {"exitCode": 5, "message": '{"error": "the hub does not answer"}'}
    status = {"containerStatuses": [{"state": {"running": {"startedAt": "now"}}, "lastState": {"terminated": ended}}]}
    labels = {"app.kubernetes.io/component": "controller"}
    cluster.put("Pod", "slicer-controller-1", "slicer-system", labels=labels, status=status)

    with pytest.raises(WaitTimeoutError, match="controller") as error:
        install(cluster)

    assert "the hub does not answer" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"told": (1, 29)}, InvalidError, "runs Kubernetes 1.29"),
        ({"objects": {}}, NotFoundError, "has no Multus"),
    ],
)
def test_a_cluster_that_lacks_something_is_refused(
    cluster: FakeCluster, change: dict[str, object], error: type[Exception], words: str
) -> None:
    """Too old a Kubernetes and a missing Multus are named before anything is applied."""
    for name, value in change.items():
        setattr(cluster, name, value)

    with pytest.raises(error, match=words) as raised:
        installing.check(cluster)

    assert cures(raised)
    assert cluster.calls == []


def test_a_cluster_without_nodes_is_refused(cluster: FakeCluster) -> None:
    """There is nothing to install on."""
    cluster.delete("Node", "n1")

    with pytest.raises(NotFoundError, match="has no node"):
        installing.check(cluster)


def test_another_name_or_role_is_refused(cluster: FakeCluster) -> None:
    """What is installed keeps its name and its role."""
    with pytest.raises(ConflictError, match="as cluster 'a', not 'x'"):
        installing.check_unchanged(HUB, "x", hub=None)
    with pytest.raises(ConflictError, match="is the hub and cannot become a member"):
        installing.check_unchanged(HUB, "a", hub=False)

    installing.check_unchanged(HUB, "a", hub=True)
    installing.check_unchanged(HUB, "a", hub=None)
    installing.check_unchanged(None, "x", hub=False)


def test_an_installation_by_others_is_left_to_them(cluster: FakeCluster) -> None:
    """What kustomize or Helm installed is not taken over."""
    cluster.put("ConfigMap", "slicer", "slicer-system", data={"cluster": "a"})

    with pytest.raises(ConflictError, match="not installed by slicectl"):
        installing.installed(cluster)


def test_ranges_are_learned(cluster: FakeCluster) -> None:
    """The cluster's own ranges: of pods, of Services as far as they are told, of nodes. Given ones are kept."""
    assert installing.learn(cluster, Wish(cluster="a")).found_cidrs == (
        "10.244.0.0/24",
        "10.96.0.10/32",
        "192.0.2.11/32",
    )

    cluster.put("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/16"]})

    assert installing.learn(cluster, Wish(cluster="a")).found_cidrs == (
        "10.244.0.0/24",
        "10.96.0.0/16",
        "192.0.2.11/32",
    )
    assert installing.learn(cluster, HUB).cidrs == HUB.cidrs


def cidrs_told(cluster: FakeCluster) -> str:
    """What the controller is told of the cluster's ranges."""
    return str(cluster.get("ConfigMap", "slicer", "slicer-system")["data"]["cidrs"])


@pytest.mark.parametrize(("given", "told"), [
    ((), "10.244.0.0/24,10.244.1.0/24,10.96.0.10/32,192.0.2.11/32"),
    (("10.0.0.0/8",), "10.0.0.0/8"),
])  # fmt: skip
def test_ranges_are_looked_up_by_each_installation(cluster: FakeCluster, given: tuple[str, ...], told: str) -> None:
    """An upgrade tells of nodes that came since; only ranges that the user gave are remembered."""
    install(cluster, installing.learn(cluster, replace(HUB, cidrs=given)))
    cluster.put("Node", "n2", spec={"podCIDRs": ["10.244.1.0/24"]})
    again = installing.installed(cluster)
    assert again.cidrs == given
    install(cluster, installing.learn(cluster, again))

    assert cidrs_told(cluster) == told


def test_how_a_hub_is_reached(cluster: FakeCluster) -> None:
    """By the address that is given; else by that of a node, an outside one where there is any."""
    hub = Wish(cluster="a", hub=True)

    assert installing.reach(cluster, hub, None).advertise == "https://192.0.2.11:30443"
    assert installing.reach(cluster, hub, "hub.example.org").advertise == "https://hub.example.org:30443"
    assert installing.reach(cluster, hub, "https://x:1").advertise == "https://x:1"
    assert installing.reach(cluster, hub, "2001:db8::1").advertise == "https://[2001:db8::1]:30443"

    addresses = [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "203.0.113.9"}]
    cluster.put("Node", "n2", status={"addresses": addresses})

    assert installing.reach(cluster, hub, None).advertise == "https://203.0.113.9:30443"


def test_a_load_balancer_is_waited_for(cluster: FakeCluster) -> None:
    """Its address comes from the cloud; one that does not come is named with the ways out."""
    hub = Wish(cluster="a", hub=True, service="load-balancer")

    with pytest.raises(WaitTimeoutError, match="no address yet") as error:
        installing.make_balancer(cluster, hub, 0.01)

    assert "--hub-service node-port" in cures(error)

    given = {"loadBalancer": {"ingress": [{"hostname": "lb.example.org"}]}}
    apply = cluster.apply
    cluster.apply = lambda wanted: apply({**wanted, "status": given})  # type: ignore[method-assign]
    installing.make_balancer(cluster, hub, 0.05)

    assert installing.reach(cluster, hub, None).advertise == "https://lb.example.org:7443"


def test_an_upgrade_keeps_the_settings(cluster: FakeCluster) -> None:
    """What was given once is found again, with other images."""
    wish = replace(HUB, platform="openshift", registry="registry.example.org/slicer", agent_flags=("--no-gateway",))
    install(cluster, wish)
    again = installing.installed(cluster)
    install(cluster, replace(again, tag="0.2.0"))
    agent = cluster.get("DaemonSet", "slicer-agent", "slicer-system")["spec"]["template"]["spec"]

    assert agent["containers"][0]["image"] == "registry.example.org/slicer/slicer-agent:0.2.0"
    assert "--no-gateway" in agent["containers"][0]["args"]
    assert "--bin-dir=/var/lib/cni/bin" in agent["initContainers"][0]["args"]


def test_no_controller_no_token(cluster: FakeCluster) -> None:
    """A hub whose controller is not ready makes no token, and says so."""
    with pytest.raises(UnavailableError, match="no controller is ready in cluster a"):
        installing.make_join_token(cluster, "*", 60)


COREFILE = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n    reload\n}\n"


def test_cluster_dns_is_told_and_left_as_it_was(cluster: FakeCluster) -> None:
    """CoreDNS gets the stanza with the address of slicer-dns; uninstalling leaves its file as it was."""
    cluster.put("ConfigMap", "coredns", "kube-system", data={"Corefile": COREFILE})
    install(cluster)
    told = cluster.get("ConfigMap", "coredns", "kube-system")["data"]["Corefile"]

    assert "slice.local" in told
    assert "10.96.9.9" in told
    assert told.endswith(COREFILE)

    uninstall(cluster)

    assert cluster.get("ConfigMap", "coredns", "kube-system")["data"] == {"Corefile": COREFILE}


def test_cluster_dns_is_left_alone_when_asked(cluster: FakeCluster) -> None:
    """Without --cluster-dns the file is not touched, and a stanza of an earlier installation is taken out."""
    cluster.put("ConfigMap", "coredns", "kube-system", data={"Corefile": COREFILE})
    install(cluster)
    install(cluster, replace(HUB, cluster_dns=False))

    assert cluster.get("ConfigMap", "coredns", "kube-system")["data"] == {"Corefile": COREFILE}


def test_a_corefile_that_serves_the_zone_is_not_touched(cluster: FakeCluster) -> None:
    """Somebody else's slice.local is named with the ConfigMap, and with the way round it."""
    mine = "slice.local {\n    whoami\n}\n" + COREFILE
    cluster.put("ConfigMap", "coredns", "kube-system", data={"Corefile": mine})

    with pytest.raises(ConflictError) as error:
        install(cluster)

    assert "kube-system/coredns" in cures(error)
    assert "--no-cluster-dns" in cures(error)
    assert cluster.get("ConfigMap", "coredns", "kube-system")["data"] == {"Corefile": mine}


def test_wish_from_a_later_version() -> None:
    """What a later slicectl wrote into its memory does not keep this one from reading it."""
    text = plan.remember(HUB).replace('"hub": true', '"hub": true, "later": [1]')

    assert plan.recall(text) == HUB
