"""slicectl as a process against a real hub: waiting, watching, terminals, shells, contexts."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading

from slicer.model.attachments import PingResult
from tests.unit.cli.hub import BIN, Hub, until
from tests.unit.cli.reports import RED, healthy, pod, two_clusters


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
