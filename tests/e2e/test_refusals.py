"""What slicectl is refused, with a message that names thing and text; nothing changes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root

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


def slices(lab):
    """All slices as the hub has them."""
    with lab.api() as api:
        return [resource["spec"] for resource in api.list("slices")]


def test_a_token_works_once_and_for_its_name_only(lab):
    """A node's join token that was used, and one for another node, are refused by the member."""
    used = lab.exec("a-n1", "cat", "/var/lib/slicer/node-token").stdout
    script = (
        'printf %s "$1" >/tmp/token.$$; exec slicer-agent --state $(mktemp -d) --run $(mktemp -d) --node a-n9 '
        "--address 198.18.1.19 --join-token-file /tmp/token.$$"
    )

    done = lab.exec("a-n1", "timeout", "20", "sh", "-c", script, "sh", used)

    assert done.returncode not in {0, 124}, done
