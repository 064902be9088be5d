"""Addresses: IPv6 and dual stack, wishes that are kept or refused, pools that run out."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
EXAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "examples"


@pytest.mark.parametrize(
    ("prefixes", "versions"),
    [
        pytest.param(("10.201.0.0/16", "fd22:201::/48"), [4, 6], id="dual stack"),
        pytest.param(("fd22:202::/48",), [6], id="IPv6 alone"),
    ],
)
def test_pods_reach_each_other_in_every_family(lab, scope, until, prefixes, versions):
    """A pod gets one address of each family of its slice, each reaches the other cluster, and names answer with it."""
    slice_ = (
        scope.slice("--prefix", *prefixes[1:], prefix=prefixes[0]) if prefixes[1:] else scope.slice(prefix=prefixes[0])
    )
    (here,) = scope.example("dual-stack.yaml", "a", slice_)
    there = scope.pod("b", "there", slice_)
    name = scope.export(slice_, "there", "--selector", "app=there", "--port", "80")

    addresses = lab.addresses(there)["net1"]
    assert [ipaddress.ip_address(a).version for a in addresses] == versions
    for address in addresses:
        until(lambda address=address: lab.reaches(here, address), f"the way to {address}")
    for version, kind in ((4, "A"), (6, "AAAA")):
        expected = [a for a in addresses if ipaddress.ip_address(a).version == version]
        until(
            lambda kind=kind, expected=expected: lab.lookup(here, name, kind) == ("NOERROR", expected),
            f"{kind} of {name}",
        )


def test_a_wished_address_is_given_or_refused(lab, scope):
    """`ips`, `mac` and `interface` of the annotation are taken to the letter; what is taken or foreign is refused."""
    red = scope.slice()
    first = lab.addresses(scope.pod("a", "first", red, node="a-n1"))["net1"][0]
    wished = str(ipaddress.ip_address(first) + 20)
    text = (EXAMPLES / "fixed-address.yaml").read_text().replace("10.22.1.200", wished).replace('"red"', f'"{red}"')
    text = text.replace("namespace: shop", f"namespace: {scope.namespace}")

    lab.ctl("lab", "run", "-f", "-", "--cluster", "a", "--node", "a-n1", stdin=text)
    scope.pods.append(fixed := f"a/{scope.namespace}/fixed")

    assert lab.addresses(fixed)["red0"] == [wished]
    assert lab.exec(fixed, "cat", "/sys/class/net/red0/address").stdout.strip() == "02:00:0a:16:01:c8"
    for address, message in ((first, first), ("192.0.2.1", "192.0.2.1")):
        wish = json.dumps([{"slice": red, "ips": [address]}])
        manifest = json.dumps(scope.manifest("second", wish))
        refusal = lab.refused(1, "lab", "run", "-f", "-", "--cluster", "a", "--node", "a-n1", stdin=manifest)
        assert f"a/{scope.namespace}/second" in refusal
        assert message in refusal
    assert f"{scope.namespace}/second" not in lab.ctl("lab", "status")


def test_multus_own_annotation_works_as_well(lab, scope, until):
    """A pod that asks by a NetworkAttachmentDefinition of its own gets the interface it names."""
    red = scope.slice()
    (pod,) = scope.example("multus.yaml", "a", red)

    assert len(lab.addresses(pod)["red0"]) == 1
    status = json.loads(re.search(r"\[\{.*\}\]", lab.ctl("lab", "describe", pod), re.DOTALL)[0])
    assert [(s["name"], s["interface"]) for s in status] == [("lab", "eth0"), (f"{scope.namespace}/partners", "red0")]


def test_a_pod_in_two_slices_with_one_prefix_is_refused(lab, scope):
    """Slices may share a prefix, but not in one pod: it could not tell them apart."""
    one = scope.slice(prefix="10.203.0.0/16")
    two = scope.slice(prefix="10.203.0.0/16")

    manifest = json.dumps(scope.manifest("both", f"{one},{two}"))
    refusal = lab.refused(1, "lab", "run", "-f", "-", "--cluster", "a", stdin=manifest)

    assert one in refusal
    assert two in refusal
    assert f"{scope.namespace}/both" not in lab.ctl("lab", "status")


def test_a_pool_that_runs_out_says_which(lab, scope):
    """When a slice's prefix is used up, the pod is refused, and the message names the slice and the node."""
    small = scope.slice(prefix="10.204.0.0/26")
    manifest = "\n---\n".join(json.dumps(scope.manifest(f"p{n}", small)) for n in range(20))

    refusal = lab.refused(1, "lab", "run", "-f", "-", "--cluster", "a", "--node", "a-n1", stdin=manifest)

    scope.pods += re.findall(rf"^(a/{scope.namespace}/p\d+) ", lab.ctl("lab", "status"), re.MULTILINE)
    assert 0 < len(scope.pods) < 20
    assert small in refusal
    assert "a-n1" in refusal


def test_a_deployment_is_endpoints_behind_one_name(lab, scope, until):
    """Each replica gets an address of its own, and the service's name answers with all of them."""
    red = scope.slice()
    replicas = scope.example("deployment.yaml", "a", red)
    client = scope.pod("b", "client", red)
    name = scope.export(red, "api", "--selector", "app=api", "--port", "http:80")

    addresses = sorted(lab.addresses(pod)["net1"][0] for pod in replicas)

    assert len(set(addresses)) == 2
    until(lambda: lab.lookup(client, name)[1] == addresses, "both replicas")


def test_a_stateful_pod_takes_its_address_along(lab, scope, until):
    """On another node it has the same one, is reached there from everywhere, and nobody else ever gets it."""
    red = scope.slice()
    near, other, far = (scope.pod(c, n, red, node=f"{c}-{n}") for c, n in (("a", "n1"), ("a", "n2"), ("b", "n1")))
    (stateful,) = scope.example("statefulset.yaml", "a", red, node="a-n1")
    (address,) = lab.addresses(stateful)["net1"]
    until(lambda: granted(lab, stateful, address), "the grant")
    scope.delete(stateful)
    assert address not in lab.addresses(scope.pod("a", "next", red, node="a-n1"))["net1"]

    (stateful,) = scope.example("statefulset.yaml", "a", red, node="a-n2")

    assert lab.addresses(stateful)["net1"] == [address]
    for pod in (near, other, far):
        until(lambda pod=pod: lab.reaches(pod, address), f"{pod} reaches it")
        until(lambda pod=pod: lab.reaches(stateful, lab.addresses(pod)["net1"][0]), f"it reaches {pod}")
    scope.delete(stateful)
    (stateful,) = scope.example("statefulset.yaml", "a", red, node="a-n1")
    assert lab.addresses(stateful)["net1"] == [address]
    until(lambda: lab.reaches(other, address), "the way back home")


def test_a_fixed_address_of_another_nodes_block_is_granted(lab, scope, until):
    """The pod starts with it where it is put, others reach it, and a second pod that wants it is told whose it is."""
    red = scope.slice()
    near = scope.pod("a", "near", red, node="a-n1")
    far = scope.pod("b", "far", red)
    wished = str(ipaddress.ip_address(lab.addresses(near)["net1"][0]) + 7)

    fixed = scope.pod("a", "fixed", json.dumps([{"slice": red, "ips": [wished]}]), node="a-n2")

    assert lab.addresses(fixed)["net1"] == [wished]
    for pod in (near, far):
        until(lambda pod=pod: lab.reaches(pod, wished), f"{pod} reaches it")
    taken = lab.addresses(near)["net1"][0]
    refusals = (
        ("a-n1", wished, f"belongs to pod {scope.namespace}/fixed"),
        ("a-n2", taken, f"in use by {scope.namespace}/near on node 'a-n1'"),
    )
    for node, address, message in refusals:
        manifest = json.dumps(scope.manifest("second", json.dumps([{"slice": red, "ips": [address]}])))
        refusal = lab.refused(1, "lab", "run", "-f", "-", "--cluster", "a", "--node", node, stdin=manifest)
        assert message in refusal
    others = [lab.addresses(scope.pod("a", f"other-{n}", red, node="a-n1"))["net1"][0] for n in range(8)]
    assert wished not in others


def test_an_address_of_another_cluster_is_refused_by_name(lab, scope):
    """Its packets would go to the other cluster's gateways, whatever stood here."""
    red = scope.slice()
    theirs = str(ipaddress.ip_address(lab.addresses(scope.pod("b", "far", red))["net1"][0]) + 7)
    manifest = json.dumps(scope.manifest("lost", json.dumps([{"slice": red, "ips": [theirs]}])))

    refusal = lab.refused(1, "lab", "run", "-f", "-", "--cluster", "a", stdin=manifest)

    assert f"address {theirs} of slice '{red}' lies in a block of cluster 'b'" in refusal


def granted(lab, pod, address):
    """Whether the pod's address is its own on every node: a grant is ready, as each node of the cluster has seen it."""
    cluster, namespace, name = pod.split("/")
    views = [lab.view(f"{cluster}-{node}") for node in ("n1", "n2")]
    grants = [view.get(f"grant/{slice_}/{cluster}/{namespace}/{name}") for view in views for slice_ in slices_in(view)]
    return sum(bool(grant and grant["ready"] and address in grant["addresses"]) for grant in grants) == len(views)


def slices_in(view):
    """The names of the slices in a view."""
    return [key.removeprefix("slice/") for key in view if key.startswith("slice/")]
