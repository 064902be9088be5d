"""A real controller on a real API server: users declare by kubectl and by REST, and see what came of it.

Hub and member of cluster `a` in one process (nodes are what the tests report), until a test says otherwise.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.client.marks import FINALIZER
from slicer.client.rest import Api as Rest
from slicer.model.errors import ConflictError, DeniedError, InvalidError, NotFoundError, UnauthenticatedError
from slicer_controller.kube.naming import CLUSTER, MEMBERSHIP, QOS_PROFILE, SLICE
from tests.kubernetes.control.test_crds import declare
from tests.kubernetes.control.waiting import records, wait_for
from tests.kubernetes.control.world import InCluster, running

Json = dict[str, Any]


@pytest.fixture(scope="module")
def controller(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InCluster]:
    """One controller for the module."""
    with running(server, tmp_path_factory.mktemp("controller")) as made:
        yield made


@pytest.fixture
def cluster(controller: InCluster) -> Iterator[InCluster]:
    """The controller; what a test declared is taken away again."""
    yield controller
    controller.clear()


def test_a_slice_applied_by_kubectl_is_a_slice(cluster: InCluster) -> None:
    """It is accepted, numbered, in REST, and its status says so; deleted, it is gone everywhere."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})

    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    wait_for(lambda: (cluster.status(SLICE, "red").get("clusters") or [{}])[0].get("blocks"))
    status = cluster.status(SLICE, "red")
    with cluster.rest() as rest:
        told = rest.get("slices", "red")
        assert told["spec"]["prefixes"] == ["10.22.0.0/16"]
        assert told["status"]["vni"] == status["vni"]
    assert FINALIZER in cluster.api.get(SLICE.path("red"))["metadata"]["finalizers"]
    assert status["clusters"][0]["name"] == "a"

    cluster.api.delete(SLICE.path("red"))
    wait_for(lambda: cluster.api.find(SLICE.path("red")) is None)
    with cluster.rest() as rest, pytest.raises(NotFoundError):
        rest.get("slices", "red")
    left = lambda: [key for key in records(cluster.api, cluster.namespace) if key.startswith(("slice/", "block/"))]  # noqa: E731
    wait_for(lambda: not left(), left)


def test_a_slice_made_by_rest_is_an_object(cluster: InCluster) -> None:
    """Created, changed and deleted by REST, the object follows at once."""
    with cluster.rest() as rest:
        rest.create("slices", {"name": "red", "prefixes": ["10.22.0.0/16"], "qos": {"ceiling_bps": 20000000}})
        made = cluster.api.get(SLICE.path("red"))
        assert made["spec"]["qos"] == {"ceilingBps": 20000000, "priority": 4}
        assert made["metadata"]["finalizers"] == [FINALIZER]

        rest.patch("slices", "red", {"gateways": 3})
        assert cluster.api.get(SLICE.path("red"))["spec"]["gateways"] == 3

        rest.delete("slices", "red")
        assert cluster.api.find(SLICE.path("red")) is None


def test_what_may_not_be_is_said_and_changes_nothing(cluster: InCluster) -> None:
    """The same refusal, word for word, as condition and as REST's answer; what was accepted goes on."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.244.8.0/22"]})
    refused = cluster.wait_condition(SLICE, "red", "Valid", "PrefixOverlap")
    ready = cluster.wait_condition(SLICE, "red", "Ready", "PrefixOverlap")

    with cluster.rest() as rest:
        with pytest.raises(ConflictError) as answer:
            rest.create("slices", {"name": "red", "prefixes": ["10.244.8.0/22"]})
        assert answer.value.message == refused["message"] == ready["message"]
        with pytest.raises(NotFoundError):
            rest.get("slices", "red")

    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "blue", "Valid", "Accepted")
    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.22.0.0/16"], "clusters": ["nowhere"]})
    missing = cluster.wait_condition(SLICE, "blue", "Valid", "NotFound")
    assert "'nowhere'" in missing["message"]
    with cluster.rest() as rest:
        assert rest.get("slices", "blue")["spec"]["clusters"] == []

    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.22.0.0/16"], "clusters": ["a"]})
    cluster.wait_condition(SLICE, "blue", "Valid", "Accepted")


def test_a_slice_that_something_else_made_invalid_says_so_and_works(cluster: InCluster) -> None:
    """A cluster that joins with an overlapping range: Valid is false with the reason, the slice and its number stay."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    wait_for(lambda: cluster.status(SLICE, "red").get("vni"))
    before = cluster.status(SLICE, "red")
    # Not by REST: that would refuse it; the member of a cluster tells its ranges, and they are what they are.
    joined = cluster.process.token("cluster", "b")
    assert joined
    from slicer.client.identity import load_or_join
    from slicer.client.report import Reporter
    from slicer.model.clusters import Cluster
    from slicer.model.names import parse_prefix

    identity = load_or_join(cluster.process.directory / "b", joined)
    reporter = Reporter(identity, "/v1/reports/cluster")
    reporter.start()
    reporter.publish({"cluster/b": Cluster(name="b", cidrs=(parse_prefix("", "10.22.4.0/24"),))})

    cluster.wait_condition(SLICE, "red", "Valid", "PrefixOverlap")
    after = cluster.status(SLICE, "red")
    reporter.stop()

    assert after["vni"] == before["vni"]
    with cluster.rest() as rest:
        assert rest.get("slices", "red")["spec"]["prefixes"] == ["10.22.0.0/16"]


def test_a_slice_in_use_is_not_deleted(cluster: InCluster) -> None:
    """A membership holds it: the object stays, says why, and goes when the membership has gone."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    with cluster.rest() as rest:
        member = {"name": "m", "slice": "red", "cluster": "a", "namespace": "shop"}
        rest.create("memberships", member)
        cluster.api.delete(SLICE.path("red"))

        refused = cluster.wait_condition(SLICE, "red", "Valid", "InUse")
        assert "membership m" in refused["message"]
        assert rest.get("slices", "red")

        rest.delete("memberships", "m")
    wait_for(lambda: cluster.api.find(SLICE.path("red")) is None)


def test_a_slice_goes_by_force(cluster: InCluster) -> None:
    """With the annotation it goes although it is in use, and its memberships with it."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    with cluster.rest() as rest:
        rest.create("memberships", {"name": "m", "slice": "red", "cluster": "a", "namespace": "shop"})
        cluster.api.delete(SLICE.path("red"))
        cluster.wait_condition(SLICE, "red", "Valid", "InUse")

        cluster.api.merge(SLICE.path("red"), {"metadata": {"annotations": {"slicer.io/force-delete": "true"}}})

        wait_for(lambda: cluster.api.find(SLICE.path("red")) is None)
        with pytest.raises(NotFoundError):
            rest.get("memberships", "m")


def test_profiles_hold_for_the_slices_that_name_them(cluster: InCluster) -> None:
    """A profile's values are the slice's, also after the profile changed; a missing one is said, and the last hold."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"], "qosProfile": "gold"})
    refused = cluster.wait_condition(SLICE, "red", "Valid", "NotFound")
    assert refused["message"] == "slice 'red' names QoS profile 'gold', which does not exist"

    declare(cluster.api, QOS_PROFILE, "gold", {"guaranteeBps": 1000000})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    wait_for(lambda: cluster.status(QOS_PROFILE, "gold").get("slices") == ["red"])
    declare(cluster.api, QOS_PROFILE, "gold", {"guaranteeBps": 2000000})

    def guarantee() -> Any:
        with cluster.rest() as rest:
            return rest.get("slices", "red")["spec"]["qos"]["guarantee_bps"]

    wait_for(lambda: guarantee() == 2000000)
    cluster.api.delete(QOS_PROFILE.path("gold"))
    cluster.wait_condition(SLICE, "red", "Valid", "NotFound")
    assert guarantee() == 2000000
    assert cluster.api.get(SLICE.path("red"))["spec"]["qosProfile"] == "gold"


def test_objectives_are_a_condition_and_its_changes_events(cluster: InCluster, server: Any) -> None:
    """With one cluster they are met by themselves; with a second that nobody has probed they are not measured."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"], "objectives": {"latencyMs": 50}})
    cluster.wait_condition(SLICE, "red", "Objectives", "OneCluster")
    assert cluster.status(SLICE, "red")["objectives"] == []
    declare(cluster.api, CLUSTER, "b", {})

    cluster.wait_condition(SLICE, "red", "Objectives", "NotMeasured")

    pair = {"clusters": ["a", "b"], "state": "Unknown", "message": "nothing was measured yet"}
    assert cluster.status(SLICE, "red")["objectives"] == [pair]
    wait_for(lambda: "NotMeasured" in server.kubectl("get", "events", "-A", "-o", "jsonpath={.items[*].reason}"))
    with cluster.rest() as rest:
        assert rest.get("slices", "red")["spec"]["objectives"] == {"latency_ms": 50, "loss_percent": None}


def test_a_tenant_joins_by_a_membership_where_the_slice_allows_it(cluster: InCluster) -> None:
    """Allowed, it is a membership that REST shows and cannot change; refused, it says whom to ask; gone, it is gone."""
    namespace = cluster.new_namespace()
    spec = {"prefixes": ["10.22.0.0/16"], "namespaces": [namespace], "contact": "net@example.com"}
    declare(cluster.api, SLICE, "red", spec)
    declare(cluster.api, MEMBERSHIP, "web", {"slice": "red", "labels": {"app": "web"}}, namespace)
    declare(cluster.api, MEMBERSHIP, "web", {"slice": "red"}, "default")

    cluster.wait_condition(MEMBERSHIP, "web", "Ready", "Accepted", namespace)
    refused = cluster.wait_condition(MEMBERSHIP, "web", "Ready", "NamespaceNotAllowed", "default")
    assert refused["message"].endswith("slice 'red' does not allow namespace 'default'; ask net@example.com")
    with cluster.rest() as rest:
        (member,) = rest.list("memberships")
        assert member["spec"] | {"name": ""} == {
            "name": "",
            "slice": "red",
            "cluster": "a",
            "namespace": namespace,
            "labels": {"app": "web"},
            "pod": None,
            "interface": None,
            "addresses": [],
            "mac": None,
            "bandwidth": None,
            "reason": "",
            "until_s": None,
            "declared_in": "a",
        }
        with pytest.raises(ConflictError, match="change it there"):
            rest.delete("memberships", member["metadata"]["name"])

        cluster.api.delete(MEMBERSHIP.path("web", namespace))
        wait_for(lambda: list(rest.list("memberships")) == [])
    cluster.api.delete(MEMBERSHIP.path("web", "default"))


def test_a_membership_ends_at_its_time(cluster: InCluster) -> None:
    """`until` in the past: it is no membership, and says that it has ended."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    spec = {"slice": "red", "until": "2020-01-01T00:00:00Z"}
    declare(cluster.api, MEMBERSHIP, "old", spec, "default")

    ended = cluster.wait_condition(MEMBERSHIP, "old", "Ready", "Ended", "default")

    assert ended["message"] == "membership ended at 2020-01-01T00:00:00Z"
    with cluster.rest() as rest:
        assert list(rest.list("memberships")) == []
    cluster.api.delete(MEMBERSHIP.path("old", "default"))


def test_changes_are_told_as_events_once(cluster: InCluster, server: Any) -> None:
    """An event for each condition that became something else, and none for looking again."""
    declare(cluster.api, SLICE, "told", {"prefixes": ["10.244.8.0/22"]})
    cluster.wait_condition(SLICE, "told", "Valid", "PrefixOverlap")

    def events() -> list[Json]:
        found = json.loads(server.kubectl("get", "events.events.k8s.io", "-n", "default", "-o", "json"))["items"]
        return [one for one in found if one.get("regarding", {}).get("name") == "told"]

    wait_for(lambda: len(events()) == 2)
    declare(cluster.api, CLUSTER, "c", {})
    cluster.wait_condition(CLUSTER, "c", "Valid", "Accepted")
    assert [(one["type"], one["reason"]) for one in events()] == [("Warning", "PrefixOverlap")] * 2
    assert all("10.244.8.0/22" in one["note"] for one in events())


def test_the_cluster_s_own_users_use_rest(cluster: InCluster, server: Any) -> None:
    """A service account may do by REST what its roles allow on our kinds, and nothing else; others are not known."""
    namespace = cluster.new_namespace()
    server.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    server.kubectl("create", "clusterrole", f"reader-{namespace}", "--verb=get,list", "--resource=slices.slicer.io")
    subject = f"--serviceaccount={namespace}:reader"
    server.kubectl("create", "clusterrolebinding", f"reader-{namespace}", f"--clusterrole=reader-{namespace}", subject)
    token = server.kubectl("create", "token", "reader", "-n", namespace).strip()

    with cluster.process.api(token) as rest:
        assert list(rest.list("slices")) == []
        with pytest.raises(DeniedError, match=r"may not create slices\.slicer\.io"):
            rest.create("slices", {"name": "red", "prefixes": ["10.22.0.0/16"]})
        with pytest.raises(DeniedError, match=r"may not list sliceclusters\.slicer\.io"):
            list(rest.list("clusters"))
    with cluster.process.api("tomato") as rest, pytest.raises(UnauthenticatedError):
        list(rest.list("slices"))


def test_metrics_are_for_whose_role_has_the_path(cluster: InCluster, server: Any) -> None:
    """As of every program in Kubernetes: `nonResourceURLs` gives it, a role on our kinds does not."""
    namespace = cluster.new_namespace()
    server.kubectl("create", "serviceaccount", "prometheus", "-n", namespace)
    token = server.kubectl("create", "token", "prometheus", "-n", namespace).strip()
    subject = f"--serviceaccount={namespace}:prometheus"

    def give(role: str, *what: str) -> None:
        server.kubectl("create", "clusterrole", f"{role}-{namespace}", *what)
        server.kubectl(
            "create", "clusterrolebinding", f"{role}-{namespace}", f"--clusterrole={role}-{namespace}", subject
        )

    give("reader", "--verb=get,list", "--resource=slices.slicer.io")
    with cluster.process.api(token) as rest:
        wait_for(lambda: may_list(rest))
    refused = cluster.process.metrics(token)
    give("scraper", "--verb=get", "--non-resource-url=/metrics")
    wait_for(lambda: cluster.process.metrics(token).status_code == 200)

    assert refused.status_code == 403
    assert "may not get /metrics" in refused.json()["detail"]
    assert "slicer_clients_connected" in cluster.process.metrics(token).text


def may_list(rest: Rest) -> bool:
    """Whether roles allow to list slices."""
    try:
        list(rest.list("slices"))
    except DeniedError:
        return False
    return True


def test_everything_is_there_again_after_a_kill(cluster: InCluster, tmp_path: Path) -> None:
    """kill -9 and an empty state directory: CA and tokens are the same, what was declared meanwhile holds."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    ca = (cluster.process.directory / "ca.pem").read_text()
    admin = (cluster.process.directory / "admin.token").read_text()
    with cluster.rest() as rest:
        before = rest.get("slices", "red")
    cluster.process.kill()
    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.23.0.0/16"]})
    cluster.api.delete(SLICE.path("red"))

    cluster.process.directory = tmp_path / "other"
    cluster.process.start()

    cluster.wait_condition(SLICE, "blue", "Valid", "Accepted")
    wait_for(lambda: cluster.api.find(SLICE.path("red")) is None)
    assert (cluster.process.directory / "ca.pem").read_text() == ca
    assert (cluster.process.directory / "admin.token").read_text() == admin
    with cluster.rest() as rest:
        assert rest.get("slices", "blue")["status"]["vni"] != before["status"]["vni"]


def test_a_wrong_way_to_the_api_server_is_said(tmp_path: Path) -> None:
    """Exit 1 and one line."""
    import sys

    command = [sys.executable, "-m", "slicer_controller.main", "--role", "hub", "--state", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--store", "kubernetes", "--kubeconfig", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "no way to the Kubernetes API server" in done.stderr
    assert "Traceback" not in done.stderr


def test_refusals_by_the_api_server_are_rests_too(cluster: InCluster) -> None:
    """What only CEL refuses is a 422 of REST; nothing is stored."""
    with cluster.rest() as rest, pytest.raises(InvalidError):
        rest.create("slices", {"name": "red", "prefixes": ["10.22.0.0/16"], "clusters": ["a", "Ä"]})
