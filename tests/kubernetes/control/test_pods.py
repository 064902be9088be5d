"""Pods that ask for slices, on a real API server that calls our webhook; nodes are what the tests report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.client.identity import SERVICE_ACCOUNT, load_or_join
from slicer.client.joining import ServiceJoin
from slicer.client.kube_api import Api
from slicer.model.errors import DeniedError, UnauthenticatedError
from slicer_controller.kube.naming import SLICE
from tests.contract.conftest import Agent, attachment, node
from tests.kubernetes.control.conftest import CRDS
from tests.kubernetes.control.test_crds import declare
from tests.kubernetes.control.waiting import wait_for
from tests.kubernetes.control.world import InCluster, running

Json = dict[str, Any]
NETWORKS = "k8s.v1.cni.cncf.io/networks"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
NADS = "/apis/k8s.cni.cncf.io/v1/namespaces/{}/network-attachment-definitions"
MULTUS_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {
            "plural": "network-attachment-definitions",
            "singular": "network-attachment-definition",
            "kind": "NetworkAttachmentDefinition",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"config": {"type": "string"}}}},
                    }
                },
            }
        ],
    },
}


def pod_of(name: str, annotations: Json, *, node_name: str = "") -> Json:
    """A pod that never runs: there is no kubelet."""
    spec: Json = {"containers": [{"name": "main", "image": "none"}]} | ({"nodeName": node_name} if node_name else {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}, "spec": spec}


def hook_of(url: str) -> Json:
    """As the manifests have it, but by URL."""
    expression = "has(object.metadata.annotations) && 'slicer.io/slices' in object.metadata.annotations"
    hook = {
        "name": "pods.slicer.io",
        "clientConfig": {"url": f"{url}/webhook/pods"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "failurePolicy": "Ignore",
        "sideEffects": "NoneOnDryRun",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        "matchConditions": [{"name": "asks", "expression": expression}],
    }
    configuration = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    return {**configuration, "metadata": {"name": "slicer-pods"}, "webhooks": [hook]}


class Tenant:
    """A namespace of its own for each test, in a cluster that all share."""

    def __init__(self, cluster: InCluster) -> None:
        self.api, self.process, self.rest = cluster.api, cluster.process, cluster.rest
        self.system = cluster.namespace
        self.wait_condition = cluster.wait_condition
        self.namespace = cluster.new_namespace()


@pytest.fixture(scope="module")
def controller(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InCluster]:
    """A controller with slice red, its webhook configured, and Multus' kind there."""
    with running(server, tmp_path_factory.mktemp("controller"), before=install_multus) as made:
        made.api.create(HOOKS, hook_of(made.process.url))
        declare(made.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
        made.wait_condition(SLICE, "red", "Valid", "Accepted")
        wait_for(lambda: made.api.get(f"{HOOKS}/slicer-pods")["webhooks"][0]["clientConfig"].get("caBundle"))
        yield made
        made.api.delete(f"{HOOKS}/slicer-pods")


@pytest.fixture
def cluster(controller: InCluster) -> Tenant:
    """A namespace for one test."""
    return Tenant(controller)


def install_multus(api: Api) -> None:
    """Only its kind."""
    api.apply(f"{CRDS}/{MULTUS_CRD['metadata']['name']}", MULTUS_CRD, manager="tests")
    wait_for(lambda: api.find("/apis/k8s.cni.cncf.io/v1"))


def create(cluster: Tenant, pod: Json) -> Json:
    return cluster.api.create(f"/api/v1/namespaces/{cluster.namespace}/pods", pod)


def create_hooked(cluster: Tenant, pod: Json) -> Json:
    """Until the API server has heard of the webhook; what it let in before is taken away again."""

    def made() -> Json | None:
        found = create(cluster, pod)
        if NETWORKS in found["metadata"]["annotations"]:
            return found
        cluster.api.request("DELETE", path, body={"gracePeriodSeconds": 0})
        return None

    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod['metadata']['name']}"
    return wait_for(made)


def memberships(cluster: Tenant) -> list[Json]:
    with cluster.rest() as rest:
        found = [one["spec"] for one in rest.list("memberships")]
    return [one for one in found if one["namespace"] == cluster.namespace]


def test_a_pod_that_asks_is_given_to_multus(cluster: Tenant) -> None:
    """The annotation, the network it names, and the gate it asked for; none of it for a pod that did not ask."""
    wish = '[{"slice": "red", "interface": "net5", "ips": ["10.22.4.9"]}]'
    made = create_hooked(cluster, pod_of("web", {"slicer.io/slices": wish, "slicer.io/readiness-gate": "true"}))

    assert json.loads(made["metadata"]["annotations"][NETWORKS]) == [
        {"name": "slicer-red", "namespace": cluster.namespace, "interface": "net5", "ips": ["10.22.4.9"]}
    ]
    assert made["spec"]["readinessGates"] == [{"conditionType": "slicer.io/connected"}]
    network = cluster.api.get(NADS.format(cluster.namespace) + "/slicer-red")
    assert json.loads(network["spec"]["config"])["slicer"] == {"slice": "red"}
    assert network["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "slicer"}

    plain = create(cluster, pod_of("plain", {"other": "annotation"}))
    assert plain["metadata"]["annotations"] == {"other": "annotation"}
    assert "readinessGates" not in plain["spec"]
    assert memberships(cluster) == []


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("closed", "does not allow namespace '{ns}'; ask net@example.com"),
        ("nowhere", "names slice 'nowhere', which does not exist"),
        ("red,red", "names slice 'red' twice"),
        ("Red!", "slice name 'Red!' is not a DNS label"),
        ('[{"slice": "red", "colour": "x"}]', "unknown key 'colour'"),
    ],
)
def test_a_pod_that_may_not_is_refused_and_told_whom_to_ask(cluster: Tenant, wish: str, words: str) -> None:
    """The message names pod and slice; the pod is not made, nor a network for it."""
    spec = {"prefixes": ["10.23.0.0/16"], "namespaces": ["other"], "contact": "net@example.com"}
    declare(cluster.api, SLICE, "closed", spec)
    cluster.wait_condition(SLICE, "closed", "Valid", "Accepted")
    create_hooked(cluster, pod_of("first", {"slicer.io/slices": "red"}))

    with pytest.raises(DeniedError) as refused:
        create(cluster, pod_of("bad", {"slicer.io/slices": wish}))

    assert words.format(ns=cluster.namespace) in refused.value.message
    assert f"pod {cluster.namespace}/bad" in refused.value.message
    assert cluster.api.find(f"/api/v1/namespaces/{cluster.namespace}/pods/bad") is None
    assert [one["metadata"]["name"] for one in cluster.api.each(NADS.format(cluster.namespace))] == ["slicer-red"]


def test_a_dry_run_makes_no_network(cluster: Tenant) -> None:
    """sideEffects: NoneOnDryRun, as the configuration promises."""
    create_hooked(cluster, pod_of("first", {"slicer.io/slices": "red"}))
    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.23.0.0/16"]})
    cluster.wait_condition(SLICE, "blue", "Valid", "Accepted")
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"

    dry = pod_of("dry", {"slicer.io/slices": "blue"})
    made = cluster.api.request("POST", pods, body=dry, query=[("dryRun", "All")])

    assert "slicer-blue" in made["metadata"]["annotations"][NETWORKS]
    assert cluster.api.find(NADS.format(cluster.namespace) + "/slicer-blue") is None


def test_a_pod_that_slipped_past_is_attached_live(cluster: Tenant) -> None:
    """Made while the webhook is away, it gets a membership once the controller is back, and that goes with it."""
    cluster.process.kill()
    made = create(cluster, pod_of("late", {"slicer.io/slices": "red@net7"}))
    assert NETWORKS not in made["metadata"]["annotations"]

    cluster.process.start()
    (member,) = wait_for(lambda: memberships(cluster))

    assert (member["slice"], member["namespace"], member["pod"]) == ("red", cluster.namespace, "late")
    assert (member["interface"], member["declared_in"]) == ("net7", "a")
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/late"
    cluster.api.request("DELETE", path, body={"gracePeriodSeconds": 0})
    wait_for(lambda: memberships(cluster) == [])


def test_a_namespace_asks_for_all_its_pods(cluster: Tenant) -> None:
    """By the same annotation; taken away, the membership goes. A slice that does not allow it is told by an event."""
    path = f"/api/v1/namespaces/{cluster.namespace}"
    cluster.api.merge(path, {"metadata": {"annotations": {"slicer.io/slices": "red"}}})
    (member,) = wait_for(lambda: memberships(cluster))
    assert (member["slice"], member["namespace"], member["pod"]) == ("red", cluster.namespace, None)

    cluster.api.merge(path, {"metadata": {"annotations": {"slicer.io/slices": "nowhere"}}})
    wait_for(lambda: memberships(cluster) == [])
    events = "/apis/events.k8s.io/v1/namespaces/default/events"
    told = wait_for(
        lambda: [e for e in cluster.api.each(events) if e.get("regarding", {}).get("name") == cluster.namespace]
    )
    assert "names slice 'nowhere', which does not exist" in told[0]["note"]


def test_networks_are_there_for_pods_that_need_them(cluster: Tenant) -> None:
    """For pods that ask Multus themselves, too; ones with our name but without our mark are left alone."""
    create(cluster, pod_of("direct", {NETWORKS: "slicer-red"}))
    wait_for(lambda: cluster.api.find(NADS.format(cluster.namespace) + "/slicer-red"))
    foreign = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "slicer-own"},
        "spec": {"config": "{}"},
    }
    cluster.api.create(NADS.format(cluster.namespace), foreign)

    cluster.api.delete(NADS.format(cluster.namespace) + "/slicer-red")
    wait_for(lambda: cluster.api.find(NADS.format(cluster.namespace) + "/slicer-red"))

    assert cluster.api.get(NADS.format(cluster.namespace) + "/slicer-own")["spec"]["config"] == "{}"


def account_token(cluster: Tenant, account: str, pod: Json | None) -> str:
    """What a projected token of this pod would be."""
    namespace = cluster.system
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    if cluster.api.find(f"{path}/{account}") is None:
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
        cluster.api.create(path, body)
    spec: Json = {"audiences": ["slicer"], "expirationSeconds": 600}
    if pod is not None:
        metadata = pod["metadata"]
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    made = cluster.api.request("POST", f"{path}/{account}/token", body=body)
    return str(made["status"]["token"])


def agent_pod(cluster: Tenant, name: str, node_name: str, account: str) -> Json:
    account_token(cluster, account, None)
    pod = pod_of(name, {}, node_name=node_name)
    pod["spec"]["serviceAccountName"] = account
    return cluster.api.create(f"/api/v1/namespaces/{cluster.system}/pods", pod)


def join(cluster: Tenant, directory: Path, token: str, expect: str) -> Any:
    directory.mkdir()
    (directory / "token").write_text(token + "\n")
    ca = cluster.api.get(f"/api/v1/namespaces/{cluster.system}/configmaps/slicer-ca")["data"]["ca.pem"]
    (directory / "ca.pem").write_text(ca)
    how = ServiceJoin(url=cluster.process.url, ca_file=directory / "ca.pem", account_file=directory / "token")
    return load_or_join(directory / "identity", how.token(), expect=expect)


def test_an_agent_joins_with_its_pods_own_token(cluster: Tenant, tmp_path: Path) -> None:
    """It becomes the node that its pod runs on, may do it again, and can become no other node."""
    pod = agent_pod(cluster, "agent-1", "n1", "slicer-agent")
    token = account_token(cluster, "slicer-agent", pod)

    identity = join(cluster, tmp_path / "one", token, "slicer://node/*/n1")
    again = join(cluster, tmp_path / "two", token, "slicer://node/*/n1")

    assert identity.uri == again.uri == "slicer://node/a/n1"
    with pytest.raises(DeniedError, match=r"slicer://node/a/n1, not for slicer://node/\*/n2"):
        join(cluster, tmp_path / "three", token, "slicer://node/*/n2")
    dns = agent_pod(cluster, "dns-1", "n1", "slicer-dns")
    joined = join(cluster, tmp_path / "four", account_token(cluster, "slicer-dns", dns), "slicer://dns/")
    assert joined.uri == "slicer://dns/a/dns-1"


def test_other_pods_cannot_join(cluster: Tenant, tmp_path: Path) -> None:
    """Another account's token, one that belongs to no pod, and no token at all."""
    pod = agent_pod(cluster, "other", "n1", "default-like")

    with pytest.raises(DeniedError, match="neither an agent's nor a DNS server's pod"):
        join(cluster, tmp_path / "a", account_token(cluster, "default-like", pod), "slicer://node/*/n1")
    with pytest.raises(DeniedError, match="neither an agent's nor a DNS server's pod"):
        join(cluster, tmp_path / "b", account_token(cluster, "slicer-agent", None), "slicer://node/*/n1")
    with pytest.raises(UnauthenticatedError):
        join(cluster, tmp_path / "c", "tomato", "slicer://node/*/n1")
    assert SERVICE_ACCOUNT


def test_a_pod_sees_what_it_has_and_is_ready_when_packets_pass(cluster: Tenant, tmp_path: Path) -> None:
    """The annotation and the readiness gate follow what the agent reports, also when that goes away."""
    agents = agent_pod(cluster, "agent-2", "n2", "slicer-agent")
    identity = join(cluster, tmp_path / "one", account_token(cluster, "slicer-agent", agents), "slicer://node/*/n2")
    wish = {"slicer.io/slices": "red", "slicer.io/readiness-gate": "true"}
    create_hooked(cluster, pod_of("web-0", wish, node_name="n2"))
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/web-0"

    def connected() -> Json:
        conditions = cluster.api.get(path).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == "slicer.io/connected"), {})

    wait_for(lambda: connected().get("reason") == "NotAttached")
    agent = Agent(identity, tmp_path)
    try:
        import dataclasses

        mine = dataclasses.replace(attachment("a", "n2", "web-0", "10.22.4.5"), namespace=cluster.namespace)
        agent.report(node("a", "n2"), mine)
        wait_for(lambda: connected().get("status") == "True")
        annotation = json.loads(cluster.api.get(path)["metadata"]["annotations"]["slicer.io/attachments"])
        assert annotation == [
            {"slice": "red", "interface": "net1", "ips": ["10.22.4.5"], "mac": "02:00:00:00:00:02", "state": "attached"}
        ]
        others = cluster.api.get(path)["status"]["conditions"]

        agent.report(without=(f"attachment/a/n2/{mine.container_id}/net1",))
        wait_for(lambda: connected().get("status") == "False")
        wait_for(lambda: "slicer.io/attachments" not in cluster.api.get(path)["metadata"]["annotations"])
        assert {one["type"] for one in cluster.api.get(path)["status"]["conditions"]} == {one["type"] for one in others}
    finally:
        agent.stop()
