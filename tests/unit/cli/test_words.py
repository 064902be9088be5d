"""What users type, read into the model's values."""

from __future__ import annotations

import pytest

from slicer.cli.words import (
    format_gateways,
    format_labels,
    format_ports,
    parse_gateways,
    parse_labels,
    parse_list,
    parse_namespaced,
    parse_pod,
    parse_port,
    parse_qos,
)
from slicer.model.errors import InvalidError
from slicer.model.slices import QosProfile, ServicePort


def test_lists_are_repeated_or_by_comma() -> None:
    """Both forms mix, empty words are dropped."""
    assert parse_list(["a,b", "c", " d , "]) == ("a", "b", "c", "d")


@pytest.mark.parametrize(("text", "parsed"), [("shop/web", ("shop", "web")), ("web", ("default", "web"))])
def test_a_bare_name_lies_in_default(text: str, parsed: tuple[str, str]) -> None:
    """As kubectl has it."""
    assert parse_namespaced("service", text) == parsed


def test_a_namespace_option_must_agree_with_the_name() -> None:
    """It fills in what the name leaves away and may repeat it, nothing else."""
    assert parse_namespaced("service", "web", "shop") == ("shop", "web")
    assert parse_namespaced("service", "shop/web", "shop") == ("shop", "web")
    with pytest.raises(InvalidError, match="lies in namespace shop, but --namespace says other"):
        parse_namespaced("service", "shop/web", "other")


@pytest.mark.parametrize("text", ["", "/", "/web", "shop/", "a/b/c"])
def test_other_forms_of_names_are_refused(text: str) -> None:
    """The message shows the form and the text."""
    with pytest.raises(InvalidError, match=f"service '{text}' is not NAMESPACE/NAME"):
        parse_namespaced("service", text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("a/shop/web-0", ("a", "shop", "web-0")), ("shop/web-0", (None, "shop", "web-0")), ("x", (None, "default", "x"))],
)
def test_pods_have_up_to_three_parts(text: str, parsed: tuple[str | None, str, str]) -> None:
    """Cluster and namespace may be left away."""
    assert parse_pod("pod", text) == parsed


@pytest.mark.parametrize("text", ["", "a//b", "a/b/c/d", "/x"])
def test_pods_with_empty_or_too_many_parts_are_refused(text: str) -> None:
    """The message shows the forms."""
    with pytest.raises(InvalidError, match="is not CLUSTER/NAMESPACE/POD"):
        parse_pod("pod", text)


def test_labels_are_sorted_pairs() -> None:
    """Values may be empty."""
    assert parse_labels("--labels", ["tier=db,app=web", "x="]) == (("app", "web"), ("tier", "db"), ("x", ""))


@pytest.mark.parametrize(
    ("text", "why"), [("app", "is not KEY=VALUE"), ("=x", "is not KEY=VALUE"), ("a=1,a=2", "twice")]
)
def test_wrong_labels_are_refused(text: str, why: str) -> None:
    """A key without value, a value without key, a key with two values."""
    with pytest.raises(InvalidError, match=why):
        parse_labels("--labels", [text])


@pytest.mark.parametrize(
    ("text", "name", "port", "protocol"),
    [
        ("8080", "", 8080, "TCP"),
        ("http:8080", "http", 8080, "TCP"),
        ("dns:53/udp", "dns", 53, "UDP"),
        ("53/UDP", "", 53, "UDP"),
        ("s:1/sctp", "s", 1, "SCTP"),
    ],
)
def test_ports_have_name_and_protocol(text: str, name: str, port: int, protocol: str) -> None:
    """Both may be left away."""
    assert parse_port(text) == ServicePort(name=name, port=port, protocol=protocol)


@pytest.mark.parametrize("text", ["", "http", ":80", "http:", "80/icmp", "80:http", "a:b:80/tcp/x", "0", "65536", "²"])
def test_wrong_ports_are_refused(text: str) -> None:
    """Also those whose number is out of range or no number."""
    with pytest.raises(InvalidError):
        parse_port(text)


def test_gateways_are_a_number_or_all() -> None:
    """`all` is 0 in the model; a 0 on the command line is refused, it would mean the opposite of what it says."""
    assert [parse_gateways(text) for text in ("all", "1", "3")] == [0, 1, 3]
    assert [format_gateways(n) for n in (0, 3)] == ["all", "3"]
    for text in ("0", "-1", "two", ""):
        with pytest.raises(InvalidError, match="neither a number from 1 nor `all`"):
            parse_gateways(text)


def test_a_profile_is_made_only_of_what_was_given() -> None:
    """No option, no profile; the priority has the model's default."""
    assert parse_qos(None, None, None, None) is None
    assert parse_qos("20M", None, None, 46) == QosProfile(guarantee_bps=20_000_000, dscp=46)


def test_a_guarantee_above_the_ceiling_is_refused() -> None:
    """By the model's rule, before anything is sent."""
    with pytest.raises(InvalidError, match="above ceiling_bps 10000000"):
        parse_qos("20M", "10M", None, None)


def test_labels_and_ports_are_shown_as_they_are_typed() -> None:
    """What is shown can be typed again; `-` is nothing."""
    assert format_labels({"b": "2", "a": "1"}) == "a=1,b=2"
    assert format_labels(None) == "-"
    assert format_ports([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "", "port": 53}]) == (
        "http:8080/tcp, 53/tcp"
    )
    assert format_ports([]) == "-"
