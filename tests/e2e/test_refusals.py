"""What slicectl is refused, with a message that names thing and text; nothing changes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from slicer.lab import rest

pytestmark = pytest.mark.root
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

REFUSED = [
    (("create-slice", "Bad_Name", "--prefix", "10.210.0.0/16"), 2, ("Bad_Name",)),
    (("create-slice", "x", "--prefix", "10.244.128.0/17"), 5, ("10.244.128.0/17", "10.244.0.0/16")),
    (("create-slice", "x", "--prefix", "10.210.0.0/30"), 2, ("10.210.0.0/30",)),
    (("create-slice", "x", "--prefix", "10.210.0.1/16"), 2, ("10.210.0.1/16",)),
    (("create-slice", "x", "--prefix", "10.210.0.0/16", "--clusters", "a,mars"), 4, ("mars",)),
    (
        ("create-slice", "x", "--prefix", "10.210.0.0/16", "--guarantee", "30M", "--ceiling", "20M"),
        2,
        ("30000000", "20000000"),
    ),
    (("delete-slice", "nowhere", "--yes"), 4, ("nowhere",)),
    (("describe", "slice", "nowhere"), 4, ("nowhere",)),
    (("get", "things"), 2, ("things",)),
    (("export", "nowhere", "shop/web", "--selector", "app=web"), 4, ("nowhere",)),
    (("member", "add", "nowhere", "--pod", "a/shop/web"), 4, ("nowhere",)),
]


@pytest.mark.parametrize(("argv", "code", "words"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_bad_input_is_refused_and_changes_nothing(lab, argv, code, words):
    """The exit code tells the kind of refusal, the message the thing and the offending text."""
    before = slices(lab)

    message = lab.refused(code, *argv)

    assert all(word in message for word in words), message
    assert slices(lab) == before


def test_an_unknown_field_is_refused(lab):
    """A file with a field that no slice has is refused with the field's name."""
    before = slices(lab)

    message = lab.refused(2, "create-slice", "-f", "-", stdin="name: x\nprefixes: [10.210.0.0/16]\ncolour: red\n")

    assert "colour" in message
    assert slices(lab) == before


def slices(lab):
    """All slices as the hub has them."""
    with lab.api() as api:
        return [resource["spec"] for resource in api.list("slices")]


JOIN = """printf %s "$1" >/run/token
exec timeout 20 slicer-agent --state "$(mktemp -d)" --run "$(mktemp -d)" --node a-n9 --address 198.18.1.19 \\
    --join-token-file /run/token"""


@pytest.fixture
def token(lab):
    """A fresh join token for a node of cluster a: token(name, ttl_s)."""

    def make(name, ttl_s=600):
        layout = lab.layout
        with rest.opened(layout, layout.machine("a-cp")) as api:
            wanted = {"kind": "node", "name": name, "ttl_s": ttl_s}
            return api.create("join-tokens", wanted)["status"]["token"]

    return make


def test_a_token_for_another_node_is_refused(lab, token):
    """An agent that is started with its neighbour's token ends, and says whose the token is."""
    done = lab.exec("a-n1", "env", f"PATH={PATH}", "sh", "-c", JOIN, "sh", token("a-n8"))

    assert done.returncode == 6, done
    assert "the join token is for slicer://node/a/a-n8, not for slicer://node/*/a-n9" in done.stderr


def test_an_expired_token_is_refused(lab, token, until):
    """After its life a token lets nobody in, and the agent says so."""
    short = token("a-n9", ttl_s=1)
    over = time.time() + 1.5
    until(lambda: time.time() > over, "the token's end")

    done = lab.exec("a-n1", "env", f"PATH={PATH}", "sh", "-c", JOIN, "sh", short)

    assert done.returncode == 6, done
    assert "has expired" in done.stderr


def test_a_used_token_is_refused(lab):
    """The token with which a-n1 joined lets nobody else in."""
    used = lab.exec("a-n1", "cat", "/var/lib/slicer/node-token").stdout

    done = lab.exec("a-n1", "env", f"PATH={PATH}", "sh", "-c", JOIN.replace("a-n9", "a-n1"), "sh", used)

    assert done.returncode == 5, done
    assert "was used already" in done.stderr
