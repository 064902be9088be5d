"""What follows from pods' annotations: memberships, networks, the webhook's answer."""

from __future__ import annotations

import asyncio
import base64
import json
from ipaddress import ip_network
from typing import Any

import pytest

from slicer.model.clusters import Cluster
from slicer.model.errors import InvalidError, UnavailableError
from slicer.model.slices import Bandwidth, Slice, SliceState
from slicer_controller.kube.pods import (
    address_wishes,
    live_memberships,
    namespace_memberships,
    needed_networks,
    slices_of,
    slim_namespace,
    slim_pod,
)
from slicer_controller.kube.webhook import Webhook

Json = dict[str, Any]
NETWORKS = "k8s.v1.cni.cncf.io/networks"


def pod(annotations: Json | None = None, **more: Any) -> Json:
    """A pod of namespace `shop` on node n1."""
    metadata = {"name": "web-0", "namespace": "shop", "uid": "u-1", "resourceVersion": "5", "labels": {"app": "web"}}
    metadata |= {"annotations": annotations} if annotations is not None else {}
    status = {"phase": more.get("phase", "Running"), "conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"nodeName": "n1", **more.get("spec", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


@pytest.mark.parametrize("annotations", [None, {}, {"other": "x"}, {NETWORKS: "macvlan-1"}])
def test_pods_that_do_not_ask_are_not_remembered(annotations: Json | None) -> None:
    """Most pods of a cluster."""
    assert slim_pod(pod(annotations)) is None


def test_little_is_remembered_of_a_pod_that_asks() -> None:
    """No labels, no other annotations, no other conditions."""
    found = slim_pod(pod({"slicer.io/slices": "red", "secret": "x"}))

    assert found == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-0",
            "namespace": "shop",
            "uid": "u-1",
            "resourceVersion": "5",
            "annotations": {"slicer.io/slices": "red"},
        },
        "spec": {"nodeName": "n1", "gated": False},
        "status": {"phase": "Running", "conditions": []},
    }


@pytest.mark.parametrize(
    ("annotations", "slices"),
    [
        ({"slicer.io/slices": "red, blue@net5"}, {"red", "blue"}),
        ({NETWORKS: "slicer-red, other/slicer-blue, macvlan"}, {"red"}),
        ({"slicer.io/slices": "red", NETWORKS: '[{"name": "slicer-blue"}]'}, {"red", "blue"}),
        ({"slicer.io/slices": "{", NETWORKS: "slicer-red"}, {"red"}),
        ({NETWORKS: "[{"}, set()),
    ],
)
def test_what_a_pod_asks_for(annotations: Json, slices: set[str]) -> None:
    """Both annotations count, other namespaces' networks do not, and what cannot be read asks for nothing."""
    assert slices_of(pod(annotations)) == slices


def test_only_what_multus_does_not_attach_is_attached_live() -> None:
    """A membership for each slice that the Multus annotation lacks, with the wishes that a membership can have."""
    wish = '[{"slice": "red"}, {"slice": "blue", "interface": "net7", "ips": ["10.23.4.9/16"]}]'

    (member,) = live_memberships(pod({"slicer.io/slices": wish, NETWORKS: "slicer-red"}), "a")

    assert (member.slice, member.pod, member.namespace, member.cluster) == ("blue", "web-0", "shop", "a")
    assert (member.interface, [str(a) for a in member.addresses]) == ("net7", ["10.23.4.9"])
    assert (member.declared_in, member.name) == ("a", "k8s-pod.a.u-1.blue")


def test_nothing_of_a_late_wish_is_lost() -> None:
    """Hardware address and rates, as if the webhook had seen the pod; rates of 0 are none."""
    wish = (
        '[{"slice": "red", "mac": "02:00:0A:16:00:05", "bandwidth": {"ingressRate": 9000, "ingressBurst": 8000}},'
        ' {"slice": "blue", "bandwidth": {"egressRate": 0}}]'
    )

    red, blue = live_memberships(pod({"slicer.io/slices": wish}), "a")

    assert red.mac == "02:00:0a:16:00:05"
    assert red.bandwidth == Bandwidth(ingress_bps=9000, ingress_burst_bits=8000)
    assert (blue.mac, blue.bandwidth) == (None, None)


def test_what_a_late_wish_may_not_say_is_refused() -> None:
    """A burst without a rate; a hardware address for all pods of a namespace. Rates hold for each of them."""
    burst = '[{"slice": "red", "bandwidth": {"ingressBurst": 8000}}]'
    with pytest.raises(InvalidError, match="ingress burst 8000 is given without a rate"):
        live_memberships(pod({"slicer.io/slices": burst}), "a")

    metadata: Json = {"name": "shop", "uid": "u"}
    namespace: Json = {"kind": "Namespace", "metadata": metadata}
    metadata["annotations"] = {"slicer.io/slices": '[{"slice": "red", "mac": "02:00:0a:16:00:05"}]'}
    with pytest.raises(InvalidError, match="wishes a MAC address; that needs one pod"):
        namespace_memberships(namespace, "a")

    metadata["annotations"] = {"slicer.io/slices": '[{"slice": "red", "bandwidth": {"egressRate": 9000}}]'}
    (member,) = namespace_memberships(namespace, "a")
    assert member.bandwidth == Bandwidth(egress_bps=9000)


def test_a_namespace_cannot_wish_addresses() -> None:
    """They are one pod's."""
    namespace = {"metadata": {"name": "shop", "uid": "u", "annotations": {"slicer.io/slices": "red"}}}
    found = slim_namespace(namespace)
    assert found is not None
    assert [(m.slice, m.pod, m.labels) for m in namespace_memberships(found, "a")] == [("red", None, ())]

    namespace["metadata"]["annotations"] = {"slicer.io/slices": '[{"slice": "red", "ips": ["10.22.0.9"]}]'}  # type: ignore[index]
    with pytest.raises(InvalidError, match="needs one pod"):
        namespace_memberships(namespace, "a")
    assert slim_namespace({"metadata": {"name": "x"}}) is None


def test_fixed_addresses_are_wished_for() -> None:
    """Those that Multus will ask for, of our networks in the pod's own namespace."""
    networks = '[{"name": "slicer-red", "ips": ["10.22.4.9/32", "fd22::9"]}, {"name": "macvlan", "ips": ["10.0.0.1"]}]'

    (wish,) = address_wishes(pod({NETWORKS: networks}), "a")

    assert (wish.slice, wish.cluster, wish.node, wish.namespace, wish.pod) == ("red", "a", "", "shop", "web-0")
    assert [str(address) for address in wish.addresses] == ["10.22.4.9", "fd22::9"]
    assert address_wishes(pod({NETWORKS: "slicer-red"}), "a") == []


def test_networks_are_needed_by_pods_that_have_not_ended() -> None:
    """A Job's finished pods hold none, nor do pods on their way out: Multus needs them for no DEL."""
    ending = pod({NETWORKS: "slicer-green"})
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    done = pod({"slicer.io/slices": "blue"}, phase="Succeeded")
    kept = [slim_pod(one) for one in (pod({NETWORKS: "slicer-red"}), done, ending)]

    assert needed_networks([one for one in kept if one]) == {("shop", "red")}


def documents(**slice_: Any) -> Json:
    """Slice red in cluster a."""
    spec = Slice(name="red", prefixes=(ip_network("10.22.0.0/16"),), **slice_)
    return {"slice/red": SliceState(spec=spec, vni=1, tunnel_set=0), "cluster/a": Cluster(name="a")}


def review(webhook: Webhook, annotations: Json, **more: Any) -> Json:
    """The webhook's answer; patches as JSON."""

    class Request:
        async def stream(self) -> Any:
            asked = {
                "uid": "7",
                "namespace": "shop",
                "object": pod(annotations, **more),
                "dryRun": more.get("dry", False),
            }
            yield json.dumps({"request": asked}).encode()

    answer = json.loads(bytes(asyncio.run(webhook(Request())).body))["response"]  # type: ignore[arg-type]
    assert answer["uid"] == "7"
    return {**answer, "patch": json.loads(base64.b64decode(answer.get("patch", "bnVsbA==")))}


def test_the_webhook_gives_the_pod_to_multus() -> None:
    """One patch, and the network before the pod is let in; a pod that has it already is not patched."""
    made: list[tuple[str, str]] = []
    webhook = Webhook(documents(), "a", lambda namespace, name: made.append((namespace, name)))

    answer = review(webhook, {"slicer.io/slices": "red"})
    again = review(webhook, {"slicer.io/slices": "red", NETWORKS: "slicer-red"}, dry=True)

    assert answer["allowed"]
    value = '[{"name":"slicer-red","namespace":"shop"}]'
    assert answer["patch"] == [
        {"op": "add", "path": "/metadata/annotations/k8s.v1.cni.cncf.io~1networks", "value": value}
    ]
    assert made == [("shop", "red")]
    assert (again["allowed"], "patchType" in again) == (True, True)


def test_the_gate_is_added_once_and_beside_others() -> None:
    """Where the pod's own manifest has it, it is not added again."""
    webhook = Webhook(documents(), "a", lambda *_: None)
    wish = {"slicer.io/slices": "red", "slicer.io/readiness-gate": "true"}
    ours, other = {"conditionType": "slicer.io/connected"}, {"conditionType": "x/y"}

    first = review(webhook, wish, spec={"readinessGates": [other]})["patch"]
    second = review(webhook, wish, spec={"readinessGates": [ours]})["patch"]

    assert first[1] == {"op": "add", "path": "/spec/readinessGates", "value": [other, ours]}
    assert len(second) == 1


def test_a_network_that_cannot_be_made_stops_no_pod() -> None:
    """It is let in with a warning; the network is made later."""

    def fail(_namespace: str, _slice: str) -> None:
        raise UnavailableError("the API server is away")

    answer = review(Webhook(documents(), "a", fail), {"slicer.io/slices": "red"})

    assert answer["allowed"]
    assert answer["warnings"] == ["slicer: the API server is away"]


@pytest.mark.parametrize(
    ("slice_", "words"),
    [
        ({"namespaces": ("other",)}, "slice 'red' does not allow namespace 'shop'; ask who may change the slice"),
        ({"namespaces": ("other",), "contact": "ann"}, "slice 'red' does not allow namespace 'shop'; ask ann"),
        ({"clusters": ("b",)}, "names cluster 'a', which is not in slice 'red'"),
    ],
)
def test_the_webhook_refuses_what_may_not_be(slice_: Json, words: str) -> None:
    """403 with pod, slice and whom to ask; no network is made."""
    made: list[Any] = []

    answer = review(Webhook(documents(**slice_), "a", lambda *a: made.append(a)), {"slicer.io/slices": "red"})

    assert not answer["allowed"]
    assert answer["status"]["code"] == 403
    assert answer["status"]["message"] == f"pod shop/web-0 {words}" or answer["status"]["message"].endswith(words)
    assert made == []


def dns_pod(
    name: str, *addresses: str, phase: str = "Running", namespace: str = "kube-system", app: str = "kube-dns"
) -> Json:
    """A pod that looks like cluster DNS."""
    made = pod(phase=phase)
    made["metadata"] |= {"name": name, "namespace": namespace, "uid": name, "labels": {"k8s-app": app}}
    made["status"]["podIPs"] = [{"ip": address} for address in addresses]
    return made


@pytest.mark.parametrize("app", ["kube-dns", "node-local-dns"])
def test_pods_of_cluster_dns_are_remembered(app: str) -> None:
    """By their labels, for their addresses; they ask for nothing."""
    found = slim_pod(dns_pod("c", "10.244.0.5", "fd00::5", app=app))

    assert found is not None
    assert found["resolver"] == ["10.244.0.5", "fd00::5"]
    assert slices_of(found) == set()
    assert live_memberships(found, "a") == []


@pytest.mark.parametrize("other", [{"namespace": "shop"}, {"namespace": "kube-system2"}, {"app": "metrics-server"}])
def test_no_other_pod_is_cluster_dns(other: dict[str, str]) -> None:
    """The label counts in kube-system alone: in other namespaces anybody may put it on a pod."""
    assert slim_pod(dns_pod("c", "10.244.0.5", **other)) is None
