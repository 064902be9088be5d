"""From a view to a snapshot: what counts, what does not, and that planning again costs only what changed."""

from __future__ import annotations

import dataclasses
import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from slicer.model.attachments import LostCluster
from slicer.model.clusters import Gateway
from slicer.model.topology import SliceTopology
from slicer.plan.zones import ZonePlanner, ZoneSnapshot, plan_zones
from tests.unit.dns.world import (
    BLUE,
    BOTH,
    RED,
    attachment,
    documents,
    endpoint,
    endpoints,
    export,
    slice_,
    world,
)


def hosts(snapshot: ZoneSnapshot, slice_name: str, namespace: str, service: str) -> list[tuple[str, str]]:
    """(host, cluster) of a service."""
    found = snapshot.zones[slice_name].service(namespace, service)
    assert found is not None
    return [(host.host, host.cluster) for host in found.hosts]


def plan(*values: object) -> ZoneSnapshot:
    """A snapshot of a slice red with one member and these documents."""
    base = [slice_("red", "10.11.0.0/16"), attachment("red", "me", primary=RED, address="10.11.9.9")]
    return plan_zones(documents([*base, *values]))  # type: ignore[list-item]


def test_members_are_known_by_their_addresses() -> None:
    """Primary and slice addresses of attached pods lead to all slices of the pod; shared ones to none."""
    snapshot = plan_zones(documents(world()))
    slices = {a: snapshot.slices_of(ipaddress.ip_address(a)) for a in (RED, BLUE, BOTH, "10.11.1.3", "10.11.1.1")}

    assert slices == {
        RED: {"red"},
        BLUE: {"blue"},
        BOTH: {"red", "green"},
        "10.11.1.3": {"red", "green"},
        "10.11.1.1": frozenset(),
    }


def gateway(node: str, slot: int, tunnel_set: int = 0) -> Gateway:
    """One of the own cluster's gateways."""
    return Gateway(cluster="a", tunnel_set=tunnel_set, slot=slot, node=node, addresses=())


def lost(node: str, remote: str = "b", tunnel_set: int = 0) -> LostCluster:
    """What a gateway says that reaches a cluster no more."""
    return LostCluster(cluster="a", node=node, tunnel_set=tunnel_set, remote_cluster=remote)


def test_a_cluster_that_no_gateway_reaches_is_left_out() -> None:
    """With all its hosts, names and pointers, until one gateway takes back what it said; others stay."""
    shop = [
        export("red", "shop/web"),
        endpoints("red", "shop/web", "a", endpoint("here", "10.11.0.1")),
        endpoints("red", "shop/web", "b", endpoint("there", "10.11.0.9")),
        endpoints("red", "shop/web", "c", endpoint("else", "10.11.0.17")),
    ]
    gateways = [gateway("a-n1", 0), gateway("a-n2", 1)]
    gone = plan(*shop, *gateways, lost("a-n1"), lost("a-n2"))
    back = plan(*shop, *gateways, lost("a-n2"))

    assert hosts(gone, "red", "shop", "web") == [("here", "a"), ("else", "c")]
    assert ipaddress.ip_address("10.11.0.9") not in gone.zones["red"].pointers
    assert hosts(back, "red", "shop", "web") == [("here", "a"), ("there", "b"), ("else", "c")]


def test_a_cluster_that_is_not_linked_is_left_out() -> None:
    """As one that is lost: no host, no pointer; with the link they are there, and the own cluster's always."""
    shop = [
        export("red", "shop/web"),
        endpoints("red", "shop/web", "a", endpoint("here", "10.11.0.1")),
        endpoints("red", "shop/web", "b", endpoint("spoke", "10.11.0.9")),
        endpoints("red", "shop/web", "h", endpoint("hub", "10.11.0.17")),
    ]
    state = slice_("red", "10.11.0.0/16")
    starred, planner = (
        dataclasses.replace(state, spec=dataclasses.replace(state.spec, topology=SliceTopology(hubs=("h",)))),
        ZonePlanner(),
    )
    me = attachment("red", "me", primary=RED, address="10.11.9.9")
    found = [planner.plan(documents([one, me, *shop])) for one in (starred, state, starred)]

    star, mesh = [("here", "a"), ("hub", "h")], [("here", "a"), ("spoke", "b"), ("hub", "h")]
    assert [hosts(snapshot, "red", "shop", "web") for snapshot in found] == [star, mesh, star]
    assert ipaddress.ip_address("10.11.0.9") not in found[2].zones["red"].pointers


def test_what_is_said_of_another_tunnel_set_or_by_nobody_that_carries_it_counts_not() -> None:
    """A slice looks at the gateways that carry it; without any, nobody can have lost anything."""
    shop = [export("red", "shop/web"), endpoints("red", "shop/web", "b", endpoint("there", "10.11.0.9"))]
    elsewhere = plan(*shop, gateway("a-n1", 0), gateway("a-n1", 0, tunnel_set=1), lost("a-n1", tunnel_set=1))

    assert hosts(elsewhere, "red", "shop", "web") == [("there", "b")]
    assert hosts(plan(*shop, lost("a-n1")), "red", "shop", "web") == [("there", "b")]


def test_a_zone_is_planned_again_when_a_cluster_is_lost_and_when_it_is_back() -> None:
    """None of the slice's own documents changes then."""
    shop = [export("red", "shop/web"), endpoints("red", "shop/web", "b", endpoint("there", "10.11.0.9"))]
    values = [slice_("red", "10.11.0.0/16"), *shop, gateway("a-n1", 0)]
    planner = ZonePlanner()
    seen = [hosts(planner.plan(documents([*values, *more])), "red", "shop", "web") for more in ([], [lost("a-n1")], [])]

    assert seen == [[("there", "b")], [], [("there", "b")]]


def test_own_cluster_comes_first() -> None:
    """Hosts of the cluster whose attachments are in the view come before those of others, each sorted."""
    snapshot = plan(
        export("red", "shop/web"),
        endpoints("red", "shop/web", "b", endpoint("p", "10.11.0.9")),
        endpoints("red", "shop/web", "a", endpoint("z", "10.11.0.2"), endpoint("p", "10.11.0.1")),
        endpoints("red", "shop/web", "0", endpoint("p", "10.11.0.8")),
    )

    assert hosts(snapshot, "red", "shop", "web") == [("p", "a"), ("z", "a"), ("p", "0"), ("p", "b")]


def test_clusters_outside_the_slice_or_the_export_do_not_count() -> None:
    """Endpoints count if their cluster is in the slice, and among the export's clusters."""
    values = [
        slice_("red", "10.11.0.0/16", clusters=("a", "b")),
        export("red", "shop/web"),
        export("red", "shop/b", clusters=("b", "c")),
    ]
    for cluster in ("a", "b", "c"):
        for service in ("web", "b"):
            values.append(endpoints("red", f"shop/{service}", cluster, endpoint(f"p-{cluster}", "10.11.0.1")))  # noqa: PERF401
    snapshot = plan_zones(documents(values))

    assert hosts(snapshot, "red", "shop", "web") == [("p-a", "a"), ("p-b", "b")]
    assert hosts(snapshot, "red", "shop", "b") == [("p-b", "b")]


def test_addresses_outside_the_slice_are_no_answers() -> None:
    """A cluster that reports foreign addresses cannot make a slice's name lead there."""
    snapshot = plan(
        export("red", "shop/web"),
        endpoints("red", "shop/web", "b", endpoint("p", "192.0.2.1"), endpoint("q", "10.11.0.1", "192.0.2.2")),
    )

    assert hosts(snapshot, "red", "shop", "web") == [("q", "b")]
    assert [str(a) for a in snapshot.zones["red"].pointers] == ["10.11.0.1"]


def test_documents_of_unknown_slices_and_services_are_ignored() -> None:
    """Documents may come in any order: endpoints before their export, exports before their slice."""
    snapshot = plan(
        export("nope", "shop/web"),
        endpoints("nope", "shop/web", "a", endpoint("p", "10.11.0.1")),
        endpoints("red", "shop/unknown", "a", endpoint("p", "10.11.0.1")),
    )

    assert list(snapshot.zones) == ["red"]
    assert snapshot.zones["red"].namespaces == {}


def test_members_of_unknown_slices_are_nobody() -> None:
    """A slice that is gone leaves no right behind."""
    values = [attachment("gone", "x", primary=RED, address="10.11.0.1")]

    assert plan_zones(documents(values)).slices_of(ipaddress.ip_address(RED)) == frozenset()


def test_changed_slices_alone_are_planned_anew() -> None:
    """A change in one slice leaves the zone objects of the others as they are."""
    planner = ZonePlanner()
    view = documents(world())
    first = planner.plan(view)
    changed = endpoints("red", "shop/web", "b", endpoint("new", "10.11.2.99"))
    second = planner.plan({**view, "endpoints/red/shop/web/b": changed})

    assert second.zones["green"] is first.zones["green"]
    assert second.zones["blue"] is first.zones["blue"]
    assert hosts(second, "red", "shop", "web") == [("web-1", "a"), ("new", "b")]


def test_first_attachment_of_a_cluster_reorders_everything() -> None:
    """Which cluster is the own one is part of what a zone is planned from."""
    planner = ZonePlanner()
    values = [
        slice_("red", "10.11.0.0/16"),
        export("red", "shop/web"),
        endpoints("red", "shop/web", "a", endpoint("p", "10.11.0.1")),
        endpoints("red", "shop/web", "b", endpoint("p", "10.11.0.2")),
    ]
    before = planner.plan(documents(values))
    view = documents([*values, attachment("red", "x", primary=RED, address="10.11.9.9", cluster="b")])

    assert hosts(before, "red", "shop", "web") == [("p", "a"), ("p", "b")]
    assert hosts(planner.plan(view), "red", "shop", "web") == [("p", "b"), ("p", "a")]


@settings(max_examples=50)
@given(data=st.data())
def test_planning_again_is_planning_from_nothing(data: st.DataObject) -> None:
    """Whatever was planned before, a view's snapshot is the same."""
    planner = ZonePlanner()
    everything = list(documents(world()).items())
    for _ in range(4):
        some = dict(data.draw(st.lists(st.sampled_from(everything), unique_by=lambda item: item[0])))
        copied = {key: dataclasses.replace(value) for key, value in some.items()}
        view = data.draw(st.sampled_from((some, copied)))

        assert planner.plan(view) == plan_zones(view)
