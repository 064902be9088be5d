"""Custom resources as values of the model and back; conditions; names of memberships."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.clusters import Cluster
from slicer.model.errors import InvalidError, NotFoundError
from slicer.model.names import parse_prefix
from slicer.model.slices import DnsOptions, Encryption, Objectives, QosProfile, Slice, TunnelMode
from slicer.model.topology import ClusterLink, SliceTopology
from slicer.plan.status import Condition
from slicer_controller.kube.conditions import changed, render_conditions
from slicer_controller.kube.naming import CLUSTER, SLICE
from slicer_controller.kube.values import membership_name, parse_cluster, parse_membership, parse_slice, render_declared

Json = dict[str, Any]
RATES = st.none() | st.integers(8_000, 400_000_000_000)
SLICES = st.builds(
    lambda rates, **rest: Slice(
        qos=None if rates is None else QosProfile(guarantee_bps=min_of(rates), ceiling_bps=rates[1]), **rest
    ),
    rates=st.none() | st.tuples(RATES, RATES),
    name=st.just("red"),
    prefixes=st.sampled_from([("10.22.0.0/16",), ("fd22::/48", "10.22.0.0/16")]).map(
        lambda texts: tuple(parse_prefix("", text) for text in texts)
    ),
    clusters=st.sampled_from([(), ("a", "b")]),
    topology=st.sampled_from(
        [None, SliceTopology(hubs=("a",)), SliceTopology(links=(ClusterLink(clusters=("a", "b")),))]
    ),
    gateways=st.integers(0, 64),
    tunnels=st.sampled_from(TunnelMode),
    encryption=st.sampled_from(Encryption),
    dns=st.builds(DnsOptions, ttl_s=st.integers(0, 3600)),
    namespaces=st.sampled_from([(), ("shop",)]),
    contact=st.sampled_from(["", "net@example.com"]),
    objectives=st.sampled_from([None, Objectives(latency_ms=5), Objectives(loss_percent=0)]),
)


def min_of(rates: tuple[int | None, int | None]) -> int | None:
    """A guarantee that is not above the ceiling."""
    given_rates = [rate for rate in rates if rate is not None]
    return min(given_rates) if rates[0] is not None else None


@given(SLICES)
def test_a_slice_comes_back_from_its_object(spec: Slice) -> None:
    """Whatever REST declares is the same slice when the object is read."""
    made = render_declared(SLICE, spec)

    assert parse_slice(made, {}) == spec
    assert None not in made["spec"].values()


def test_an_object_keeps_what_is_not_ours() -> None:
    """A change of the spec leaves metadata alone."""
    before = {"metadata": {"name": "a", "resourceVersion": "7", "annotations": {"x": "y"}}, "spec": {}}

    made = render_declared(CLUSTER, Cluster(name="a", cidrs=(parse_prefix("", "10.1.0.0/16"),)), before)

    assert made["metadata"] == before["metadata"]
    assert made["spec"] == {"cidrs": ["10.1.0.0/16"]}
    assert parse_cluster(made).cidrs == (parse_prefix("", "10.1.0.0/16"),)


def test_a_profile_stands_for_its_values() -> None:
    """The slice has the profile's rates; one that is not there is named."""
    object_ = {"metadata": {"name": "red"}, "spec": {"prefixes": ["10.22.0.0/16"], "qosProfile": "gold"}}

    found = parse_slice(object_, {"gold": {"spec": {"ceilingBps": 9000, "priority": 1}}})

    assert found.qos == QosProfile(ceiling_bps=9000, priority=1)
    with pytest.raises(NotFoundError, match="slice 'red' names QoS profile 'gold', which does not exist"):
        parse_slice(object_, {})


@pytest.mark.parametrize("spec", [{"slice": "red", "colour": "x"}, {"slice": "red", "pod": "p", "labels": {"a": "b"}}])
def test_what_the_api_server_would_refuse_is_refused_here_too(spec: Json) -> None:
    """An API server with other CRDs lets nothing slip through."""
    with pytest.raises(InvalidError):
        parse_membership({"metadata": {"name": "m", "namespace": "shop"}, "spec": spec}, "a")


def test_a_membership_is_of_its_namespace_and_cluster() -> None:
    """Nothing in the object can say otherwise; its end is Unix time."""
    spec = {"slice": "red", "labels": {"app_x": "web"}, "until": "2030-01-31T18:00:00Z"}

    member = parse_membership({"metadata": {"name": "m", "namespace": "shop"}, "spec": spec}, "a")

    assert (member.cluster, member.namespace, member.declared_in, member.until_s) == ("a", "shop", "a", 1896112800)
    assert member.labels == (("app_x", "web"),)


@given(st.sampled_from(["a", "b"]), st.sampled_from(["shop", "x"]), st.text("ab.-", min_size=1, max_size=253))
def test_names_of_memberships_fit_and_differ(cluster: str, namespace: str, name: str) -> None:
    """At most 253 characters, and no two objects share one."""
    made = membership_name(cluster, namespace, f"a{name}a"[:253])

    assert len(made) <= 253
    assert made.startswith(f"k8s.{cluster}.{namespace}.")


def test_a_condition_changes_its_time_with_its_status_only() -> None:
    """Another reason or message is no transition; another status is."""
    first = render_conditions([Condition(type="Ready", status=False, reason="A", message="x")], [], 1, "t1")
    second = render_conditions([Condition(type="Ready", status=False, reason="B")], first, 2, "t2")
    third = render_conditions([Condition(type="Ready", status=True, reason="Ready")], second, 2, "t3")

    assert [c[0]["lastTransitionTime"] for c in (first, second, third)] == ["t1", "t1", "t3"]
    assert [c[0]["observedGeneration"] for c in (first, second, third)] == [1, 2, 2]
    assert changed(first, second) == second
    assert changed(second, second) == []


@pytest.mark.parametrize("until", ["0000-01-01T00:00:00Z", "2030-06-30T23:59:60Z", "9999-12-31T23:59:60Z"])
def test_a_time_that_no_calendar_has_is_refused(until: str) -> None:
    """The API server takes year 0 and second 60 as date-times; here they are a refusal, not a crash for all others."""
    object_ = {"metadata": {"name": "m", "namespace": "shop"}, "spec": {"slice": "red", "until": until}}

    with pytest.raises(InvalidError, match="is not a time"):
        parse_membership(object_, "a")
