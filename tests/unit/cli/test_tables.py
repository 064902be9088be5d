"""What `get` and `describe` show, from resources alone."""

from __future__ import annotations

import json

import pytest
import yaml

from slicer.cli.describe import describe, format_qos, render
from slicer.cli.following import apply_changes
from slicer.cli.kinds import ATTACHMENTS, DESCRIBED, KINDS, NODES, SERVICES, SLICES, TUNNELS, Kind, kind_named
from slicer.cli.output import Format, natural_width, print_resources, show
from slicer.model.errors import InvalidError
from tests.unit.cli import samples
from tests.unit.cli.samples import NOW

EXPECTED = {
    "slices": """\
NAME  PREFIXES       CLUSTERS   PODS  STATUS  AGE
red   10.100.0.0/16  all (a,b)  3     ready   5m
""",
    "clusters": """\
NAME  CONNECTED  NODES  LAST REPORT  AGE
a     yes        0      2s           5m
b     yes        0      2s           5m
""",
    "nodes": """\
CLUSTER  NODE  ADDRESSES    GATEWAY  WIREGUARD     VERSION
a        a-n1  198.18.1.11  capable  wireguard-go  0.1.0
a        a-n2  198.18.1.11  capable  wireguard-go  0.1.0
b        b-n1  198.18.1.11  capable  wireguard-go  0.1.0
""",
    "gateways": """\
CLUSTER  SET  SLOT  NODE  STATE            ADDRESSES    UDP PORTS
a        0    0     a-n1  draining for 5s  198.18.1.11  51820
a        0    1     a-n2  active           198.18.1.11  51820
b        0    0     b-n1  active           198.18.1.11  51820
""",
    "tunnels": """\
FROM    TO      STATE  RTT      P99      JITTER   LOSS  HANDSHAKE
a/a-n1  b/b-n1  up     0.43 ms  1.20 ms  0.06 ms  2 %   12s ago
b/b-n1  a/a-n1  up     -        -        -        -     12s ago
""",
    "members": """\
NAME                SLICE  CLUSTER  WHO                AGE
red-a-shop-app-web  red    a        pods shop/app=web  5m
""",
    "attachments": """\
SLICE  POD            NODE  INTERFACE  ADDRESSES    STATE
red    a/shop/client  a-n1  net1       10.100.0.5   attached
red    b/shop/web     b-n1  net1       10.100.16.5  attached
""",
    "services": """\
SLICE  SERVICE   PORTS          ENDPOINTS  AGE
red    shop/web  http:8080/tcp  b 1        5m
""",
    "drains": """\
CLUSTER  NODE  STATE     WAITING FOR    AGE  REASON
a        a-n1  draining  a/a-n3,b/b-n1  5m   new disk
""",
    "rotations": """\
SET  GENERATION  STATE      WAITING FOR  STARTED  FINISHED  REASON
0    1           done       -            5m ago   4m ago    -
0    2           handshake  b/b-n1       5m ago   -         -
""",
}
SHOWN = samples.healthy() | {
    "gateways": [
        samples.a_gateway("a", "a-n1", state="draining", since_ms=int((NOW - 5) * 1000)),
        samples.a_gateway("a", "a-n2", 1),
        samples.a_gateway("b", "b-n1"),
    ],
    "drains": [samples.a_drain("a/a-n3", "b/b-n1")],
    "rotations": [samples.a_rotation(1), samples.a_rotation(2, "b/b-n1")],
}
"""Kind by kind, what stands in the tables."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_tables_line_up_and_end_without_spaces(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind, as it is printed where stdout is no terminal."""
    print_resources(kind, SHOWN[kind.collection], Format.TABLE, NOW)

    assert capsys.readouterr().out == EXPECTED[kind.plural]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_wide_has_more_columns_on_the_same_lines(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """Where stdout is no terminal no line is ever broken."""
    resources = SHOWN[kind.collection]
    print_resources(kind, resources, Format.WIDE, NOW)
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == 1 + len(resources)
    assert lines[0].startswith(EXPECTED[kind.plural].splitlines()[0])


def test_what_does_not_fit_is_shown_in_blocks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A narrow terminal gets one field a line instead of words broken in the middle."""
    monkeypatch.setenv("COLUMNS", "40")
    print_resources(NODES, [samples.a_node("a", "a-n1"), samples.a_node("a", "a-n2")], Format.TABLE, NOW)
    lines = capsys.readouterr().out.splitlines()

    assert lines[:3] == ["CLUSTER    a", "NODE       a-n1", "ADDRESSES  198.18.1.11"]
    assert lines[6] == ""
    assert max(map(len, lines)) <= 40


def test_json_yaml_and_names_are_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """One resource is itself, several are `items`; a name is kind/name."""
    slices = [samples.a_slice("red"), samples.a_slice("blue")]
    print_resources(SLICES, slices, Format.JSON, NOW)
    assert json.loads(capsys.readouterr().out) == {"items": slices}

    print_resources(SLICES, slices[:1], Format.YAML, NOW, one=True)
    assert yaml.safe_load(capsys.readouterr().out) == slices[0]

    print_resources(SLICES, slices, Format.NAME, NOW)
    assert capsys.readouterr().out == "slice/red\nslice/blue\n"


def test_text_from_outside_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a reason are shown as they are."""
    print_resources(kind_named("members"), [samples.a_membership(reason="[red]x[/red] [1]")], Format.WIDE, NOW)

    assert "[red]x[/red] [1]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("handshake", "state"), [(None, "down"), (int(NOW) - 200, "up"), (int(NOW) - 201, "stale"), (int(NOW) + 5, "up")]
)
def test_a_tunnel_is_as_fresh_as_its_handshake(handshake: int | None, state: str) -> None:
    """Never one: down. Older than a WireGuard session: stale. A clock that is behind is no reason to worry."""
    column = next(column for column in TUNNELS.columns if column.title == "STATE")

    assert column.cell(samples.a_tunnel("a", "b", handshake), NOW) == state


def test_a_slice_that_is_not_ready_shows_the_reason() -> None:
    """The first condition that does not hold."""
    one = samples.a_slice()
    one["status"]["conditions"] = [samples.condition("Ready", "PathDown", "no packet passes a → b")]
    column = next(column for column in SLICES.columns if column.title == "STATUS")

    assert column.cell(one, NOW) == "PathDown"


@pytest.mark.parametrize("word", ["slices", "slice", "sl"])
def test_kinds_have_several_words(word: str) -> None:
    """Plural, singular, and short ones."""
    assert kind_named(word) is SLICES


def test_words_of_kinds_are_unique() -> None:
    """No word means two kinds."""
    words = [word for kind in KINDS for word in (kind.plural, kind.singular, *kind.aliases)]

    assert len(words) == len(set(words))


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    """The message lists the plural words."""
    with pytest.raises(InvalidError, match="unknown kind 'slcies'; known are slices, clusters, nodes"):
        kind_named("slcies")


def test_names_match_whole_or_by_their_last_parts() -> None:
    """`shop/web` and `web` mean red/shop/web; a part of a word does not."""
    one = samples.a_service()

    assert [SERVICES.matches(one, name) for name in ("red/shop/web", "shop/web", "web", "eb", "red/shop")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("kind", DESCRIBED, ids=lambda kind: kind.singular)
def test_descriptions_fit_a_terminal(
    kind: Kind, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 columns, no trailing spaces, the name in the first line."""
    monkeypatch.setenv("COLUMNS", "80")
    world = samples.healthy()
    one = world[kind.collection][0]
    show(render(describe(kind, one, world, NOW)))
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    assert kind.name_of(one).rpartition("/")[2] in lines[0]


def test_a_slice_is_described_with_all_that_belongs_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks, gateways, paths with round trips, pods, services, members; nothing of other slices."""
    world = samples.healthy()
    other = samples.an_attachment("a", "stranger", "10.9.0.1")
    other["spec"]["slice"] = "blue"
    world["attachments"].append(other)
    show(render(describe(SLICES, world["slices"][0], world, NOW)))
    text = capsys.readouterr().out

    for part in ("10.100.16.0/20", "a-n1,a-n2", "0.43 ms", "b/shop/web", "web.shop.svc.red.slice.local", "app=web"):
        assert part in text
    assert "stranger" not in text


def test_a_service_without_endpoints_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """The namespace and the labels that no attached pod has."""
    show(render(describe(SERVICES, samples.a_service({}), samples.healthy(), NOW)))

    assert "Endpoints: none: no attached pod of namespace shop has the labels app=web" in capsys.readouterr().out


def test_profiles_are_shown_with_units() -> None:
    """What is not set is said."""
    profile = {"guarantee_bps": 20_000_000, "ceiling_bps": None, "priority": 1, "dscp": 46}

    assert format_qos(profile) == "guarantee 20 Mbit/s, ceiling none, priority 1, DSCP 46"
    assert format_qos(None) == "no limits"


def test_width_counts_the_longest_cell_of_each_column() -> None:
    """And two spaces between columns; wide characters take two."""
    assert natural_width([["AB", "C"], ["a", "日本"]]) == 2 + 2 + 4


def test_while_keys_rotate_two_tunnels_between_the_same_gateways_are_two() -> None:
    """The old one goes, the new one stays."""
    old, new = (samples.a_tunnel("a", "b", generation=generation) for generation in (0, 1))
    shown = apply_changes({}, TUNNELS, [("put", old), ("put", new)])
    assert list(shown.values()) == [old, new]

    assert list(apply_changes(shown, TUNNELS, [("removed", old)]).values()) == [new]
    assert (TUNNELS.name_of(old), TUNNELS.name_of(new)) == ("a/a-n1/0/0/0/0/b", "a/a-n1/0/0/1/0/b")


def test_parallel_tunnels_between_the_same_gateways_are_two() -> None:
    """One has its own line, and its lane in its name."""
    first, second = (samples.a_tunnel("a", "b", lane=lane) for lane in (0, 1))

    assert list(apply_changes({}, TUNNELS, [("put", first), ("put", second)]).values()) == [first, second]
    assert TUNNELS.name_of(second) == "a/a-n1/0/0/0/1/b"


def test_changes_replace_add_and_remove() -> None:
    """A pod's attachments on one slice differ by interface."""
    one, two = samples.an_attachment("a", "x", "10.100.0.5"), samples.an_attachment("a", "x", "10.100.0.6")
    two["spec"]["interface"] = "net2"
    shown = apply_changes({}, ATTACHMENTS, [("put", one), ("put", two), ("put", one)])
    assert list(shown.values()) == [one, two]

    assert list(apply_changes(shown, ATTACHMENTS, [("removed", one)]).values()) == [two]
