"""The JSON form: every document survives it, and what is wrong is named."""

from __future__ import annotations

import ipaddress
import json
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.client.codec import FieldsError, decode, decode_documents, encode, encode_documents
from slicer.model.clusters import LANES_MAX
from slicer.model.documents import KINDS, key_of
from slicer.model.errors import InvalidError
from slicer.model.slices import Bandwidth, Membership, Objectives, Slice
from slicer.model.topology import ClusterLink, SliceTopology

VALID: dict[str, st.SearchStrategy[Any]] = {
    "vtep_mac": st.just("02:00:00:00:00:01"),
    "mac": st.just("02:00:00:00:00:02"),
    "public_key": st.just("A" * 42 + "A="),
    "prefixes": st.sampled_from([("10.7.0.0/16",), ("10.7.0.0/16", "fd07::/48")]).map(
        lambda texts: tuple(map(ipaddress.ip_network, texts))
    ),
    "port": st.integers(1, 65535),
    "count": st.integers(1, 100),
    "generation": st.integers(0, 999_999),
    "lane": st.integers(0, LANES_MAX - 1),
    "tunnels_per_pair": st.integers(1, LANES_MAX),
    "tunnel_set": st.integers(0, 255),
    "cluster": st.just("a"),
    "node": st.just("n1"),
    "priority": st.integers(0, 7),
    "dscp": st.none() | st.integers(0, 63),
    "ttl_s": st.integers(0, 3600),
    "gateways": st.integers(0, 64),
    "protocol": st.sampled_from(["TCP", "UDP", "SCTP"]),
    "guarantee_bps": st.none() | st.integers(8000, 10**6),
    "ceiling_bps": st.none() | st.integers(10**6, 10**9),
    "pod": st.sampled_from(["web-0", "db.x"]),
    "addresses": st.sampled_from([(), ("10.7.4.5", "fd07::5")]).map(lambda t: tuple(map(ipaddress.ip_address, t))),
    "selector": st.just((("app", "web"), ("tier", "1"))),
}


LINKS = tuple(ClusterLink(clusters=pair) for pair in (("a", "b-1"), ("a", "c")))
OF_TYPE: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Slice: {
        "clusters": st.sampled_from([(), ("a", "b-1", "c")]),
        "topology": st.sampled_from([None, SliceTopology(hubs=("a",), links=LINKS[:1]), SliceTopology(links=LINKS)]),
    },
    Membership: {"labels": st.just(()), "mac": st.none() | VALID["mac"]},
    Objectives: {"latency_ms": st.none() | st.integers(1, 5000), "loss_percent": st.none() | st.integers(0, 99)},
}
"""What fields of some types may be, where it differs from others of their name."""


def values(type_: type) -> st.SearchStrategy[Any]:
    """Any valid value of a dataclass of the model."""
    hints = get_type_hints(type_)
    if type_ is Bandwidth:
        return st.tuples(_paces("ingress"), _paces("egress")).map(lambda ways: Bandwidth(**ways[0], **ways[1]))
    known = VALID | OF_TYPE.get(type_, {})
    fields = {n: known[n] if n in known else _of(hints[n]) for n in type_.__dataclass_fields__}
    return st.builds(type_, **fields)


def _paces(way: str) -> st.SearchStrategy[dict[str, int]]:
    """A rate, alone or with a burst; or neither."""
    rates = st.integers(8000, 10**9)
    both = st.fixed_dictionaries({f"{way}_bps": rates, f"{way}_burst_bits": st.integers(1, 10**9)})
    return st.just({}) | st.fixed_dictionaries({f"{way}_bps": rates}) | both


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in {Union, types.UnionType}:
        return st.one_of([_of(part) for part in get_args(hint)])
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if get_origin(inner) is tuple:
            return st.dictionaries(st.sampled_from("abc"), st.text(max_size=3)).map(lambda d: tuple(sorted(d.items())))
        return st.lists(_of(inner), max_size=2, unique_by=lambda v: getattr(v, "name", v)).map(tuple)
    simple = {
        str: st.sampled_from(["a", "b-1"]),
        int: st.integers(0, 10**6),
        bool: st.booleans(),
        type(None): st.none(),
        ipaddress.IPv4Address: st.ip_addresses(v=4),
        ipaddress.IPv6Address: st.ip_addresses(v=6).filter(lambda a: a.scope_id is None),
        ipaddress.IPv4Network: st.just(ipaddress.ip_network("10.9.0.0/24")),
        ipaddress.IPv6Network: st.just(ipaddress.ip_network("fd09::/64")),
    }
    if hint in simple:
        return simple[hint]
    return values(hint) if hasattr(hint, "__dataclass_fields__") else st.sampled_from(list(hint))


@given(st.one_of([values(type_) for type_ in KINDS.values()]))
def test_every_document_survives_json(value: Any) -> None:
    """decode(encode(v)) is v, through real JSON text, for all kinds; the key tells the type."""
    text = json.dumps(encode_documents({key_of(value): value}))

    assert decode_documents(json.loads(text)) == {key_of(value): value}
    assert decode(type(value), json.loads(json.dumps(encode(value)))) == value


def test_label_sets_are_objects() -> None:
    """Pairs in the model, an object in JSON; pairs are not taken."""
    member = decode(
        Membership, {"name": "m", "slice": "s", "cluster": "c", "namespace": "n", "labels": {"b": "2", "a": "1"}}
    )

    assert member.labels == (("a", "1"), ("b", "2"))
    assert encode(member)["labels"] == {"a": "1", "b": "2"}
    with pytest.raises(InvalidError, match="labels"):
        decode(Membership, {"name": "m", "slice": "s", "cluster": "c", "namespace": "n", "labels": [["a", "1"]]})


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        ({"name": "red"}, "prefixes", "missing"),
        ({"name": "red", "prefixes": ["10.0.0.1/8"]}, "prefixes.0", "10.0.0.1/8"),
        ({"name": "red", "prefixes": ["fd00::1/8"]}, "prefixes.0", "fd00::1/8"),
        ({"name": "red", "prefixes": [5]}, "prefixes.0", "5"),
        ({"name": "red", "prefixes": ["10.0.0.0/8"], "gateways": True}, "gateways", "true"),
        ({"name": "red", "prefixes": ["10.0.0.0/8"], "gateways": 10**40}, "", "gateways 10000"),
        ({"name": "red", "prefixes": ["10.0.0.0/8"], "a b": 1}, "a b", "no such field"),
        ({"name": "red", "prefixes": ["10.0.0.0/8"], "qos": {"x": 1}}, "qos.x", "no such field"),
        ({"name": "red", "prefixes": ["10.0.0.0/8"], "tunnels": "own"}, "tunnels", "own"),
        ({"name": "Red", "prefixes": ["10.0.0.0/8"]}, "", "'Red'"),
        ({"name": "\ud800", "prefixes": ["10.0.0.0/8"]}, "", "escape"),
        ([], "", "object"),
        (None, "", "object"),
    ],
)
def test_what_is_wrong_is_named(data: Any, field: str, words: str) -> None:
    """The error has the field's path and shows the offending text, once a field."""
    with pytest.raises(FieldsError) as caught:
        decode(Slice, data)

    [error] = caught.value.errors
    assert error.field == field
    assert words in error.message


def test_an_unknown_kind_is_refused() -> None:
    """A document's key must have a known kind."""
    with pytest.raises(InvalidError, match="'spoon/a'"):
        decode_documents({"spoon/a": {}})
