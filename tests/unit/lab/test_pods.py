"""Pods that ask for slices, and what Multus makes of them (slicer.plan.pods)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.errors import InvalidError
from slicer.plan import pods
from slicer.plan.pods import AttachRequest, PodIdentity


def pod(slices=None, networks=None, namespace="shop"):
    annotations = {pods.SLICES: slices, pods.NETWORKS: networks}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "namespace": namespace,
            "annotations": {key: text for key, text in annotations.items() if text is not None},
        },
        "spec": {"containers": [{"name": "c"}]},
    }


def networks_of(expanded):
    return json.loads(expanded["metadata"]["annotations"][pods.NETWORKS])


FULL = {
    "slice": "red",
    "interface": "net7",
    "ips": ["10.22.0.5/24"],
    "mac": "02:00:0a:16:00:05",
    "bandwidth": {"ingressRate": 20000000, "ingressBurst": 160000},
}

EXPANSIONS = [
    ("red", None, [{"name": "slicer-red", "namespace": "shop"}]),
    (
        " red , blue ",
        None,
        [{"name": "slicer-red", "namespace": "shop"}, {"name": "slicer-blue", "namespace": "shop"}],
    ),
    ("red@net5", None, [{"name": "slicer-red", "namespace": "shop", "interface": "net5"}]),
    ('[{"slice": "red"}]', None, [{"name": "slicer-red", "namespace": "shop"}]),
    (
        json.dumps([FULL]),
        None,
        [
            {
                "name": "slicer-red",
                "namespace": "shop",
                "interface": "net7",
                "ips": ["10.22.0.5/24"],
                "mac": "02:00:0a:16:00:05",
                "bandwidth": {"ingressRate": 20000000, "ingressBurst": 160000, "egressRate": 0, "egressBurst": 0},
            }
        ],
    ),
    (
        "red",
        "infra/macvlan@m0",
        [{"name": "macvlan", "namespace": "infra", "interface": "m0"}, {"name": "slicer-red", "namespace": "shop"}],
    ),
    (
        "red",
        '[{"name": "sriov", "cni-args": {"vlan": 5}, "default-route": ["10.0.0.1"]}]',
        [
            {"name": "sriov", "cni-args": {"vlan": 5}, "default-route": ["10.0.0.1"]},
            {"name": "slicer-red", "namespace": "shop"},
        ],
    ),
    ("red", "slicer-red", [{"name": "slicer-red"}]),
    (
        "red",
        "other/slicer-red",
        [{"name": "slicer-red", "namespace": "other"}, {"name": "slicer-red", "namespace": "shop"}],
    ),
]


@pytest.mark.parametrize(("slices", "networks", "expected"), EXPANSIONS)
def test_a_slices_annotation_becomes_multus_networks_behind_those_already_there(slices, networks, expected):
    """expand_pod() adds one network a slice and keeps what the pod asks of Multus anyway, in its order."""
    assert expected == networks_of(pods.expand_pod(pod(slices, networks)))


@pytest.mark.parametrize(("slices", "networks", "_expected"), EXPANSIONS)
def test_expanding_twice_changes_nothing(slices, networks, _expected):
    """A webhook that is called again (reinvocation) leaves the pod as it is."""
    once = pods.expand_pod(pod(slices, networks))

    assert once == pods.expand_pod(once)


@pytest.mark.parametrize("slices", [None, "", "  "])
def test_a_pod_that_asks_for_no_slice_is_left_alone(slices):
    """expand_pod() gives back the very same pod if it did not opt in."""
    asked = pod(slices, "infra/macvlan")

    assert pods.expand_pod(asked) is asked


def test_expanding_does_not_change_its_input():
    """expand_pod() works on a copy."""
    asked = pod("red")
    before = json.dumps(asked)

    pods.expand_pod(asked)

    assert before == json.dumps(asked)


REFUSED = [
    ("red,", None, "empty element"),
    ("Red", None, "slice name 'Red'"),
    ("red,red", None, "names slice 'red' twice"),
    ("red@eth0", None, "interface 'eth0' is asked for by the primary network and slicer-red"),
    ("red@a/b", None, "interface name 'a/b'"),
    ("red@n1,blue@n1", None, "interface 'n1' is asked for by slicer-red and slicer-blue"),
    ("red@net2,blue", None, "interface 'net2' is asked for by slicer-red and slicer-blue"),
    ('[{"slice": "red"', None, "is not JSON"),
    ('{"slice": "red"}', None, "is not a JSON list of objects"),
    ('[{"slice": "red", "ip": "10.0.0.1"}]', None, "unknown key 'ip'"),
    ('[{"interface": "net1"}]', None, "names no slice"),
    ('[{"slice": "red", "ips": "10.0.0.1"}]', None, 'ips "10.0.0.1" is not a list'),
    ('[{"slice": "red", "ips": ["10.0.0.300"]}]', None, "address '10.0.0.300'"),
    ('[{"slice": "red", "ips": [5]}]', None, "5 is not a text"),
    ('[{"slice": "red", "mac": "01:00:00:00:00:00"}]', None, "MAC address '01:00:00:00:00:00'"),
    ('[{"slice": "red", "bandwidth": {"ingress": 5}}]', None, 'bandwidth {"ingress": 5} may have only'),
    ('[{"slice": "red", "bandwidth": {"ingressRate": "5M"}}]', None, 'ingressRate "5M" is not a number of bits'),
    ('[{"slice": "red", "bandwidth": {"egressRate": 5}}]', None, "egress rate 5 is not between 8000"),
    ("red", "Bad_Name", "network name 'Bad_Name'"),
    ("red", "a.b", "has a dot"),
    ("red", '[{"name": "x", "vlan": 5}]', "unknown key 'vlan'"),
    ("red", '[{"interface": "m0"}]', "names no network"),
    (
        '[{"slice": "red", "ips": ["10.22.0.5"]}]',
        '[{"name": "slicer-red", "ips": ["10.22.0.6"]}]',
        "ask for slice 'red' with different wishes",
    ),
]


@pytest.mark.parametrize(("slices", "networks", "message"), REFUSED)
def test_a_bad_annotation_is_refused_with_the_pod_and_the_text(slices, networks, message):
    """Every refusal names the pod, and what is wrong with which text."""
    with pytest.raises(InvalidError) as refused:
        pods.expand_pod(pod(slices, networks))

    assert message in refused.value.message
    assert "shop/web" in refused.value.message


label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.lists(label, min_size=1, max_size=5, unique=True))
def test_the_two_forms_of_the_slices_annotation_mean_the_same(slices):
    """A short list and the JSON list of the same slices give the same pod."""
    short = pods.expand_pod(pod(",".join(slices)))
    long = pods.expand_pod(pod(json.dumps([{"slice": name} for name in slices])))

    assert networks_of(short) == networks_of(long)


@given(st.lists(st.tuples(label, label, st.none() | label.filter(lambda t: len(t) <= 15)), max_size=6))
def test_the_two_forms_of_multus_annotation_mean_the_same(elements):
    """`ns/name@if` and its JSON form are read alike."""
    short = ",".join(f"{ns}/{name}" + (f"@{interface}" if interface else "") for ns, name, interface in elements)
    long = json.dumps(
        [
            {"name": name, "namespace": ns, **({"interface": interface} if interface else {})}
            for ns, name, interface in elements
        ]
    )

    assert pods.parse_networks(long, "shop/web") == pods.parse_networks(short, "shop/web")


@given(st.lists(label, min_size=1, max_size=6, unique=True))
def test_every_slice_becomes_one_attach_request_with_its_own_interface(slices):
    """plan_attachments(expand_pod()) asks once for each slice, in order, and for net1, net2, …"""
    requests = pods.plan_attachments(pods.expand_pod(pod(",".join(slices))))

    assert [f"slicer-{name}" for name in slices] == [request.name for request in requests]
    assert [f"net{n}" for n in range(1, len(slices) + 1)] == [request.interface for request in requests]


def test_a_network_asked_for_twice_is_two_requests():
    """Multus: the same network twice means two attachments."""
    requests = pods.plan_attachments(pod(networks="macvlan,macvlan"))

    assert [(r.namespace, r.name, r.interface) for r in requests] == [
        ("shop", "macvlan", "net1"),
        ("shop", "macvlan", "net2"),
    ]


IDENTITY = PodIdentity(namespace="shop", name="web", uid="u-1", container_id="c1")


def test_the_environment_of_a_call_is_that_of_multus():
    """CNI_ARGS are Multus' five, then MAC and the comma list of IP."""
    request = AttachRequest(
        namespace="shop", name="slicer-red", interface="net1", ips=("10.22.0.5/24", "fd00::5"), mac="02:00:00:00:00:05"
    )

    assert pods.render_environment("ADD", IDENTITY, request, "/var/run/netns/x", "/opt/cni/bin") == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/var/run/netns/x",
        "CNI_IFNAME": "net1",
        "CNI_ARGS": "IgnoreUnknown=true;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;"
        "K8S_POD_UID=u-1;MAC=02:00:00:00:00:05;IP=10.22.0.5/24,fd00::5",
        "CNI_PATH": "/opt/cni/bin",
    }


def test_stdin_has_runtime_config_for_declared_capabilities_only():
    """render_stdin() offers ips, mac and bandwidth to a plugin that declares them, and leaves `capabilities` in."""
    request = AttachRequest(
        namespace="shop",
        name="n",
        interface="net1",
        ips=("10.22.0.5",),
        mac="02:00:00:00:00:05",
        cni_args=(("vlan", 5),),
    )
    config = {"name": "n", "type": "t", "capabilities": {"ips": True, "mac": False}}

    assert pods.render_stdin(config, request) == {
        **config,
        "args": {"cni": {"vlan": 5}},
        "runtimeConfig": {"ips": ["10.22.0.5"]},
    }


def test_a_slices_network_leads_back_to_the_slice():
    """render_network() of a slice holds a configuration for our plugin that names the slice."""
    network = pods.render_network("red", "shop")

    assert (network["metadata"]["name"], network["metadata"]["namespace"]) == ("slicer-red", "shop")
    assert pods.network_config(network) == {
        "cniVersion": "1.1.0",
        "name": "slicer-red",
        "type": "slicer",
        "capabilities": {"ips": True, "mac": True, "bandwidth": True},
        "slicer": {"slice": "red"},
    }


def test_a_network_without_a_name_in_its_configuration_gets_its_own():
    """Multus injects the object's name."""
    network = {"metadata": {"name": "mac"}, "spec": {"config": '{"type": "macvlan"}'}}

    assert pods.network_config(network) == {"type": "macvlan", "name": "mac"}


@pytest.mark.parametrize("spec", [{}, {"config": ""}, {"config": "[]"}, {"config": None}])
def test_a_network_whose_configuration_is_not_an_object_is_refused(spec):
    """network_config() names the NetworkAttachmentDefinition."""
    with pytest.raises(InvalidError, match="NetworkAttachmentDefinition infra/mac"):
        pods.network_config({"metadata": {"name": "mac", "namespace": "infra"}, "spec": spec})


def test_network_status_is_multus_text_to_the_byte():
    """`[` + elements indented by four + `]`, addresses without length, `dns` always there."""
    result = {
        "interfaces": [
            {"name": "p1", "mac": "02:00:00:00:00:01"},
            {"name": "net1", "mac": "02:00:0a:16:00:05", "mtu": 1420, "sandbox": "/var/run/netns/x"},
        ],
        "ips": [{"address": "10.22.0.5/32", "interface": 1}],
    }

    assert (
        pods.render_network_status(pods.status_entries("shop/slicer-red", result))
        == """[{
    "name": "shop/slicer-red",
    "interface": "net1",
    "ips": [
        "10.22.0.5"
    ],
    "mac": "02:00:0a:16:00:05",
    "mtu": 1420,
    "dns": {}
}]"""
    )
