"""What the diff changes, in which order, and what it leaves alone."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slicer.model.slices import QosProfile, Slice, SliceState
from slicer.plan.dataplane import plan_node
from slicer.plan.dataplane_commands import Verb
from slicer.plan.dataplane_diff import diff
from slicer.plan.dataplane_values import (
    HtbClass,
    Link,
    Namespace,
    Neighbour,
    NodePlan,
    Qdisc,
    Route,
    Rule,
    Sysctl,
    Table,
    Vxlan,
    WgPeer,
    collect,
    plan_of,
)

NS = "s-000001"
ONE, TWO = ipaddress.ip_address("198.18.1.1"), ipaddress.ip_address("198.18.1.2")


def spoken(desired, observed):
    return [str(change) for change in diff(plan_of(desired), collect(observed))]


def route(number, **changes):
    return Route(ns=NS, dst=ipaddress.ip_network(f"10.0.{number}.0/24"), dev="vx0", via=ONE, **changes)


def peer(**changes):
    values = {
        "ns": "t-00",
        "dev": "w0.0",
        "public_key": "A" * 43 + "=",
        "endpoint": (ONE, 51820),
        "allowed_ips": (ipaddress.ip_network("10.0.0.0/24"),),
        "keepalive_s": 25,
    }
    return WgPeer(**(values | changes))


def test_equal_plans_need_nothing(make):
    """A plan differs from itself in nothing, whatever it holds."""
    plan = plan_node(make.documents(), make.local("a-n1", (0, 0)))

    assert diff(plan, plan) == ()


def test_additions_come_before_removals():
    """A new route is there before the old one goes."""
    assert spoken([route(2)], [route(1)]) == [
        f"ip -n {NS} route replace 10.0.2.0/24 via 198.18.1.1 dev vx0 onlink proto 83",
        f"ip -n {NS} route delete 10.0.1.0/24 proto 83",
    ]


def test_a_setting_missing_from_the_wish_is_reset():
    """Whole values are compared: a route that lost its next hop is written anew without it."""
    bare = Route(ns=NS, dst=route(1).dst, dev="vx0")

    assert spoken([bare], [route(1)]) == [f"ip -n {NS} route replace 10.0.1.0/24 dev vx0 proto 83"]


def test_a_changed_setting_is_written_and_an_unwished_one_is_left():
    """Settings end with their namespace; there is nothing to put them back to."""
    wish = Sysctl(ns=NS, name="net/ipv4/ip_forward", value="1")

    assert spoken([wish], [replace(wish, value="0")]) == [
        f"ip netns exec {NS} sysctl -w net/ipv4/ip_forward=1",
    ]
    assert spoken([], [wish]) == []


def test_what_can_be_changed_in_a_link_is_changed():
    """MTU, MAC address and state are set in place."""
    link = Link(ns=NS, name="tk0", kind="veth", mtu=1420, mac="02:00:00:00:00:01")
    bent = replace(link, mtu=1300, mac="02:00:00:00:00:02", up=False)

    assert spoken([link], [bent]) == [f"ip -n {NS} link set dev tk0 mtu 1420 address 02:00:00:00:00:01 up"]


def test_a_vxlan_with_another_address_is_made_anew():
    """What a VXLAN was made with cannot be changed."""
    link = Link(
        ns=NS, name="vx0", kind="vxlan", mtu=1450, mac="02:00:00:00:00:01", vxlan=Vxlan(vni=1, port=4790, local=TWO)
    )

    assert spoken([link], [replace(link, vxlan=Vxlan(vni=1, port=4790, local=ONE))]) == [
        f"ip -n {NS} link delete dev vx0",
        (
            f"ip link add name vx0 netns {NS} mtu 1450 address 02:00:00:00:00:01 type vxlan id 1 local 198.18.1.2"
            " dstport 4790 nolearning"
        ),
        f"ip -n {NS} link set dev vx0 up",
    ]


def test_a_dead_tunnel_device_is_made_anew():
    """A device that nothing serves is no device."""
    link = Link(ns="t-00", name="w0.0", kind="wireguard", mtu=1420)

    assert spoken([link], [replace(link, kind="dead")])[:2] == [
        "ip -n t-00 link delete dev w0.0",
        "ip link add name w0.0 netns t-00 mtu 1420 type wireguard",
    ]


def test_any_mac_will_do_where_none_is_wished():
    """The kernel chooses the address of an IFB; that is no difference."""
    link = Link(ns="t-00", name="ifb0", kind="ifb", mtu=1420)

    assert spoken([link], [replace(link, mac="02:00:00:00:00:01")]) == []


def test_a_peer_with_a_session_keeps_the_endpoint_it_roamed_to():
    """Its packets come from there; without a session the planned endpoint is set again."""
    roamed = peer(endpoint=(TWO, 9))

    assert spoken([peer()], [replace(roamed, alive=True)]) == []
    assert spoken([peer()], [roamed]) == [
        (
            f"ip netns exec t-00 wg set w0.0 peer {'A' * 43}= endpoint 198.18.1.1:51820 persistent-keepalive 25"
            " allowed-ips 10.0.0.0/24"
        ),
    ]


def test_new_allowed_addresses_reach_a_peer_with_a_session_at_its_own_endpoint():
    """A change of one setting does not send a roamed peer back."""
    wider = peer(allowed_ips=(*peer().allowed_ips, ipaddress.ip_network("10.9.0.0/24")))

    assert spoken([wider], [peer(endpoint=(TWO, 9), alive=True)]) == [
        (
            f"ip netns exec t-00 wg set w0.0 peer {'A' * 43}= endpoint 198.18.1.2:9 persistent-keepalive 25"
            " allowed-ips 10.0.0.0/24,10.9.0.0/24"
        ),
    ]


def test_an_unwished_peer_is_removed():
    """A key that nobody reported any more has no business here."""
    assert spoken([], [peer()]) == [f"ip netns exec t-00 wg set w0.0 peer {'A' * 43}= remove"]


def test_a_namespace_takes_its_content_along():
    """Devices go first, because their namespace may live on in an open socket; the rest needs no command."""
    vxlan = Link(ns=NS, name="vx0", kind="vxlan", mtu=1450)

    assert spoken(
        [], [Namespace(ns=NS), vxlan, route(1), Table(ns=NS, digest="x"), Rule(ns=NS, version=4, priority=0, table=255)]
    ) == [
        f"ip -n {NS} link delete dev vx0",
        f"ip netns delete {NS}",
    ]


def test_pods_routes_are_the_attach_paths_to_remove():
    """A pod that was attached a moment ago is not in the plan yet: its route and neighbour stay."""
    dst = ipaddress.ip_network("10.0.0.5/32")
    extra = [
        Route(ns=NS, dst=dst, dev="p00000001"),
        Neighbour(ns=NS, dev="p00000001", address=dst.network_address, mac="02:00:00:00:00:01"),
    ]

    assert spoken([], extra) == []


def test_a_class_with_another_rate_is_one_command():
    """Live change: the class keeps its queue and counters, the others are not spoken of."""
    classes = [
        HtbClass(ns="t-00", dev="ifb0", parent="1:1", classid=f"1:{n}", rate_bps=8000, ceil_bps=n * 10**6)
        for n in (16, 17)
    ]

    assert spoken([classes[0], replace(classes[1], ceil_bps=5 * 10**6)], classes) == [
        (
            "tc -n t-00 class replace dev ifb0 parent 1:1 classid 1:17 htb rate 8000bit ceil 5000000bit"
            " burst 3200 cburst 6250 prio 0 quantum 60000"
        ),
    ]


def test_a_qdisc_of_another_kind_is_replaced_whole():
    """A rate that changed is changed in place; another kind takes the old one away first."""
    wish = Qdisc(ns=NS, dev="p1", parent="root", handle="1:", kind="tbf", rate_bps=8_000_000)

    assert spoken([wish], [replace(wish, rate_bps=1)]) == [
        f"tc -n {NS} qdisc change dev p1 root handle 1: tbf rate 8000000bit burst 10000 latency 50ms"
    ]
    assert spoken([wish], [Qdisc(ns=NS, dev="p1", parent="root", handle="2:", kind="pfifo", limit=5)]) == [
        f"tc -n {NS} qdisc delete dev p1 root",
        f"tc -n {NS} qdisc add dev p1 root handle 1: tbf rate 8000000bit burst 10000 latency 50ms",
    ]


def test_a_queue_follows_its_class_and_goes_before_it(make):
    """A class must exist before its leaf does, and a leaf goes before its class."""
    profile = QosProfile(ceiling_bps=10**7)
    red = Slice(name="red", prefixes=make.prefixes("10.1.0.0/16", "fd01::/48"), qos=profile)
    plan = plan_node(make.documents(SliceState(spec=red, vni=1, tunnel_set=0)), make.local("a-n1", (0, 0)))
    made = [change.text for change in diff(plan, NodePlan()) if change.tool == "tc"]
    without = replace(plan, classes=plan.classes[:1], qdiscs=plan.qdiscs[:1], filters=())
    gone = [change.text for change in diff(without, plan)]

    assert made.index(next(t for t in made if "classid 1:11 " in t)) < made.index(
        next(t for t in made if "handle 11:" in t)
    )
    assert gone.index("qdisc delete dev ifb0 parent 1:2") < gone.index("class delete dev ifb0 classid 1:2")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_from_any_state_the_changes_lead_to_the_plan(make, data):
    """Whatever part of this or another plan is there, applying the changes and planning again changes nothing."""
    desired = plan_node(make.documents(), make.local("a-n1", (0, 0)))
    other = plan_node(make.documents(make.gateway("b", 1, "b-n2", make.key(3))), make.local("a-n3"))
    pool = [*desired.items(), *other.items()]
    there = data.draw(st.lists(st.sampled_from(pool), unique_by=lambda item: (type(item), item.key)))
    kernel = {(type(item), item.key): item for item in there}
    for change in diff(desired, collect(kernel.values())):
        if change.verb is Verb.PUT:
            kernel[type(change.item), change.item.key] = change.item
        else:
            kernel.pop((type(change.item), change.item.key), None)
    left = {key: item for key, item in kernel.items() if item.ns in {space.ns for space in desired.namespaces}}

    wanted = {(type(item), item.key) for item in desired.items()}
    assert diff(desired, collect(item for key, item in left.items() if key in wanted)) == ()
