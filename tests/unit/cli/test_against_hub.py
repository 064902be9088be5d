"""Every command against a real hub with members that report; nothing stands in for the server."""

from __future__ import annotations

import ipaddress
import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator

import pytest
import yaml

from slicer.model.attachments import Attachment, AttachmentState, Endpoint, EndpointSet, PathHealth, PingResult
from slicer.model.clusters import Gateway, Node
from slicer.model.documents import Document
from tests.unit.cli.hub import BIN, Hub, Member, running, until

RED = ("create-slice", "red", "--prefix", "10.100.0.0/16")


@pytest.fixture(scope="module")
def started() -> Iterator[Hub]:
    """One hub for the module."""
    with running() as hub:
        yield hub


@pytest.fixture
def hub(started: Hub) -> Hub:
    """The hub with nothing in it."""
    started.clear()
    return started


def node(cluster: str) -> Node:
    """The only node of a cluster."""
    return Node(
        cluster=cluster,
        name=f"{cluster}-n1",
        addresses=(ipaddress.ip_address("198.18.1.11"),),
        vtep_mac="02:00:00:00:00:01",
        wireguard="wireguard-go",
    )


def path(cluster: str, remote: str) -> PathHealth:
    """Packets passed."""
    return PathHealth(slice="red", cluster=cluster, node=f"{cluster}-n1", remote_cluster=remote, up=True, rtt_us=430)


def pod(cluster: str, name: str, address: str, **changes: object) -> Attachment:
    """An attached pod of namespace shop."""
    values: dict[str, object] = {
        "container_id": f"id-{name}",
        "interface": "net1",
        "slice": "red",
        "cluster": cluster,
        "node": f"{cluster}-n1",
        "namespace": "shop",
        "pod": name,
        "netns": "/run/netns/x",
        "addresses": (ipaddress.ip_address(address),),
        "mac": "02:00:0a:64:00:05",
        "host_interface": "p00000001",
        "mtu": 1420,
        "state": AttachmentState.ATTACHED,
    }
    return Attachment(**{**values, **changes})


def gateway(cluster: str) -> Gateway:
    """The cluster's gateway of the first tunnel set."""
    return Gateway(cluster=cluster, tunnel_set=0, slot=0, node=f"{cluster}-n1")


def healthy(cluster: str, remote: str, *more: Document) -> tuple[Document, ...]:
    """What a member reports when all is well."""
    return (node(cluster), gateway(cluster), path(cluster, remote), *more)


def two_clusters(hub: Hub) -> tuple[Member, Member]:
    """Clusters a and b have joined and reported, slice red spans both, shop/client and shop/web are on it."""
    a, b = hub.join("a"), hub.join("b")
    hub.good(*RED)
    a.report(*healthy("a", "b", pod("a", "client", "10.100.0.5")))
    web = EndpointSet(
        slice="red",
        namespace="shop",
        name="web",
        cluster="b",
        endpoints=(Endpoint(pod="web", node="b-n1", addresses=(ipaddress.ip_address("10.100.16.5"),)),),
    )
    b.report(*healthy("b", "a", pod("b", "web", "10.100.16.5"), web))
    return a, b


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
        (("qos", "set", "x"), 2, "give at least one of", "slicectl qos set --help"),
        (("qos", "set", "x", "--ceiling", "1"), 2, "ceiling_bps 1 is not between", "slicectl qos set --help"),
        (("qos", "set", "x", "--ceiling", "1M"), 4, "there is no slice 'x'", "slicectl get slices"),
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


def test_missing_files_of_a_context_are_named(hub: Hub) -> None:
    """A CA or token file that does not exist; a namespace that is gone."""
    for option in ("--ca", "--token-file"):
        done = hub.run(option, "/nonexistent", "get", "slices")
        assert (done.code, "/nonexistent" in done.err) == (4, True)

    hub.good("config", "set-context", "gone", "--server", hub.url, "--netns", "/nonexistent/netns")
    done = hub.run("--context", "gone", "get", "slices")
    assert (done.code, "slicectl lab up" in done.err) == (4, True)


def test_a_bug_shows_no_traceback(hub: Hub) -> None:
    """Exit code 1 and how to see more; with SLICER_DEBUG the traceback comes after."""
    (hub.directory / "bad").mkdir(exist_ok=True)
    quiet = hub.run("config", "view", HOME="/dev/null", SLICER_CONFIG="/dev/null/x")
    loud = hub.run("config", "view", HOME="/dev/null", SLICER_CONFIG="/dev/null/x", SLICER_DEBUG="1")

    assert "Traceback" not in quiet.err
    assert quiet.code == 2
    assert "Traceback" in loud.err


def test_wait_returns_when_packets_pass(hub: Hub) -> None:
    """Blocks come from the hub, gateways and paths from the members' reports; each step is one line."""
    a, b = hub.join("a"), hub.join("b")
    command = [BIN / "slicectl", *RED, "--wait"]
    with subprocess.Popen(command, env=hub.environ, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: {"block/red/a", "block/red/b"} <= set(a.view()))
        a.report(*healthy("a", "b"))
        assert process.poll() is None
        b.report(*healthy("b", "a"))
        lines = process.communicate()[1].splitlines()

    assert process.returncode == 0
    assert lines[0] == "✓ slice declared: 10.100.0.0/16"
    assert lines[2:] == [
        "✓ gateways: a a-n1; b b-n1",
        "✓ packets between clusters: 2 of 2 directions",
        "slice red is ready",
    ]


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
    assert "shop/web  http:8080/tcp  b 1" in hub.good("get", "services")
    assert "a/shop/client" in hub.good("describe", "slice", "red")
    assert "10.100.16.5" in hub.good("describe", "service", "web")
    assert "a-n1" in hub.good("describe", "cluster", "a")
    assert "WireGuard:     wireguard-go" in hub.good("describe", "node", "b-n1")
    assert "MTU:                1420" in hub.good("describe", "attachment", "shop/client")


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


def test_a_ping_is_asked_of_the_pods_node(hub: Hub) -> None:
    """The member finds the request in its view; its result is summed up; the request is gone afterwards."""
    a, _ = two_clusters(hub)
    hub.good("export", "red", "shop/web", "-l", "app=web")
    command = [BIN / "slicectl", "ping", "red", "shop/web", "--from", "a/shop/client"]
    with subprocess.Popen(command, env=hub.environ, stdout=subprocess.PIPE, text=True) as process:
        until(lambda: any(key.startswith("ping/") for key in a.view()))
        asked = next(value for key, value in a.view().items() if key.startswith("ping/"))
        result = PingResult(
            id=asked["id"], cluster="a", node="a-n1", sent=3, received=3, rtts_us=(430, 410, 900), error=""
        )
        a.report(*healthy("a", "b", pod("a", "client", "10.100.0.5"), result))
        out = process.communicate()[0]

    assert (asked["pod"], asked["target"]) == ("client", "10.100.16.5")
    assert process.returncode == 0
    assert out.splitlines() == [
        "a/shop/client → shop/web (10.100.16.5) over slice red",
        "3 sent, 3 received, 0 % lost",
        "round trip: least 0.41 ms, median 0.43 ms, most 0.90 ms",
    ]
    until(lambda: not any(key.startswith("ping/") for key in a.view()))


def test_a_ping_without_an_agent_times_out(hub: Hub) -> None:
    """Exit code 8."""
    two_clusters(hub)
    done = hub.run("ping", "red", "10.100.16.5", "--from", "shop/client", "--timeout", "100ms")

    assert (done.code, "a/shop/client has not answered" in done.err) == (8, True)


def test_watch_goes_on_and_ends_quietly(hub: Hub) -> None:
    """What is there, then what comes, one JSON line each; an interruption is no error."""
    hub.good(*RED)
    command = [BIN / "slicectl", "get", "slices", "--watch", "-o", "json"]
    with subprocess.Popen(
        command, env=hub.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["object"]["spec"]["name"] == "red"
        hub.good("create-slice", "blue", "-p", "10.101.0.0/16")
        while (line := json.loads(process.stdout.readline()))["object"]["spec"]["name"] != "blue":
            assert line["type"] == "put"
        process.send_signal(2)
        _, err = process.communicate()

    assert (process.returncode, err) == (130, "")


def test_a_reader_that_has_gone_is_no_error(hub: Hub) -> None:
    """`slicectl … | head` ends without a word."""
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [BIN / "slicectl", "create-slice", "--help"], env=hub.environ, stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        err = process.communicate()[1]

    assert err == ""


def test_names_are_completed_from_the_server(hub: Hub) -> None:
    """Kinds, names of the kind, clusters after a comma; silence when the server is away."""
    two_clusters(hub)

    def complete(*words: str, **environ: str) -> list[str]:
        line = {"COMP_WORDS": "\n".join(("slicectl", *words)), "COMP_CWORD": str(len(words))}
        return hub.run(**{**line, "_SLICECTL_COMPLETE": "complete_bash", **environ}).out.split()

    assert complete("get", "sl") == ["slices"]
    assert complete("describe", "slice", "r") == ["red"]
    assert complete("create-slice", "x", "--clusters", "a,") == ["a,a", "a,b"]
    assert complete("delete-slice", "") == ["red"]
    assert complete("ping", "red", "--from", "a/") == ["a/shop/client"]
    assert complete("--context", "t") == ["test"]
    assert complete("delete-slice", "", SLICER_CONTEXT="nowhere") == []


def test_completion_scripts_call_the_program(hub: Hub) -> None:
    """bash takes the script; all three shells have one."""
    script = hub.good("completion", "bash")
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")
    for shell in ("bash", "zsh", "fish"):
        assert "_SLICECTL_COMPLETE" in hub.good("completion", shell)


def test_contexts_are_kept_and_used(hub: Hub) -> None:
    """set-context, use-context and view; the token stays in its file."""
    environ = {"SLICER_CONFIG": str(hub.directory / "other.yaml")}
    hub.good("config", "set-context", "one", "--server", "https://one:8443", **environ)
    hub.good("config", "set-context", "two", "--server", "https://two:8443", "--ca", "x.pem", **environ)
    hub.good("config", "use-context", "two", **environ)
    lines = hub.good("config", "view", **environ).splitlines()

    assert [line.split()[:2] for line in lines[1:] if line.endswith(" file")] == [
        ["one", "https://one:8443"],
        ["*", "two"],
    ]
    assert hub.run("config", "set-context", "three", "--server", "http://x", **environ).code == 2


def test_versions_are_shown(hub: Hub) -> None:
    """Also when the hub is away."""
    assert hub.good("version").splitlines()[1] == f"hub      API 1 ({hub.url})"
    assert hub.good("version", SLICER_CONTEXT="x").splitlines()[1].startswith("hub      unknown: there is no context")


def test_the_lab_is_a_process_of_its_own(hub: Hub) -> None:
    """Its help and its exit codes come through."""
    helped, refused = (
        subprocess.run([BIN / "slicectl", "lab", word], env=hub.environ, capture_output=True, text=True, check=False)
        for word in ("--help", "nonsense")
    )

    assert (helped.returncode, helped.stdout.startswith("usage: slicectl lab")) == (0, True)
    assert refused.returncode == 2


def test_progress_is_drawn_on_a_terminal(hub: Hub) -> None:
    """The checklist is drawn in place, with the open step last seen as done."""
    a, b = hub.join("a"), hub.join("b")
    master, slave = pty.openpty()
    env = {**hub.environ, "TERM": "xterm", "COLUMNS": "80", "LANG": "C.UTF-8"}
    with subprocess.Popen([BIN / "slicectl", *RED, "-w"], env=env, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(master, seen))
        reader.start()
        a.report(*healthy("a", "b"))
        b.report(*healthy("b", "a"))
        process.wait()
        reader.join()
    os.close(master)
    text = b"".join(seen).decode()

    assert process.returncode == 0
    assert "\x1b[32m✓\x1b[0m packets between clusters: 2 of 2 directions" in text
    assert text.endswith("slice red is ready\r\n")


def _drain(fd: int, seen: list[bytes]) -> None:
    """Read a terminal until its other end is closed."""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            return
        if not data:
            return
        seen.append(data)
