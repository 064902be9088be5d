"""What the hub refuses: each with a status, a reason and a message that names thing and text, and nothing changed."""

from __future__ import annotations

from typing import Any

import pytest

RED = {"name": "red", "prefixes": ["10.7.0.0/16"], "clusters": ["a", "b"], "namespaces": ["shop"]}
MEMBER = {"name": "m1", "slice": "red", "cluster": "a", "namespace": "shop", "pod": "web-0"}
WEB = {"slice": "red", "namespace": "shop", "name": "web", "selector": {"app": "web"}}
POD = {
    "container_id": "c1",
    "interface": "net1",
    "slice": "red",
    "cluster": "a",
    "node": "n1",
    "namespace": "shop",
    "pod": "db-0",
    "netns": "/run/netns/x",
    "addresses": ["10.7.4.9"],
    "mac": "02:00:00:00:00:02",
    "host_interface": "p1",
    "mtu": 1420,
    "state": "attached",
}


@pytest.fixture
def full(hub: Any) -> Any:
    """A hub with slice red, slice twin (same prefix), a membership, an export, and a pod attached to red."""
    hub.create("slices", RED)
    hub.create("slices", {"name": "twin", "prefixes": ["10.7.0.0/16"]})
    hub.create("memberships", MEMBER | {"name": "m0", "pod": "old-0", "addresses": ["10.7.4.7"]})
    hub.create("exports", WEB)
    key = "attachment/a/n1/c1/net1"
    report = {"documents": {key: POD}}
    assert hub.call("PUT", "/v1/reports/cluster", report, peer="slicer://cluster/a")[0] == 200
    return hub


def slice_(**fields: Any) -> dict[str, Any]:
    """A new slice that would be right but for these fields."""
    return {"name": "new", "prefixes": ["10.8.0.0/16"], "clusters": ["a"]} | fields


def linking(*ends: str, **fields: Any) -> dict[str, Any]:
    """A new slice with one link."""
    return slice_(**{"clusters": ["a", "b"], "topology": {"links": [{"clusters": list(ends)}]}} | fields)


REFUSED = [
    ("slices", slice_(prefixes=["10.244.7.0/24"]), 409, "PrefixOverlap", ["10.244.7.0/24", "10.244.0.0/16", "'a'"]),
    ("slices", slice_(prefixes=["10.8.0.0/28"]), 422, "PrefixTooSmall", ["10.8.0.0/28", "1 clusters", "/27"]),
    ("slices", slice_(clusters=["nowhere"]), 404, "NotFound", ["'new'", "'nowhere'"]),
    ("slices", slice_(topology={}), 422, "Invalid", ["topology names neither a hub nor a link"]),
    ("slices", slice_(topology={"hubs": ["b"]}), 422, "Invalid", ["hub 'b' is not one of the slice's clusters"]),
    ("slices", slice_(topology={"hubs": ["zz"]}, clusters=[]), 404, "NotFound", ["'new'", "'zz'"]),
    ("slices", slice_(topology={"hubs": ["a b"]}), 422, "Invalid", ["'a b'"]),
    ("slices", slice_(topology={"hubs": ["a"], "spokes": []}), 422, "Invalid", ["topology.spokes", "no such field"]),
    ("slices", linking("a", "a"), 422, "Invalid", ["link 'a:a' is not between two different clusters"]),
    ("slices", linking("a"), 422, "Invalid", ["link 'a' is not between two different clusters"]),
    ("slices", linking("a", "b", clusters=["a"]), 422, "Invalid", ["link 'a:b' is not between two of the slice's"]),
    ("slices", linking("a", "zz", clusters=[]), 404, "NotFound", ["'new'", "'zz'"]),
    ("slices", linking("a", "b", clusters=["a", "b", "c"]), 422, "Invalid", ["cluster 'c' has no link; link it or"]),
    ("slices", slice_(tunnels_per_pair=0), 422, "Invalid", ["tunnels_per_pair 0 is not between 1 and 8"]),
    ("slices", slice_(tunnels_per_pair=99), 422, "Invalid", ["tunnels_per_pair 99 is not between 1 and 8"]),
    ("slices", slice_(tunnels_per_pair="many"), 422, "Invalid", ["tunnels_per_pair", '"many"']),
    ("slices", slice_(tunnels_per_pair=None), 422, "Invalid", ["tunnels_per_pair", "null"]),
    ("slices", slice_(name="Bad_Name"), 422, "Invalid", ["'Bad_Name'"]),
    ("slices", slice_(name="x" * 64), 422, "Invalid", ["x" * 64]),
    ("slices", slice_(clusters=["a b"]), 422, "Invalid", ["'a b'"]),
    ("slices", slice_(qos={"guarantee_bps": 20000, "ceiling_bps": 10000}), 422, "Invalid", ["20000", "10000"]),
    ("slices", slice_(qos={"gaurantee_bps": 20000}), 422, "Invalid", ["qos.gaurantee_bps", "no such field"]),
    ("slices", slice_(colour="red"), 422, "Invalid", ["colour", "no such field"]),
    ("slices", slice_(gateways="2"), 422, "Invalid", ["gateways", '"2"']),
    ("slices", slice_(gateways=65), 422, "Invalid", ["gateways 65"]),
    ("slices", slice_(prefixes=["10.8.0.1/16"]), 422, "Invalid", ["10.8.0.1/16", "host bits"]),
    ("slices", slice_(prefixes=["fd00::1/64"]), 422, "Invalid", ["fd00::1/64", "host bits"]),
    ("slices", slice_(prefixes=["10.8.0.0/16", "10.9.0.0/16"]), 422, "Invalid", ["10.8.0.0/16", "10.9.0.0/16"]),
    ("slices", slice_(prefixes=["224.0.0.0/8"]), 422, "Invalid", ["224.0.0.0/8"]),
    ("slices", {"name": "new"}, 422, "Invalid", ["prefixes", "missing"]),
    ("slices", RED, 409, "Exists", ["'red'"]),
    ("clusters", {"name": "a"}, 409, "Exists", ["'a'"]),
    ("clusters", {"name": "c", "cidrs": ["10.7.9.0/24"]}, 409, "PrefixOverlap", ["10.7.9.0/24", "'c'", "'twin'"]),
    ("memberships", MEMBER | {"slice": "grey"}, 404, "NotFound", ["'m1'", "'grey'"]),
    ("memberships", MEMBER | {"cluster": "c"}, 404, "NotFound", ["'m1'", "'c'", "'red'"]),
    ("memberships", MEMBER | {"namespace": "bank"}, 403, "NamespaceNotAllowed", ["'m1'", "'red'", "'bank'"]),
    ("memberships", MEMBER | {"addresses": ["10.9.0.1"]}, 422, "AddressOutsideSlice", ["10.9.0.1", "10.7.0.0/16"]),
    ("memberships", MEMBER | {"addresses": ["10.7.4.9"]}, 409, "AddressTaken", ["10.7.4.9", "shop/db-0", "'a'"]),
    ("memberships", MEMBER | {"addresses": ["10.7.4.7"]}, 409, "AddressTaken", ["10.7.4.7", "'m0'"]),
    ("memberships", MEMBER | {"addresses": ["10.7.4.300"]}, 422, "Invalid", ["addresses.0", "10.7.4.300"]),
    ("memberships", MEMBER | {"slice": "twin", "pod": "old-0"}, 409, "PrefixOverlap", ["'m0'", "'red'", "'twin'"]),
    ("memberships", MEMBER | {"slice": "twin", "pod": "db-0"}, 409, "PrefixOverlap", ["shop/db-0", "'net1'", "'red'"]),
    ("memberships", MEMBER | {"slice": "twin", "pod": None}, 409, "PrefixOverlap", ["'m0'", "10.7.0.0/16"]),
    ("memberships", MEMBER | {"labels": {"app": "web"}}, 422, "Invalid", ["'m1'", "pod and labels"]),
    ("memberships", MEMBER | {"labels": [["app", "web"]]}, 422, "Invalid", ["labels", "object"]),
    ("exports", WEB | {"slice": "grey"}, 404, "NotFound", ["shop/web", "'grey'"]),
    ("exports", WEB | {"name": "x", "namespace": "bank"}, 403, "NamespaceNotAllowed", ["bank/x", "'red'"]),
    ("exports", WEB | {"name": "x", "clusters": ["c"]}, 404, "NotFound", ["shop/x", "'c'"]),
    ("exports", WEB | {"name": "x", "selector": {}}, 422, "Invalid", ["shop/x", "empty selector"]),
    ("join-tokens", {"kind": "node", "name": "n1"}, 409, "WrongRole", ["hub", "cluster", "node"]),
    ("join-tokens", {"kind": "person", "name": "n1"}, 422, "Invalid", ["'person'"]),
    ("join-tokens", {"kind": "cluster", "name": "a", "ttl_s": 0}, 422, "Invalid", ["ttl_s 0"]),
    (
        "pings",
        {"id": "p", "cluster": "a", "namespace": "shop", "pod": "web-9", "slice": "red", "target": "10.7.4.9"},
        404,
        "NotFound",
        ["shop/web-9", "'red'"],
    ),
    (
        "pings",
        {"id": "p", "cluster": "a", "namespace": "shop", "pod": "db-0", "slice": "red", "target": "10.9.0.1"},
        422,
        "Invalid",
        ["10.9.0.1", "10.7.0.0/16"],
    ),
]


@pytest.mark.parametrize(("collection", "spec", "status", "reason", "words"), REFUSED)
def test_a_wrong_resource_is_refused_and_nothing_changes(
    full: Any, collection: str, spec: Any, status: int, reason: str, words: list[str]
) -> None:
    """The answer is a problem body whose detail names the thing and shows the text; the store is as before."""
    before = full.store.list(), full.store.revision

    answered, body = full.call("POST", f"/v1/{collection}", {"spec": spec})

    assert (answered, body["reason"]) == (status, reason), body
    assert all(word in body["detail"] for word in words), body["detail"]
    assert body["type"] == f"https://slicer.io/problems/{reason}"
    assert (full.store.list(), full.store.revision) == before


CHANGES = [
    ("PUT", "slices/red", {"spec": RED | {"prefixes": ["10.8.0.0/16"]}}, 409, "Immutable", ["'red'", "10.7.0.0/16"]),
    ("PATCH", "slices/red", {"spec": {"encryption": "everywhere"}}, 409, "Immutable", ["'red'", "between-clusters"]),
    ("PATCH", "slices/red", {"spec": {"encryption": "none"}}, 422, "Invalid", ["encryption", "none"]),
    ("PATCH", "slices/red", {"spec": {"clusters": ["b"]}}, 409, "InUse", ["'red'", "a/shop/db-0"]),
    ("PATCH", "slices/red", {"spec": {"topology": {"hubs": ["c"]}}}, 422, "Invalid", ["hub 'c'"]),
    ("PATCH", "slices/red", {"spec": {"topology": {}}}, 422, "Invalid", ["neither a hub nor a link"]),
    ("PATCH", "slices/red", {"spec": {"namespaces": ["bank"]}}, 409, "InUse", ["a/shop/db-0"]),
    ("PATCH", "slices/red", {"spec": {"name": "blue"}}, 409, "Conflict", ["'red'", "'blue'"]),
    ("PATCH", "slices/red", {"spec": {"prefixes": None}}, 422, "Invalid", ["prefixes", "missing"]),
    ("PATCH", "slices/red", {"spec": {"qos": {"dscp": 64}}}, 422, "Invalid", ["dscp 64"]),
    ("PATCH", "slices/red", {"spce": {}}, 422, "Invalid", ["spce", "no such field"]),
    ("PATCH", "slices/grey", {"spec": {}}, 404, "NotFound", ["'grey'"]),
    ("PUT", "slices/grey", {"spec": RED | {"name": "grey"}}, 404, "NotFound", ["'grey'"]),
    ("PUT", "slices/red", {"metadata": {"name": "x"}, "spec": RED}, 409, "Conflict", ["'x'", "'red'"]),
    ("DELETE", "slices/red", None, 409, "InUse", ["'red'", "1 pods", "a/shop/db-0"]),
    ("DELETE", "slices/grey", None, 404, "NotFound", ["'grey'"]),
    ("DELETE", "clusters/a", None, 409, "Conflict", ["'a'", "red"]),
    ("DELETE", "exports/red/shop/none", None, 404, "NotFound", ["red/shop/none"]),
    ("GET", "slices?colour=red", None, 422, "Invalid", ["colour"]),
    ("GET", "slices?limit=0", None, 422, "Invalid", ["limit", "'0'"]),
    ("GET", "slices?limit=1&limit=2", None, 422, "Invalid", ["limit", "twice"]),
    ("GET", "slices?continue=zz", None, 422, "Invalid", ["continue", "'zz'"]),
    ("GET", "slices?watch=yes", None, 422, "Invalid", ["watch", "'yes'"]),
    ("GET", "slices?watch=true&since=999999", None, 410, "TooOld", ["999999"]),
    ("GET", "nothing", None, 404, "NotFound", ["/v1/nothing"]),
    ("POST", "slices/red", {}, 405, "MethodNotAllowed", ["POST", "/v1/slices/red"]),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "reason", "words"), CHANGES)
def test_a_wrong_change_is_refused_and_nothing_changes(
    full: Any, method: str, path: str, body: Any, status: int, reason: str, words: list[str]
) -> None:
    """As for new resources: a problem body, and the store is as before."""
    before = full.store.list(), full.store.revision

    answered, problem = full.call(method, f"/v1/{path}", body)

    assert (answered, problem["reason"]) == (status, reason), problem
    assert all(word in problem["detail"] for word in words), problem["detail"]
    assert (full.store.list(), full.store.revision) == before


def test_a_write_of_what_somebody_changed_is_refused(hub: Any) -> None:
    """If-Match with an old revision is 412 for PUT, PATCH and DELETE; with the current one it goes through."""
    made = hub.create("slices", RED)
    revision = made["metadata"]["revision"]
    status, changed = hub.call("PATCH", "/v1/slices/red", {"spec": {"gateways": 3}}, If_Match=f'"{revision}"')
    assert status == 200

    for method, body in (("PUT", {"spec": RED}), ("PATCH", {"spec": {"gateways": 1}}), ("DELETE", None)):
        status, problem = hub.call(method, "/v1/slices/red", body, If_Match=f'"{revision}"')
        assert (status, problem["reason"]) == (412, "Stale")

    assert hub.call("GET", "/v1/slices/red")[1]["spec"]["gateways"] == 3
    assert hub.call("DELETE", "/v1/slices/red", If_Match=f'"{changed["metadata"]["revision"]}"')[0] == 204


def test_a_dry_run_does_everything_but_the_write(hub: Any) -> None:
    """The answer is what the write would give, and the store is as before."""
    before = hub.store.revision

    status, body = hub.call("POST", "/v1/slices?dry_run=true", {"spec": RED})

    assert (status, body["spec"]["name"], body["status"]["vni"]) == (201, "red", 1)
    assert hub.call("POST", "/v1/slices?dry_run=true", {"spec": RED | {"clusters": ["x"]}})[0] == 404
    assert hub.store.revision == before
    assert hub.call("GET", "/v1/slices")[1]["items"] == []


def test_force_ends_what_uses_a_slice(full: Any) -> None:
    """With ?force=true memberships and exports go with the slice, of this slice only."""
    full.create("memberships", MEMBER | {"name": "other", "slice": "twin", "cluster": "b"})

    assert full.call("DELETE", "/v1/slices/red?force=true")[0] == 204

    names = [item["metadata"]["name"] for item in full.call("GET", "/v1/memberships")[1]["items"]]
    assert names == ["other"]
    assert full.call("GET", "/v1/exports")[1]["items"] == []
    assert not [entry.key for entry in full.store.list("block/red/")]


def test_a_list_comes_in_pages(hub: Any) -> None:
    """`limit` and `continue` show everything once, in order of names."""
    names = [f"s{n:02}" for n in range(7)]
    for number, name in enumerate(names):
        hub.create("slices", {"name": name, "prefixes": [f"10.{number}.0.0/16"], "clusters": ["b"]})

    seen, path = [], "/v1/slices?limit=3"
    while path:
        page = hub.call("GET", path)[1]
        seen.append([item["metadata"]["name"] for item in page["items"]])
        path = page["next"] and f"/v1/slices?limit=3&continue={page['next']}"

    assert seen == [names[:3], names[3:6], names[6:]]


def test_a_merge_patch_takes_away_with_null(hub: Any) -> None:
    """RFC 7396: null removes a field (its default comes back), objects are merged, everything else is replaced."""
    hub.create("slices", RED | {"qos": {"ceiling_bps": 1_000_000, "priority": 1}})

    status, body = hub.call("PATCH", "/v1/slices/red", {"spec": {"qos": {"priority": None, "dscp": 46}}})

    assert status == 200
    qos = {"guarantee_bps": None, "ceiling_bps": 1_000_000, "priority": 4, "dscp": 46}
    assert body["spec"]["qos"] == qos
    assert hub.call("PATCH", "/v1/slices/red", {"spec": {"qos": None}})[1]["spec"]["qos"] is None


def test_the_same_put_twice_changes_nothing(hub: Any) -> None:
    """PUT is idempotent: the revision stays if the spec is what is there."""
    made = hub.create("slices", RED)
    revision = hub.store.revision

    status, body = hub.call("PUT", "/v1/slices/red", {"spec": RED})

    assert (status, body["metadata"]) == (200, made["metadata"])
    assert hub.store.revision == revision


def test_a_cluster_that_comes_back_within_a_day_gets_its_blocks_again(hub: Any) -> None:
    """A left cluster's blocks are reserved for 24 hours, also against others; after that anybody gets them."""
    hub.create("slices", RED)
    mine = hub.store.get("block/red/b").value["blocks"]
    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a"]}})
    assert hub.store.get("block/red/b") is None
    hub.create("clusters", {"name": "c"})
    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a", "c"]}})
    assert hub.store.get("block/red/c").value["blocks"] != mine

    hub.clock.now_s += 23 * 3600
    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a", "b", "c"]}})
    assert hub.store.get("block/red/b").value["blocks"] == mine

    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a", "c"]}})
    hub.clock.now_s += 25 * 3600
    hub.create("clusters", {"name": "d"})
    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a", "c", "d"]}})
    assert hub.store.get("block/red/d").value["blocks"] == mine


def test_a_reservation_that_is_over_gives_no_block_to_two(hub: Any) -> None:
    """A newcomer takes the block that nobody has reserved any more; who had it and comes back then gets another."""
    hub.create("slices", RED)
    mine = hub.store.get("block/red/b").value["blocks"]
    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a"]}})
    hub.create("clusters", {"name": "a2"})
    hub.clock.now_s += 25 * 3600

    hub.call("PATCH", "/v1/slices/red", {"spec": {"clusters": ["a", "a2", "b"]}})

    assert hub.store.get("block/red/a2").value["blocks"] == mine
    assert hub.store.get("block/red/b").value["blocks"] != mine


def test_a_prefix_that_is_nearly_used_up_says_so(hub: Any) -> None:
    """A cluster whose wish for another block cannot be met is named in the slice's condition, which still holds."""
    hub.create("slices", {"name": "tiny", "prefixes": ["10.8.0.0/26"], "clusters": ["a", "b"]})

    def condition(held: int) -> tuple[bool, str, str]:
        demand = {"slice": "tiny", "cluster": "a", "node": "", "version": 4, "blocks_held": held}
        report = {"documents": {"demand/tiny/a/-/4": demand}}
        assert hub.call("PUT", "/v1/reports/cluster", report, peer="slicer://cluster/a")[0] == 200
        hub.call("PATCH", "/v1/slices/tiny", {"spec": {"gateways": held}})
        found = hub.call("GET", "/v1/slices/tiny")[1]["status"]["conditions"]
        return next((c["status"], c["reason"], c["message"]) for c in found if c["type"] == "Allocated")

    assert condition(1) == (True, "Allocated", "")
    status, reason, message = condition(2)

    assert (status, reason) == (True, "NearlyUsedUp")
    assert "'a'" in message
    assert "10.8.0.0/26" in message


def test_wrong_bodies_are_refused(hub: Any) -> None:
    """What is no JSON object with the right fields is 422, and says what is wrong."""
    for body in ([], "x", {}, {"spec": None}, {"spec": []}, {"spec": RED, "extra": 1}):
        status, problem = hub.call("POST", "/v1/slices", body)
        assert status == 422, problem
        assert problem["detail"]


def test_a_cluster_that_a_topology_names_stays(hub: Any) -> None:
    """Also where the slice is over all clusters and does not name its members: a star would lose its hub."""
    hub.create("slices", {"name": "star", "prefixes": ["10.9.0.0/16"], "topology": {"hubs": ["b"]}})

    status, body = hub.call("DELETE", "/v1/clusters/b")

    assert (status, body["reason"]) == (409, "Conflict")
    assert "cluster 'b' is in slice star" in body["detail"]


def test_a_ping_between_clusters_that_are_not_linked_is_refused(full: Any) -> None:
    """By name of both clusters: no answer could come, and none is waited for."""
    theirs = full.context.state.documents["block/red/b"]
    ping = {"id": "p", "cluster": "a", "namespace": "shop", "pod": "db-0", "slice": "red"}
    target = str(theirs.blocks[0].network_address)
    full.create("clusters", {"name": "hub"})
    full.create("pings", ping | {"target": target})
    changed = RED | {"clusters": ["a", "b", "hub"], "topology": {"hubs": ["hub"]}}
    assert full.call("PUT", "/v1/slices/red", {"spec": changed})[0] == 200

    status, body = full.call("POST", "/v1/pings", {"spec": ping | {"id": "q", "target": target}})

    assert (status, body["reason"]) == (409, "NotLinked")
    assert all(word in body["detail"] for word in (target, "cluster 'b'", "cluster 'a'", "'red'"))
