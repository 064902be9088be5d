"""The control plane as a whole: what goes from an agent through member and hub to the agents of other clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slicer.client.identity import renew
from slicer.client.report import report_nothing
from slicer.model.clusters import LaneUse, TunnelUse
from slicer.model.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError, UnavailableError

RED = {"name": "red", "prefixes": ["10.7.0.0/16"], "clusters": ["a", "b"]}
WEB = {"slice": "red", "namespace": "shop", "name": "web", "selector": {"app": "web"}, "ports": [{"port": 80}]}


def two_clusters(plane: Any) -> tuple[Any, Any]:
    """Agents of two clusters with one slice over both, which have all of each other that they need."""
    for name in "ab":
        plane.member(name)
    with plane.hub.api() as api:
        api.create("slices", RED)
    agents = plane.agent("a", "a-n1"), plane.agent("b", "b-n1")
    for agent in agents:
        for key in ("gateway/a/0/0", "gateway/b/0/0", "nodeblock/red/a/a-n1", "nodeblock/red/b/b-n1"):
            agent.wait_key(key)
    return agents


def allocations(view: Any) -> dict[str, Any]:
    """What was promised: blocks, node blocks, slots, VNI."""
    return {
        key: value for key, value in view.items() if key.split("/")[0] in {"block", "nodeblock", "slice", "gateway"}
    }


def test_a_gateways_key_reaches_the_other_clusters_agent(plane: Any, make_node: Any) -> None:
    """What an agent reports of its tunnels is in the view of the agents of clusters that share a slice."""
    a, b = two_clusters(plane)

    a.report(make_node("a", "a-n1", port=51999))

    assert b.wait(lambda view: view["gateway/a/0/0"].tunnels[0].port == 51999)


def test_parallel_tunnels_are_asked_for_told_and_refused(plane: Any, make_node: Any) -> None:
    """The wish reaches the agents of all clusters, live; what a gateway says of its lanes reaches the far ones."""
    a, b = two_clusters(plane)
    assert a.wait_key("slice/red").spec.tunnels_per_pair == 1
    with plane.hub.api() as api:
        for wrong, words in ((0, "tunnels_per_pair 0 is not"), (99, "between 1 and 8"), ("many", '"many"')):
            with pytest.raises(InvalidError, match=words):
                api.patch("slices", "red", {"tunnels_per_pair": wrong})
        api.patch("slices", "red", {"tunnels_per_pair": 3})

    assert all(agent.wait(lambda view: view["slice/red"].spec.tunnels_per_pair == 3) for agent in (a, b))
    use = LaneUse(tunnel_set=0, remote_cluster="b", lane=2)
    one = make_node("a", "a-n1").tunnels[0]
    lanes = tuple(replace(one, tunnel_set=0, index=0, lane=lane, port=51820 + lane) for lane in (2, 0, 1))
    a.report(replace(make_node("a", "a-n1"), tunnels=lanes, lanes=(use,)))
    far = b.wait(lambda view: view["gateway/a/0/0"].lanes == (use,))["gateway/a/0/0"]
    assert [tunnel.lane for tunnel in far.tunnels] == [0, 1, 2]


def test_endpoints_follow_pods(plane: Any, make_attachment: Any) -> None:
    """An attached pod with the right labels is an endpoint in every cluster's zone view, and goes when it goes."""
    a, _ = two_clusters(plane)
    dns = plane.agent("b", "dns1", "dns")
    with plane.hub.api() as api:
        api.create("exports", WEB)
        pod = make_attachment("a", "a-n1", "web-0", "10.7.4.5")

        a.report(pod)

        view = dns.wait(lambda view: getattr(view.get("endpoints/red/shop/web/a"), "endpoints", ()))
        assert view["endpoints/red/shop/web/a"].endpoints[0].pod == "web-0"
        assert api.get("exports", "red/shop/web")["status"]["endpoints"][0]["endpoints"][0]["addresses"] == ["10.7.4.5"]

        a.report(without=("attachment/a/a-n1/c-web-0/net1",))

        assert dns.wait(lambda view: view["endpoints/red/shop/web/a"].endpoints == ())


def test_a_node_that_is_gone_for_good_is_deleted_by_a_user(plane: Any, make_attachment: Any) -> None:
    """Silence removes nothing; a deletion takes endpoints, gateway slot and blocks, and the certificate is void."""
    a, b = two_clusters(plane)
    second = plane.agent("a", "a-n2")
    dns = plane.agent("b", "dns1", "dns")
    with plane.hub.api() as hub, plane.members["a"].api() as member:
        hub.create("exports", WEB)
        a.report(make_attachment("a", "a-n1", "web-0", "10.7.4.5"))
        dns.wait(lambda view: getattr(view.get("endpoints/red/shop/web/a"), "endpoints", ()))
        second.wait_key("nodeblock/red/a/a-n2")
        with pytest.raises(ConflictError, match="'a-n1' is connected: stop it, or delete with force"):
            member.delete("nodes", "a/a-n1")
        a.stop()
        plane.agents.remove(a)

        assert delete_node(plane.members["a"], "a/a-n1") == 0

        dns.wait(lambda view: view["endpoints/red/shop/web/a"].endpoints == ())
        b.wait(lambda view: [v.node for k, v in view.items() if k.startswith("gateway/a/")] == ["a-n2"])
        second.wait(lambda view: not {"node/a/a-n1", "nodeblock/red/a/a-n1"} & view.keys())
        with pytest.raises(NotFoundError, match="there is no node 'a-n1' of cluster 'a'"):
            member.delete("nodes", "a/a-n1")
        with pytest.raises(UnauthenticatedError, match="was deleted here; join again"):
            renew(a.identity)


def delete_node(controller: Any, node: str) -> int:
    """The exit code of slicectl."""
    from slicer.cli.main import run

    files = ("--ca", str(controller.directory / "ca.pem"), "--token-file", str(controller.directory / "admin.token"))
    return run(["--server", controller.url, *files, "delete-node", node, "--yes", "--force"])


def test_a_kill_of_every_controller_changes_no_allocation(plane: Any) -> None:
    """kill -9 of hub and members, then a restart: views resume, allocations are the same, nothing was ever removed."""
    a, b = two_clusters(plane)
    before = allocations(a.follower.view), allocations(b.follower.view)
    told = len(b.told)

    for controller in (plane.hub, *plane.members.values()):
        controller.kill()
    for controller in (*plane.members.values(), plane.hub):
        controller.start()
    with plane.hub.api() as api:
        api.create("slices", RED | {"name": "blue", "prefixes": ["10.8.0.0/16"]})
    for agent in (a, b):
        agent.wait_key("nodeblock/blue/a/a-n1")

    after = allocations(a.follower.view), allocations(b.follower.view)
    assert before == tuple({key: view[key] for key in known} for known, view in zip(before, after, strict=True))
    assert all(before[1].keys() <= view.keys() for view in b.told[told:])


def test_a_member_works_while_its_hub_is_dead(plane: Any, make_attachment: Any) -> None:
    """Without a hub a member still serves its view to a new agent, gives it blocks, and follows its pods."""
    a, _ = two_clusters(plane)
    with plane.hub.api() as api:
        api.create("exports", WEB)
    a.report(make_attachment("a", "a-n1", "web-0", "10.7.4.5"))
    dns = plane.agent("a", "dns1", "dns")
    dns.wait_key("endpoints/red/shop/web/a")
    plane.hub.kill()
    plane.members["a"].kill()
    plane.members["a"].start()

    new = plane.agent("a", "a-n2")
    new.report(make_attachment("a", "a-n2", "web-1", "10.7.4.70"))

    assert new.wait_key("nodeblock/red/a/a-n2").blocks
    assert dns.wait(lambda view: len(view["endpoints/red/shop/web/a"].endpoints) == 2)


def test_a_hub_that_lost_its_memory_takes_nothing_down(plane: Any) -> None:
    """A hub with an empty store is another epoch: agents keep what they have, and hear of new things."""
    a, b = two_clusters(plane)
    before = dict(b.follower.view)
    plane.hub.kill()
    for file in plane.hub.directory.glob("store.db*"):
        file.unlink()

    plane.hub.start()
    with plane.hub.api() as api:
        # The members come back by themselves; once they do, the hub knows their clusters again.
        for line in api.watch("clusters"):
            if line["type"] == "put" and line["object"]["metadata"]["name"] == "b":
                break
        api.create("slices", RED | {"name": "green", "prefixes": ["10.9.0.0/16"], "clusters": ["b"]})
    b.wait_key("slice/green")

    assert before.keys() <= b.follower.view.keys()
    assert b.follower.view["slice/green"].vni != before["slice/red"].vni
    assert allocations(before).items() <= allocations(b.follower.view).items()
    assert a.follower.synced


def test_a_member_that_lost_its_memory_promises_the_same_again(plane: Any) -> None:
    """A member with an empty store takes its node blocks and slots back from the hub: nobody's address moves."""
    a, _ = two_clusters(plane)
    plane.agent("a", "a-n2").wait_key("nodeblock/red/a/a-n2")
    a.wait_key("nodeblock/red/a/a-n2")
    with plane.hub.api() as api:
        for line in api.watch("nodes"):
            if line["type"] == "put" and line["object"]["metadata"]["name"] == "a/a-n2":
                break
    before = allocations(a.follower.view)
    member = plane.members["a"]
    member.kill()
    for file in (*member.directory.glob("store.db*"), member.directory / "view.json"):
        file.unlink()

    member.start()
    with plane.hub.api() as api:
        api.create("slices", RED | {"name": "blue", "prefixes": ["10.8.0.0/16"]})
    a.wait_key("nodeblock/blue/a/a-n1")

    assert before.items() <= allocations(a.follower.view).items()


def test_an_agent_resumes_from_its_disk(plane: Any, make_node: Any) -> None:
    """A new follower in the same directory has the last view before it is connected to anybody."""
    from slicer.client.follow import Follower

    a, _ = two_clusters(plane)
    a.stop()
    plane.members["a"].kill()

    again = Follower(a.identity, "/v1/views/node", a.identity.directory / "view.json")

    assert dict(again.view) == dict(a.follower.view)
    assert again.synced
    assert not again.connected


def test_what_an_agent_knows_when_it_ends_is_told(plane: Any, make_attachment: Any) -> None:
    """Its last word reaches the member although it ends at once, or was said for it; a member that is gone is left."""
    member = plane.member("a")
    with plane.hub.api() as api:
        api.create("slices", RED | {"clusters": ["a"]})
    ending, cut_off = plane.agent("a", "a-n1"), plane.agent("a", "a-n2")
    ending.report(make_attachment("a", "a-n1", "one", "10.7.4.5"))
    cut_off.report(make_attachment("a", "a-n2", "two", "10.7.4.70"))
    with member.api() as api:
        heard: set[str] = set()
        for line in api.watch("attachments"):
            heard |= {line["object"]["spec"]["pod"]} if line["type"] == "put" else set()
            if heard == {"one", "two"}:
                break

        ending.reporter.stop(last={})

        assert [one["spec"]["pod"] for one in api.list("attachments")] == ["two"]
        report_nothing(cut_off.identity, "/v1/reports/node")

        assert api.list("attachments") == []
    member.kill()
    cut_off.reporter.stop(last={})

    assert not cut_off.reporter.acknowledged
    with pytest.raises(UnavailableError):
        report_nothing(cut_off.identity, "/v1/reports/node")


def test_a_node_that_asks_gets_another_block(plane: Any) -> None:
    """A demand grows the node's blocks, and through the member the cluster's; the first ones stay."""
    from slicer.model.attachments import AddressDemand

    for name in "ab":
        plane.member(name)
    with plane.hub.api() as api:
        api.create("slices", RED | {"prefixes": ["10.7.0.0/24"]})
    a = plane.agent("a", "a-n1")
    first = a.wait_key("nodeblock/red/a/a-n1").blocks

    for held in range(1, 6):
        a.report(AddressDemand(slice="red", cluster="a", node="a-n1", version=4, blocks_held=held))
        a.wait(lambda view, held=held: len(view["nodeblock/red/a/a-n1"].blocks) > held)

    blocks = a.follower.view["nodeblock/red/a/a-n1"].blocks
    assert blocks[:1] == first
    assert len(a.follower.view["block/red/a"].blocks) == 2


def test_an_address_is_granted_when_its_node_has_given_it_up(plane: Any) -> None:
    """A wish of one node for an address of another's block: every node sees the grant, ready after the yield."""
    from slicer.model.attachments import AddressWish, AddressYield

    plane.member("a")
    with plane.hub.api() as api:
        api.create("slices", RED | {"clusters": ["a"]})
    one, two = plane.agent("a", "a-n1"), plane.agent("a", "a-n2")
    (block,) = one.wait_key("nodeblock/red/a/a-n1").blocks
    wished = {"slice": "red", "cluster": "a", "addresses": (block[9],)}

    two.report(AddressWish(node="a-n2", namespace="shop", pod="db", **wished))
    first = one.wait_key("grant/red/a/shop/db")
    assert not first.ready
    assert "block of node 'a-n1'" in first.message
    one.report(AddressYield(node="a-n1", **wished))

    for agent in (one, two):
        agent.wait(lambda view: view["grant/red/a/shop/db"].ready)
        assert agent.follower.view["grant/red/a/shop/db"].addresses == (block[9],)


def test_a_member_that_lost_its_memory_grants_the_same_again(plane: Any) -> None:
    """The grants of pods that do not run just now come back from the hub, ready as they were."""
    from slicer.model.slices import Membership

    a, _ = two_clusters(plane)
    address = a.follower.view["block/red/a"].blocks[0][-7]
    asks = Membership(name="m", slice="red", cluster="a", namespace="shop", pod="db", addresses=(address,))
    with plane.hub.api() as api:
        api.create("memberships", {**_plain(asks), "addresses": [str(address)]})
        a.wait(lambda view: "grant/red/a/shop/db" in view and view["grant/red/a/shop/db"].ready)
        api.delete("memberships", "m")
    a.wait(lambda view: "membership/m" not in view)
    member = plane.members["a"]
    member.kill()
    for file in (*member.directory.glob("store.db*"), member.directory / "view.json"):
        file.unlink()

    member.start()
    with plane.hub.api() as api:
        api.create("slices", RED | {"name": "blue", "prefixes": ["10.8.0.0/16"]})
    a.wait_key("nodeblock/blue/a/a-n1")

    assert a.follower.view["grant/red/a/shop/db"].addresses == (address,)
    assert a.follower.view["grant/red/a/shop/db"].ready


def _plain(value: Any) -> Any:
    from slicer.client.codec import encode

    return {key: item for key, item in encode(value).items() if item}


def test_a_slice_that_is_deleted_goes_from_all_views(plane: Any) -> None:
    """Deleting a slice removes it, its blocks and its gateways from every agent's view."""
    a, b = two_clusters(plane)

    with plane.hub.api() as api:
        api.delete("slices", "red")

    for agent in (a, b):
        agent.wait(lambda view: not allocations(view))


def test_a_cluster_that_comes_back_at_once_has_its_nodes_blocks_as_they_were(plane: Any) -> None:
    """Released node blocks rest, but not from the node that had them: leaving and returning uses up nothing."""
    _, b = two_clusters(plane)
    before = allocations(b.follower.view)

    with plane.hub.api() as api:
        api.patch("slices", "red", {"clusters": ["a"]})
        b.wait(lambda view: "slice/red" not in view)
        api.patch("slices", "red", {"clusters": ["a", "b"]})

    for key in ("block/red/b", "nodeblock/red/b/b-n1"):
        assert b.wait_key(key) == before[key]


def test_one_process_can_be_hub_and_member(plane: Any, tmp_path: Any) -> None:
    """With both roles a controller is its own hub: a slice, an agent, an attachment, no join token for itself."""
    arguments = ("--role", "hub", "--role", "member", "--cluster", "solo")
    plane.members["solo"] = plane._controller("solo", *arguments)
    with plane.members["solo"].api() as api:
        api.create("slices", {"name": "red", "prefixes": ["10.7.0.0/16", "fd07::/48"]})
    agent = plane.agent("solo", "n1")

    blocks = agent.wait_key("nodeblock/red/solo/n1").blocks

    assert [block.version for block in blocks] == [4, 6]
    assert plane.members["solo"].stop() == 0


def test_a_drain_goes_its_way_through_killed_controllers(plane: Any, make_node: Any) -> None:
    """Declared at the hub, planned by the member, done when all agents say so; a restarted member goes on."""
    a, b = two_clusters(plane)
    second = plane.agent("a", "a-n2")
    second.wait_key("gateway/a/0/1")
    with plane.hub.api() as api:
        api.create("drains", {"cluster": "a", "node": "a-n1"})
        view = b.wait(lambda view: view["gateway/a/0/0"].state == "draining")
        departure = view["gateway/a/0/0"].departure
        plane.members["a"].kill()
        plane.members["a"].start()

        b.report(replace(make_node("b", "b-n1"), left=(departure,)))
        status = api.get("drains", "a/a-n1")["status"]
        assert (status["state"], "a/a-n2" in status["waiting_for"]) == ("draining", True)
        second.report(replace(make_node("a", "a-n2"), left=(departure,)))

        leaving = b.wait(lambda view: view["gateway/a/0/0"].state == "leaving")["gateway/a/0/0"]
        a.report(replace(make_node("a", "a-n1"), left=(leaving.departure,)))
        view = b.wait(lambda view: "gateway/a/0/0" not in view)
        assert view["gateway/a/0/1"].state == "active"
        assert api.get("drains", "a/a-n1")["status"]["state"] == "drained"

        api.delete("drains", "a/a-n1")


def test_a_rotation_reaches_every_gateway_and_its_history_the_user(plane: Any, make_node: Any) -> None:
    """Agents see the generation in force; when all of them use it and nothing else, the rotation is over."""
    agents = two_clusters(plane)
    with plane.hub.api() as api:
        name = api.create("rotations", {"tunnel_set": 0})["metadata"]["name"]
        for agent, cluster in zip(agents, "ab", strict=True):
            assert agent.wait_key(f"rotation/{name}").spec.generation == 1
            node = make_node(cluster, f"{cluster}-n1")
            new = tuple(replace(tunnel, tunnel_set=0, index=0, generation=1) for tunnel in node.tunnels)
            agent.report(replace(node, tunnels=new, uses=(TunnelUse(tunnel_set=0, generation=1),)))

        agents[0].wait(lambda view: view[f"rotation/{name}"].finished_at_s is not None)
        assert api.get("rotations", name)["status"]["state"] == "done"
