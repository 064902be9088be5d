"""Every command against a real hub with members that report; nothing stands in for the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from slicer.model.attachments import TunnelHealth
from tests.unit.cli.hub import Hub, running
from tests.unit.cli.reports import RED, healthy, pod, two_clusters


def test_a_slice_is_made_shown_and_removed(hub: Hub) -> None:
    """The names of things go to stdout, remarks to stderr."""
    made = hub.run(*RED, "--guarantee", "20M", "--ceiling", "50M", "--dscp", "46", "--gateways", "all")
    assert (made.code, made.out) == (0, "")
    assert made.err.startswith("slice red created\n")

    spec = json.loads(hub.good("get", "slices", "red", "-o", "json"))["spec"]
    assert (spec["gateways"], spec["qos"]) == (
        0,
        {"guarantee_bps": 20_000_000, "ceiling_bps": 50_000_000, "priority": 4, "dscp": 46},
    )
    assert "20 Mbit/s" in hub.good("get", "slices", "-o", "wide")

    assert hub.run("delete-slice", "red", "--yes").err == "slice red deleted\n"
    assert hub.run("get", "slices").err == "no slices\n"


def test_what_get_prints_can_be_created_again(hub: Hub) -> None:
    """`get -o yaml` into `create-slice -f -`, also under another name."""
    hub.good("create-slice", "red", "-p", "10.100.0.0/16,fd00:100::/48", "--namespaces", "shop", "--ttl", "30s")
    text = hub.good("get", "slices", "red", "-o", "yaml")
    hub.good("create-slice", "-f", "-", "copy", stdin=text)

    specs = [yaml.safe_load(hub.good("get", "slice", name, "-o", "yaml"))["spec"] for name in ("red", "copy")]
    assert specs[0] == {**specs[1], "name": "red"}


def test_a_dry_run_changes_nothing(hub: Hub) -> None:
    """But the hub checks: a taken name is refused in a dry run as well."""
    assert hub.run(*RED, "--dry-run").err == "slice red is fine and would be created (dry run)\n"
    assert hub.good("get", "slices", "-o", "name") == ""

    hub.good(*RED)
    assert hub.run(*RED, "--dry-run").code == 5
    assert hub.run("delete-slice", "red", "--dry-run").code == 0
    assert hub.good("get", "slices", "-o", "name") == "slice/red\n"


def test_a_taken_name_is_a_conflict(hub: Hub) -> None:
    """Exit code 5, and how to look at what has the name."""
    hub.good(*RED)
    done = hub.run(*RED)

    assert (done.code, done.err.splitlines()) == (
        5,
        [
            "error: slice 'red' exists already",
            "cure:  slicectl get slices red -o yaml shows it; take another name, or remove it first",
        ],
    )


def test_a_wrong_token_is_denied(hub: Hub) -> None:
    """Exit code 6; the cure names the file, the message does not show the token."""
    (hub.directory / "wrong").write_text("geheim")
    done = hub.run("--token-file", str(hub.directory / "wrong"), "get", "slices")

    assert done.code == 6
    assert str(hub.directory / "wrong") in done.err
    assert "geheim" not in done.err


def test_a_server_that_is_not_there_is_unavailable(hub: Hub) -> None:
    """Exit code 7; the message names the address."""
    done = hub.run("--server", "https://127.0.0.1:1", "--context", "test", "get", "slices")

    assert done.code == 7
    assert "https://127.0.0.1:1" in done.err.splitlines()[0]
    assert "cure:  the server is that of context 'test'" in done.err


def test_a_wrong_ca_is_unavailable(hub: Hub) -> None:
    """Exit code 7; the cure says whose CA the file must be."""
    with running() as other:
        done = hub.run("--ca", str(other.directory / "state/ca.pem"), "get", "slices")

    assert done.code == 7
    assert f"is not the CA of {hub.url}" in done.err


def test_wait_gives_up_and_says_what_is_missing(hub: Hub) -> None:
    """Exit code 8; the slice stays."""
    hub.join("a")
    hub.join("b")
    done = hub.run(*RED, "--wait", "--timeout", "100ms")

    assert done.code == 8
    assert "after 0.1 s still waiting for gateways (cluster a, b has none)" in done.err
    assert hub.good("get", "slices", "-o", "name") == "slice/red\n"


def test_status_counts_and_judges(hub: Hub) -> None:
    """Exit code 7 when something is not; JSON for programs has the counts."""
    two_clusters(hub)
    done = hub.run("status", "-o", "json")
    value = json.loads(done.out)

    assert value["counts"]["attachments"] == 2
    # Reports came, but nobody holds a stream open: the hub rightly says that the clusters are not connected.
    assert {one["what"].partition(";")[0] for one in value["problems"]} == {
        "cluster a is not connected to the hub",
        "cluster b is not connected to the hub",
    }
    assert done.code == 7


def test_every_kind_is_listed_filtered_and_described(hub: Hub) -> None:
    """--slice and --cluster leave what belongs there."""
    two_clusters(hub)
    hub.good("export", "red", "web", "-n", "shop", "-l", "app=web", "-p", "http:8080")

    assert hub.good("get", "nodes", "-o", "name") == "node/a/a-n1\nnode/b/b-n1\n"
    assert hub.good("get", "nodes", "--cluster", "b", "-o", "name") == "node/b/b-n1\n"
    assert hub.good("get", "attachments", "-o", "name", "--slice", "red", "--cluster", "a") == (
        "attachment/red/a/shop/client\n"
    )
    assert hub.run("get", "attachments", "--slice", "blue").err == "no attachments\n"
    hub.good("create-slice", "near", "--prefix", "10.99.0.0/16", "--clusters", "a")
    assert hub.good("get", "nodes", "--slice", "near", "-o", "name") == "node/a/a-n1\n"
    assert hub.good("get", "nodes", "--slice", "red", "-o", "name") == "node/a/a-n1\nnode/b/b-n1\n"
    assert hub.run("get", "nodes", "--slice", "blue").err == "no nodes\n"
    assert "shop/web  http:8080/tcp  b 1" in hub.good("get", "services")
    assert "a/shop/client" in hub.good("describe", "slice", "red")
    assert "10.100.16.5" in hub.good("describe", "service", "web")
    assert "a-n1" in hub.good("describe", "cluster", "a")
    assert "WireGuard:     wireguard-go" in hub.good("describe", "node", "b-n1")
    assert "MTU:                1420" in hub.good("describe", "attachment", "shop/client")


def test_objectives_are_set_watched_and_cleared(hub: Hub) -> None:
    """What is given changes, the rest stays; each pair of clusters has a row with its figures."""
    a, _ = two_clusters(hub)

    first = hub.run("objectives", "set", "red", "--latency", "50ms")
    second = hub.run("objectives", "set", "red", "--loss", "2")
    found: dict[str, Any] = {"up": True, "rtt_us": 51_200, "loss_percent": 1}
    ends: dict[str, Any] = {"cluster": "a", "node": "a-n1", "remote_cluster": "b", "remote_node": "b-n1"}
    a.report(*healthy("a", "b", TunnelHealth(**ends, tunnel_set=0, index=0, **found)))
    shown = hub.good("describe", "slice", "red")
    cleared = hub.run("objectives", "set", "red", "--clear")

    assert first.err == "slice red: objectives: latency at most 50 ms\n"
    assert second.err == "slice red: objectives: latency at most 50 ms, loss at most 2 %\n"
    row = next(line for line in shown.splitlines() if line.strip().startswith("a / b"))
    assert row.split("  ")[-1].strip() == "the round trip takes more than 50 ms"
    assert [word in row for word in ("Violated", "51.20 ms", "1 %")] == [True] * 3
    assert cleared.err == "slice red: objectives: none\n"
    assert "a / b" not in hub.good("describe", "slice", "red")


def test_a_topology_is_made_shown_and_changed(hub: Hub) -> None:
    """A new one takes the place of what was said before, and --mesh of all."""
    two_clusters(hub)

    made = hub.run("create-slice", "star", "--prefix", "10.120.0.0/16", "--hub-cluster", "a")
    star = hub.good("describe", "slice", "star")
    linked = hub.run("topology", "set", "star", "--link", "b:a", "--link", "a:b")
    both = hub.run("topology", "set", "star", "--hub-cluster", "b", "--link", "b:a", "--dry-run")
    links = hub.good("get", "slice", "star", "-o", "json")
    mesh = hub.run("topology", "set", "star", "--mesh")

    assert made.code == 0, made.err
    assert "Topology:         hub a\n" in star
    assert linked.err == "slice star: topology: links a:b\n"
    assert both.err == "slice star: topology: hub b and links a:b (dry run)\n"
    assert json.loads(links)["spec"]["topology"] == {"hubs": [], "links": [{"clusters": ["a", "b"]}]}
    assert mesh.err == "slice star: topology: mesh\n"
    assert "Topology:         mesh\n" in hub.good("describe", "slice", "star")


def test_parallel_tunnels_are_asked_for_shown_and_changed(hub: Hub) -> None:
    """One is the default, and not worth a word."""
    two_clusters(hub)

    made = hub.run("create-slice", "wide", "--prefix", "10.120.0.0/16", "--tunnels-per-pair", "3")
    wide = hub.good("describe", "slice", "wide")
    dry = hub.run("tunnels", "set", "wide", "--per-pair", "8", "--dry-run")
    still = json.loads(hub.good("get", "slice", "wide", "-o", "json"))["spec"]["tunnels_per_pair"]
    fewer = hub.run("tunnels", "set", "wide", "--per-pair", "1")

    assert made.code == 0, made.err
    assert ", 3 between each two gateways\n" in wide
    assert dry.err == "slice wide: tunnels between each two gateways: 8 (dry run)\n"
    assert still == 3
    assert fewer.err == "slice wide: tunnels between each two gateways: 1\n"
    assert "between each two" not in hub.good("describe", "slice", "wide")


@pytest.mark.parametrize(
    ("number", "words"),
    [(n, f"tunnels_per_pair {n} is not between 1 and 8") for n in ("0", "9", "99", "-1")] + [("many", "valid integer")],
)
def test_a_senseless_number_of_parallel_tunnels_is_refused(hub: Hub, number: str, words: str) -> None:
    """Before anything is asked of the hub."""
    asked = (
        ("create-slice", "x", "--prefix", "10.9.0.0/16", "--tunnels-per-pair"),
        ("tunnels", "set", "x", "--per-pair"),
    )
    for question in asked:
        done = hub.run(*question, number)
        assert (done.code, words in done.err) == (2, True), done.err


def test_whois_finds_the_pod(hub: Hub) -> None:
    """And says which slice an address lies in that nobody holds."""
    two_clusters(hub)

    assert "b/shop/web" in hub.good("whois", "10.100.16.5")
    done = hub.run("whois", "10.100.16.6")
    assert (done.code, "no pod holds 10.100.16.6, which lies in slice red" in done.err) == (4, True)


def test_members_come_and_go(hub: Hub) -> None:
    """Named by what they say; removed as they were added; --wait returns when the interface is there."""
    a, _ = two_clusters(hub)
    done = hub.run("member", "add", "red", "--pod", "shop/late")
    assert (done.code, "--cluster a" in done.err) == (2, True)

    hub.good("member", "add", "red", "--cluster", "a", "-n", "shop", "-l", "app=web", "--reason", "trial")
    assert hub.run("member", "add", "red", "--cluster", "a", "-n", "shop", "-l", "app=web").code == 5
    a.report(*healthy("a", "b", pod("a", "late", "10.100.0.6", membership="red-a-shop-late")))
    done = hub.run("member", "add", "red", "--pod", "a/shop/late", "--wait")
    assert "✓ interface for pod shop/late: late has net1 10.100.0.6" in done.err
    assert hub.good("get", "members", "-o", "name") == "member/red-a-shop-app-web\nmember/red-a-shop-late\n"
    assert "pods shop/app=web" in hub.good("member", "list", "red")

    assert hub.run("member", "remove", "red", "-n", "shop").code == 4
    hub.good("member", "remove", "red", "-n", "shop", "-l", "app=web")
    hub.good("member", "remove", "red", "--pod", "a/shop/late")
    assert hub.run("member", "list", "red").err == "no members of slice red\n"


def test_several_pods_join_by_one_command_or_none_does(hub: Hub) -> None:
    """A refused pod leaves the others out as well; what is one pod's is refused for several."""
    two_clusters(hub)
    several = ("member", "add", "red", "--pod", "a/shop/one", "--pod")

    refused = hub.run(*several, "c/shop/two")
    assert (refused.code, "'c'" in refused.err) == (4, True)
    assert hub.run("member", "list", "red").err == "no members of slice red\n"
    for words, why in (
        ((*several, "a/shop/one"), "--pod a/shop/one is given twice"),
        ((*several, "b/shop/two", "--name", "x"), "--name is for one pod"),
        ((*several, "b/shop/two", "--ip", "10.100.0.9"), "--ip is for one pod"),
    ):
        done = hub.run(*words)
        assert (done.code, why in done.err) == (2, True)

    done = hub.run(*several, "b/shop/two")
    assert [line.split()[1] for line in done.err.splitlines()] == ["red-a-shop-one", "red-b-shop-two"]
    assert hub.good("get", "members", "-o", "name") == "member/red-a-shop-one\nmember/red-b-shop-two\n"


def test_a_used_slice_is_not_deleted_by_accident(hub: Hub) -> None:
    """The refusal names what uses it; without a terminal nobody is asked."""
    two_clusters(hub)
    hub.good("export", "red", "shop/web", "-l", "app=web")
    asked = hub.run("delete-slice", "red")
    refused = hub.run("delete-slice", "red", "--yes")

    assert (asked.code, "cure:  --yes" in asked.err) == (2, True)
    assert (refused.code, "slicectl delete-slice red --force" in refused.err) == (5, True)
    hub.good("unexport", "red", "shop/web")
    assert hub.run("get", "services").err == "no services\n"


def test_bandwidth_is_merged_and_cleared(hub: Hub) -> None:
    """What is not given stays; a guarantee above the ceiling that is already there is refused by the hub."""
    hub.good(*RED, "--guarantee", "20M")
    assert hub.run("qos", "set", "red", "--ceiling", "10M").code == 2
    hub.good("qos", "set", "red", "--ceiling", "50M")
    spec = yaml.safe_load(hub.good("get", "slices", "red", "-o", "yaml"))["spec"]
    assert (spec["qos"]["guarantee_bps"], spec["qos"]["ceiling_bps"]) == (20_000_000, 50_000_000)

    assert hub.run("qos", "set", "red", "--clear").err == "slice red: no limits\n"


def test_a_ping_without_an_agent_times_out(hub: Hub) -> None:
    """Exit code 8."""
    two_clusters(hub)
    done = hub.run("ping", "red", "10.100.16.5", "--from", "shop/client", "--timeout", "100ms")

    assert (done.code, "a/shop/client has not answered" in done.err) == (8, True)


@pytest.mark.parametrize(
    ("argv", "code", "message", "cure"),
    [
        (("get", "slices", "x"), 4, "there is no slice 'x'", "slicectl get slices lists them"),
        (("describe", "node", "x"), 4, "there is no node 'x'", "slicectl get nodes lists them"),
        (("describe", "tunnel", "x"), 2, "a tunnel has no description", "slicectl get tunnel -o yaml"),
        (("get", "slcies"), 2, "unknown kind 'slcies'", "slicectl get --help"),
        (("create-slice", "x"), 2, "slice 'x' needs a prefix", "slicectl create-slice x --prefix"),
        (("create-slice", "X_", "-p", "10.1.0.0/16"), 2, "slice name 'X_'", "slicectl create-slice --help"),
        (("create-slice", "x", "-p", "10.1.0.1/16"), 2, "--prefix '10.1.0.1/16'", "--help"),
        (("create-slice", "x", "-p", "10.1.0.0/30"), 2, "10.1.0.0/30", "--help"),
        (("create-slice", "x", "-p", "10.1.0.0/16", "--clusters", "zz"), 4, "cluster 'zz'", "slicectl get clusters"),
        (("create-slice", "x", "-f", "/nonexistent"), 2, "cannot read a slice from /nonexistent", "--help"),
        (("create-slice", "x", "-f", "/dev/null", "-p", "10.1.0.0/16"), 2, "--filename stands alone", "--help"),
        (("delete-slice", "x", "--yes"), 4, "there is no slice 'x'", "slicectl get slices"),
        (("delete-node", "n1", "--yes"), 2, "node 'n1' is not CLUSTER/NODE", "slicectl get nodes"),
        (("delete-node", "a/n1", "--yes"), 4, "/v1/nodes/a/n1", "at the member of their cluster (a)"),
        (("qos", "set", "x"), 2, "give at least one of", "slicectl qos set --help"),
        (("qos", "set", "x", "--ceiling", "1"), 2, "ceiling_bps 1 is not between", "slicectl qos set --help"),
        (("qos", "set", "x", "--ceiling", "1M"), 4, "there is no slice 'x'", "slicectl get slices"),
        (("objectives", "set", "x"), 2, "give at least one of", "slicectl objectives set --help"),
        (("objectives", "set", "x", "--loss", "1", "--clear"), 2, "or --clear alone", "slicectl objectives set --help"),
        (("objectives", "set", "x", "--latency", "6s"), 2, "latency_ms 6000 is not", "slicectl objectives set --help"),
        (("create-slice", "x", "-p", "10.1.0.0/16", "--loss", "100"), 2, "loss_percent 100 is not", "--help"),
        (("topology", "set", "x"), 2, "give at least one of", "slicectl topology set --help"),
        (("topology", "set", "x", "--mesh", "--link", "a:b"), 2, "or --mesh alone", "slicectl topology set --help"),
        (("topology", "set", "x", "--link", "a"), 2, "link 'a' is not CLUSTER:CLUSTER", "slicectl topology set"),
        (("topology", "set", "x", "--link", "a:b:c"), 2, "link 'a:b:c' is not", "slicectl topology set"),
        (("topology", "set", "x", "--link", "a:a"), 2, "'a:a' is not between two different", "slicectl topology set"),
        (("topology", "set", "x", "--hub-cluster", ","), 2, "names neither a hub nor a link", "slicectl topology set"),
        (("topology", "set", "x", "--hub-cluster", "a"), 4, "there is no slice 'x'", "slicectl get slices"),
        (("create-slice", "x", "-p", "10.1.0.0/16", "--hub-cluster", "zz"), 4, "'zz'", "slicectl get clusters"),
        (("member", "add", "x"), 4, "there is no slice 'x'", "slicectl get slices"),
        (("member", "add", "x", "-c", "a"), 2, "say who becomes a member", "--pod NAMESPACE/POD"),
        (("member", "remove", "x"), 2, "say which membership", "--name NAME"),
        (("member", "remove", "x", "--name", "y"), 4, "slice x has no such member", "slicectl member list x"),
        (("export", "x", "shop/web"), 2, "needs the labels", "--selector app=web"),
        (("export", "x", "shop/web", "-l", "a=b"), 4, "slice 'x'", "slicectl get slices"),
        (("unexport", "x", "shop/web"), 4, "there is no export 'x/shop/web'", "slicectl get services"),
        (("join-token", "a", "--kind", "pod"), 2, "--kind 'pod'", "slicectl join-token --help"),
        (("join-token", "a", "-o", "wide"), 2, "a token has no wide form", "-o json"),
        (("whois", "10.1.2"), 2, "address '10.1.2'", "slicectl whois --help"),
        (("whois", "10.1.2.3"), 4, "10.1.2.3 lies in no slice", "slicectl get slices"),
        (("ping", "x", "10.1.0.1", "--from", "a/b/c"), 4, "no pod 'a/b/c' is attached to slice x", "slicectl get"),
        (("completion", "tcsh"), 2, "shell 'tcsh'", "slicectl completion bash"),
        (("config", "use-context", "x"), 4, "there is no context 'x'", "slicectl config set-context"),
        (("config", "set-context", "new"), 2, "context 'new' is new", "slicectl config set-context new --server"),
    ],
)
def test_errors_name_the_thing_and_the_cure(
    hub: Hub, argv: tuple[str, ...], code: int, message: str, cure: str
) -> None:
    """One line of error, one of cure, the documented exit code, nothing on stdout, nothing changed."""
    done = hub.run(*argv)
    first, *rest = done.err.splitlines()

    assert (done.code, done.out) == (code, "")
    assert first.startswith("error: ")
    assert message in first
    assert any(line.startswith("cure:  ") and cure in line for line in rest), done.err
    assert hub.good("get", "slices", "-o", "name") == ""
