"""The CRDs on the real API server: what they take, and what they refuse in the model's own words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from slicer.client.kube_api import Api
from slicer.model.errors import InvalidError
from slicer_controller.kube.naming import CLUSTER, MEMBERSHIP, QOS_PROFILE, SLICE, Kind

Json = dict[str, Any]
GOOD = {"prefixes": ["10.22.0.0/16"]}


def link(*clusters: str) -> Json:
    """One link of a topology."""
    return {"clusters": list(clusters)}


def declare(api: Api, kind: Kind, name: str, spec: Json, namespace: str = "") -> Json:
    """Server-side apply, as `kubectl apply --server-side` does it."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": "slicer.io/v1alpha1", "kind": kind.kind, "metadata": metadata, "spec": copy.deepcopy(spec)}
    return api.apply(kind.path(name, namespace), body, manager="tests")


@pytest.mark.parametrize(
    "spec",
    [
        GOOD,
        {"prefixes": ["fd22::/48", "10.22.0.0/16"], "clusters": ["a", "b"], "gateways": 0, "tunnels": "dedicated"},
        {**GOOD, "tunnelsPerPair": 8},
        {**GOOD, "topology": {"hubs": ["a"]}},
        {**GOOD, "clusters": ["a"], "topology": {"hubs": ["a"]}},
        {**GOOD, "clusters": ["a", "b", "c"], "topology": {"hubs": [], "links": [link("b", "a"), link("b", "c")]}},
        {**GOOD, "qos": {"guaranteeBps": 8000, "ceilingBps": 400000000000, "priority": 0, "dscp": 46}},
        {**GOOD, "qosProfile": "gold", "dns": {"ttlSeconds": 0}, "namespaces": ["shop"], "contact": "ops@example.com"},
    ],
)
def test_good_slices_are_taken(api: Api, spec: Json) -> None:
    """They come back as they were given, with defaults."""
    made = declare(api, SLICE, "good", spec)

    assert made["spec"].items() >= spec.items() or made["spec"]["qos"].items() >= spec["qos"].items()
    assert made["spec"]["gateways"] == spec.get("gateways", 2)
    assert made["spec"]["tunnelsPerPair"] == spec.get("tunnelsPerPair", 1)
    api.delete(SLICE.path("good"))


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("red.a", GOOD, "slice name 'red.a' is not a DNS label"),
        ("svc", GOOD, "slice name 'svc' means something else in DNS; choose another"),
        (
            "red",
            {"prefixes": ["10.22.0.0/16", "10.23.0.0/16"]},
            "give one IPv4 prefix, one IPv6 prefix, or one of each",
        ),
        ("red", {"prefixes": ["10.22.0.1/16"]}, "prefix '10.22.0.1/16' has host bits set"),
        ("red", {"prefixes": ["10.22.0.0"]}, "prefix '10.22.0.0' is not a prefix like"),
        ("red", {"prefixes": ["tomato"]}, "prefix 'tomato' is not a prefix like"),
        ("red", {"prefixes": ["224.0.0.0/8"]}, "prefix 224.0.0.0/8 is multicast, loopback, link-local or unspecified"),
        ("red", {"prefixes": ["fe80::/64"]}, "prefix fe80::/64 is multicast, loopback"),
        ("red", {**GOOD, "gateways": 65}, "Invalid value: 65: gateways is not between 0 and 64"),
        ("red", {**GOOD, "tunnelsPerPair": 0}, "Invalid value: 0: tunnelsPerPair is not between 1 and 8"),
        ("red", {**GOOD, "tunnelsPerPair": 99}, "Invalid value: 99: tunnelsPerPair is not between 1 and 8"),
        ("red", {**GOOD, "clusters": ["A b"]}, "cluster name 'A b' is not a DNS label"),
        ("red", {**GOOD, "namespaces": ["-x"]}, "namespace '-x' is not a DNS label"),
        ("red", {**GOOD, "dns": {"ttlSeconds": 3601}}, "Invalid value: 3601: ttlSeconds is not between 0 and 3600"),
        (
            "red",
            {**GOOD, "qos": {"ceilingBps": 5}},
            "Invalid value: 5: ceilingBps is not between 8000 and 400000000000",
        ),
        (
            "red",
            {**GOOD, "qos": {"guaranteeBps": 9000, "ceilingBps": 8000}},
            "guaranteeBps is above ceilingBps",
        ),
        ("red", {**GOOD, "qos": {}, "qosProfile": "gold"}, "slice 'red' has both qos and qosProfile; give one"),
        ("red", {**GOOD, "tunnels": "own"}, 'supported values: "shared", "dedicated"'),
        ("red", {**GOOD, "topology": {}}, "topology names neither a hub nor a link; leave it out to link every two"),
        ("red", {**GOOD, "topology": {"hubs": ["A b"]}}, "cluster name 'A b' is not a DNS label"),
        (
            "red",
            {**GOOD, "clusters": ["a"], "topology": {"hubs": ["a", "x"]}},
            "hub 'x' is not one of the slice's clusters",
        ),
        ("red", {**GOOD, "topology": {"links": [link("a", "a")]}}, "link 'a:a' is not between two different clusters"),
        ("red", {**GOOD, "topology": {"links": [link("a")]}}, "link 'a' is not between two different clusters"),
        (
            "red",
            {**GOOD, "clusters": ["a", "b"], "topology": {"links": [link("a", "b"), link("x", "b")]}},
            "a link of the topology is not between two of the slice's clusters",
        ),
        (
            "red",
            {**GOOD, "clusters": ["a", "b", "c"], "topology": {"links": [link("a", "b")]}},
            "cluster 'c' has no link; link it or take it out of the slice",
        ),
        ("red", {"prefixes": []}, "spec.prefixes"),
        ("red", {}, "spec.prefixes"),
    ],
)
def test_bad_slices_are_refused_in_the_models_words(api: Api, name: str, spec: Json, words: str) -> None:
    """The API server's message names the thing and shows the text; nothing is made."""
    with pytest.raises(InvalidError) as refused:
        declare(api, SLICE, name, spec)

    assert words in refused.value.message
    assert api.find(SLICE.path(name)) is None


def test_prefixes_never_change(api: Api) -> None:
    """Another order is the same; others are refused, naming the slice and what they are."""
    declare(api, SLICE, "still", {"prefixes": ["10.22.0.0/16", "fd22::/48"]})
    declare(api, SLICE, "still", {"prefixes": ["fd22::/48", "10.22.0.0/16"], "gateways": 3})

    with pytest.raises(InvalidError) as refused:
        declare(api, SLICE, "still", {"prefixes": ["10.23.0.0/16"]})

    assert "prefixes of slice 'still' cannot change (they are " in refused.value.message
    assert "): make another slice" in refused.value.message
    api.delete(SLICE.path("still"))


def test_encryption_never_changes(api: Api) -> None:
    """Declared or not, what it is stays; anything else is refused in the same words."""
    declare(api, SLICE, "open", GOOD)
    declare(api, SLICE, "open", {**GOOD, "encryption": "between-clusters"})
    with pytest.raises(InvalidError) as refused:
        declare(api, SLICE, "open", {**GOOD, "encryption": "everywhere"})

    told = "encryption of slice 'open' cannot change (it is between-clusters): make another slice"
    assert told in refused.value.message
    api.delete(SLICE.path("open"))


@pytest.mark.parametrize(
    ("kind", "name", "spec", "words"),
    [
        (
            MEMBERSHIP,
            "m",
            {"slice": "red", "pod": "p", "labels": {"a": "b"}},
            "membership 'm' has both a pod and labels",
        ),
        (
            MEMBERSHIP,
            "m",
            {"slice": "red", "addresses": ["10.7.0.9"]},
            "membership 'm' wishes addresses; that needs one",
        ),
        (MEMBERSHIP, "m", {"slice": "red", "pod": "p", "addresses": ["10.7"]}, "address '10.7' is not an IPv4 or IPv6"),
        (MEMBERSHIP, "m", {"slice": "red", "pod": "P_1"}, "pod name 'P_1' is not a DNS name"),
        (MEMBERSHIP, "m", {"slice": "red", "interface": "a/b"}, "interface name 'a/b' must have 1 to 15 characters"),
        (MEMBERSHIP, "m", {}, "spec.slice"),
        (CLUSTER, "a", {"cidrs": ["10.244.0.1/16"]}, "CIDR '10.244.0.1/16' has host bits set"),
        (CLUSTER, "a.b", {}, "cluster name 'a.b' is not a DNS label"),
        (QOS_PROFILE, "gold", {"priority": 8}, "Invalid value: 8: priority is not between 0 and 7"),
        (QOS_PROFILE, "gold", {"dscp": 64}, "Invalid value: 64: dscp is not between 0 and 63"),
    ],
)
def test_other_bad_objects_are_refused(api: Api, kind: Kind, name: str, spec: Json, words: str) -> None:
    """As for slices."""
    namespace = "default" if kind.namespaced else ""

    with pytest.raises(InvalidError) as refused:
        declare(api, kind, name, spec, namespace)

    assert words in refused.value.message
    assert api.find(kind.path(name, namespace)) is None


def test_unknown_fields_are_named(server: Any) -> None:
    """kubectl validates strictly: a slip of the pen is no silent nothing."""
    manifest = "apiVersion: slicer.io/v1alpha1\nkind: Slice\nmetadata: {name: red}\nspec: {prefix: [10.22.0.0/16]}\n"
    import subprocess

    with pytest.raises(subprocess.CalledProcessError) as refused:
        server.kubectl("apply", "-f", "-", stdin=manifest)

    assert 'unknown field "spec.prefix"' in refused.value.stderr


def test_columns_and_names_that_kubectl_shows(server: Any, api: Api, namespace: str) -> None:
    """Printer columns, short names and the category work."""
    declare(api, SLICE, "red", GOOD)
    declare(api, CLUSTER, "a", {"cidrs": ["10.244.0.0/16"]})
    declare(api, MEMBERSHIP, "m", {"slice": "red", "pod": "web-0"}, namespace)
    declare(api, QOS_PROFILE, "gold", {"guaranteeBps": 1000000})

    assert server.kubectl("get", "slice", "red").splitlines()[0].split() == [
        *("NAME", "PREFIXES", "CLUSTERS", "PODS", "READY", "REASON", "AGE")
    ]
    assert "10.244.0.0/16" in server.kubectl("get", "sclu", "a")
    assert "web-0" in server.kubectl("get", "smem", "-n", namespace)
    assert "1000000" in server.kubectl("get", "qos")
    assert server.kubectl("get", "slicer", "-o", "name").split() == [
        "qosprofile.slicer.io/gold",
        "slicecluster.slicer.io/a",
        "slice.slicer.io/red",
    ]
    assert server.kubectl("get", "smem", "-n", namespace, "--field-selector", "spec.slice=blue") == ""
    for path in (SLICE.path("red"), CLUSTER.path("a"), QOS_PROFILE.path("gold")):
        api.delete(path)
