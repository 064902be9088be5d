"""Who gets in, and who may do what, over real TLS: join tokens, certificates, rights."""

from __future__ import annotations

import json
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from slicer.client.codec import encode_documents
from slicer.client.identity import (
    JoinToken,
    http_client,
    is_expected,
    load,
    load_or_join,
    parse_token,
    render_token,
    renew,
    renewal_due,
)
from slicer.client.rest import Api, ask
from slicer.model.documents import key_of
from slicer.model.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    UnauthenticatedError,
    UnavailableError,
)


def changed(text: str, **fields: str) -> str:
    """The token with other fields."""
    token = parse_token(text)
    values = {"url": token.url, "ca_sha256": token.ca_sha256, "id": token.id, "secret": token.secret} | fields
    return render_token(JoinToken(**values))


def test_a_token_lets_one_in_once(shared: Any, tmp_path: Path) -> None:
    """The second holder is refused with the name; the first may load its identity for ever without a token."""
    text = shared.hub.token("cluster", "once")

    first = load_or_join(tmp_path / "1", text)
    with pytest.raises(ConflictError, match="slicer://cluster/once was used already"):
        load_or_join(tmp_path / "2", text)

    assert first.uri == "slicer://cluster/once"
    assert load_or_join(tmp_path / "1", None) == first
    assert load(tmp_path / "2") is None


def test_a_token_for_any_new_cluster(shared: Any, tmp_path: Path) -> None:
    """It lets in one cluster by the name that it says; the same one may repeat it, under that name only."""
    text = shared.hub.token("cluster", "*")

    with pytest.raises(InvalidError, match="says its name"):
        load_or_join(tmp_path / "0", text)
    with pytest.raises(InvalidError, match="cluster name"):
        load_or_join(tmp_path / "0", text, expect="slicer://cluster/*")
    first = load_or_join(tmp_path / "1", text, expect="slicer://cluster/newcomer")
    (tmp_path / "1/certificate.pem").unlink()

    assert first.uri == "slicer://cluster/newcomer"
    assert load_or_join(tmp_path / "1", text, expect="slicer://cluster/newcomer") == first

    with pytest.raises(ConflictError, match="was used already"):
        load_or_join(tmp_path / "2", text, expect="slicer://cluster/newcomer")


def test_a_token_for_any_takes_nobody_s_name(shared: Any, tmp_path: Path) -> None:
    """Who holds a token for any cluster cannot become one that has joined; only clusters have such tokens."""
    load_or_join(tmp_path / "1", shared.hub.token("cluster", "taken"))

    with pytest.raises(ConflictError, match="'taken' has joined here already"):
        load_or_join(tmp_path / "2", shared.hub.token("cluster", "*"), expect="slicer://cluster/taken")
    with pytest.raises(InvalidError, match="name"):
        shared.hub.token("dns", "*")


def test_a_join_whose_answer_was_lost_is_repeated(shared: Any, tmp_path: Path) -> None:
    """With the same key the same token works again: a kill between answer and file is mended at the next start."""
    text = shared.hub.token("cluster", "again")
    load_or_join(tmp_path, text)
    (tmp_path / "certificate.pem").unlink()

    assert load_or_join(tmp_path, text).uri == "slicer://cluster/again"


def test_a_wrong_token_lets_nobody_in(shared: Any, tmp_path: Path) -> None:
    """A wrong secret, an unknown id, another controller's CA: refused, and no certificate is written."""
    text = shared.hub.token("cluster", "wrong")
    cases = {
        "not known here": changed(text, secret="x" * 32),
        "is not known": changed(text, id="000000000000"),
        "another CA": changed(text, ca_sha256="0" * 64),
    }
    for message, wrong in cases.items():
        with pytest.raises(UnauthenticatedError, match=message):
            load_or_join(tmp_path, wrong)

    assert load(tmp_path) is None
    assert load_or_join(tmp_path, text).name == "wrong"


def test_a_token_for_another_cluster_is_refused_and_not_spent(shared: Any, tmp_path: Path) -> None:
    """Who means to be c and shows b's token is told so; b can still use it."""
    text = shared.hub.token("cluster", "mine")

    with pytest.raises(DeniedError, match="is for slicer://cluster/mine, not for slicer://cluster/yours"):
        load_or_join(tmp_path / "yours", text, expect="slicer://cluster/yours")

    assert load_or_join(tmp_path / "mine", text, expect="slicer://cluster/mine").name == "mine"


def test_a_deleted_token_is_unknown(shared: Any, tmp_path: Path) -> None:
    """Deleting a token takes it back."""
    text = shared.hub.token("cluster", "gone")
    with shared.hub.api() as api:
        api.delete("join-tokens", parse_token(text).id)

    with pytest.raises(UnauthenticatedError, match="not known here"):
        load_or_join(tmp_path, text)


@pytest.mark.parametrize("text", ["", "slicer1.", "slicer1.e30", "slicer2.abc", "slicer1.%%%", "slicer1." + "a" * 5000])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    """The message says what to do and does not hold the text: it may be most of a secret."""
    with pytest.raises(InvalidError, match="copy it whole") as caught:
        load_or_join(tmp_path, text)

    assert len(text) < 10 or text not in str(caught.value)


def test_secrets_do_not_show(shared: Any) -> None:
    """Neither a token's repr, nor lists of tokens, nor the logs hold its secret; key files are for their owner."""
    text = shared.hub.token("cluster", "quiet")
    token = parse_token(text)
    with shared.hub.api() as api:
        listed = json.dumps(api.list("join-tokens"))
        admin = (shared.hub.directory / "admin.token").read_text().strip()

    for shown in (repr(token), listed, json.dumps(shared.hub.lines), json.dumps(shared.members["a"].lines)):
        assert token.secret not in shown
        assert admin not in shown
    for path in (*shared.hub.directory.glob("*.key"), shared.hub.directory / "admin.token"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((shared.members["a"].directory / "identity" / "key.pem").stat().st_mode) == 0o600


def test_users_need_the_right_token(shared: Any) -> None:
    """Without or with a wrong bearer token everything of users' is 401; a client certificate does not help."""
    for wrong in ("", "x", "x" * 4000):
        with shared.hub.api(wrong) as api, pytest.raises(UnauthenticatedError):
            api.list("slices")
    identity = load(shared.members["a"].directory / "identity")
    with http_client(identity) as client, pytest.raises(UnauthenticatedError):
        ask(client, "POST", "/v1/join-tokens", json={"spec": {"kind": "cluster", "name": "c"}})


def test_each_may_read_its_own_view_only(shared: Any, tmp_path: Path) -> None:
    """An agent has no zone view and no cluster view, a DNS server no node view, a stranger none."""
    node = shared.identity("a", "a-r1")
    dns = shared.identity("a", "a-dns", "dns")
    with http_client(node) as as_node, http_client(dns) as as_dns:
        as_node.get("/v1/views/node").raise_for_status()
        as_dns.get("/v1/views/zone").raise_for_status()
        for client, path in ((as_node, "zone"), (as_node, "cluster"), (as_dns, "node")):
            with pytest.raises(DeniedError, match="may not use"):
                ask(client, "GET", f"/v1/views/{path}")
    with shared.members["a"].api() as api:
        for kind in ("node", "zone", "cluster"):
            with pytest.raises(UnauthenticatedError):
                api.request("GET", f"/v1/views/{kind}")
        with pytest.raises(UnauthenticatedError):
            api.request("PUT", "/v1/reports/node", json={"documents": {}})


def test_each_may_report_of_itself_only(shared: Any, make_node: Any, make_attachment: Any) -> None:
    """A node cannot speak for its neighbour or another cluster, nor say what only members say; nothing is taken in."""
    identity = shared.identity("a", "a-w1")
    own, other, stranger = make_node("a", "a-w1"), make_node("a", "a-w2"), make_node("b", "a-w1")
    pod = make_attachment("a", "a-w2", "web-0", "10.7.4.5")
    with http_client(identity) as client:
        for value in (other, stranger, pod):
            documents = encode_documents({key_of(value): value, key_of(own): own})
            with pytest.raises(DeniedError, match="may not report"):
                ask(client, "PUT", "/v1/reports/node", json={"documents": documents})
        with pytest.raises(InvalidError, match="does not fit its value"):
            ask(client, "PUT", "/v1/reports/node", json={"documents": encode_documents({"node/a/x": own})})
        with pytest.raises(ConflictError, match="PUT it first"):
            ask(client, "PATCH", "/v1/reports/node", json={"documents": {}})
        with pytest.raises(DeniedError):
            ask(client, "PUT", "/v1/reports/cluster", json={"documents": {}})
    with shared.members["a"].api() as api:
        assert not [item for item in api.list("nodes") if item["metadata"]["name"].endswith(("a-w1", "a-w2"))]


def test_a_member_cannot_speak_for_another_cluster(shared: Any, make_node: Any) -> None:
    """At the hub cluster a's certificate reports only cluster a's documents, and removes no others."""
    identity = load(shared.members["a"].directory / "identity")
    stranger = make_node("b", "b-n1")
    with http_client(identity) as client:
        with pytest.raises(DeniedError, match="slicer://cluster/a may not report node/b/b-n1"):
            ask(client, "PATCH", "/v1/reports/cluster", json={"documents": encode_documents({"node/b/b-n1": stranger})})
        with pytest.raises(DeniedError, match="may not remove"):
            ask(client, "PATCH", "/v1/reports/cluster", json={"removed": ["cluster/b"]})
        view = client.get("/v1/views/cluster").text
    assert '"cluster/a"' in view
    assert '"cluster/b"' not in view


def test_a_member_makes_no_tokens_for_clusters_and_a_hub_none_for_nodes(shared: Any) -> None:
    """Each controller lets in only its own kind."""
    with pytest.raises(ConflictError, match="not for cluster"):
        shared.members["a"].token("cluster", "c")
    with pytest.raises(ConflictError, match="not for node"):
        shared.hub.token("node", "n1")


def test_one_members_certificate_is_worth_nothing_at_another(shared: Any) -> None:
    """Every controller has a CA of its own: TLS refuses another's certificates."""
    a, b = shared.identity("a", "a-x1"), shared.identity("b", "b-x1")
    context = ssl.create_default_context(cafile=str(b.directory / "ca.pem"))
    context.load_cert_chain(a.directory / "certificate.pem", a.directory / "key.pem")

    with httpx.Client(base_url=b.server, verify=context, trust_env=False) as client, pytest.raises(httpx.HTTPError):
        client.get("/v1/views/node")


def test_a_certificate_is_renewed_in_place(shared: Any) -> None:
    """After two thirds of its life it is due; the new one has the same name and key, and works."""
    identity = shared.identity("a", "a-renew")
    before = (identity.directory / "certificate.pem").read_bytes()
    now = datetime.now(UTC)

    assert not renewal_due(identity, now + timedelta(days=19))
    assert renewal_due(identity, now + timedelta(days=21))
    renew(identity)

    assert (identity.directory / "certificate.pem").read_bytes() != before
    assert load(identity.directory) == identity
    with http_client(identity) as client:
        assert client.get("/v1/views/node").status_code == 200


def test_a_deleted_clusters_certificate_is_worth_nothing(shared: Any, tmp_path: Path) -> None:
    """After `delete clusters c` its member is refused until it joins again with a new token."""
    identity = load_or_join(tmp_path / "c", shared.hub.token("cluster", "c"))
    with shared.hub.api() as api:
        api.delete("clusters", "c")
        with http_client(identity) as client, pytest.raises(UnauthenticatedError, match="join again"):
            ask(client, "GET", "/v1/views/cluster")
        again = load_or_join(tmp_path / "c2", shared.hub.token("cluster", "c"))
        with http_client(again) as client:
            ask(client, "PUT", "/v1/reports/cluster", json={"documents": {}})
        api.delete("clusters", "c")


def test_who_does_not_answer_is_named(shared: Any) -> None:
    """No controller there, or one with another CA: UnavailableError with the URL and what to look at."""
    ca, other_ca = (controller.directory / "ca.pem" for controller in (shared.hub, shared.members["a"]))

    with Api("https://127.0.0.1:1", ca, "x") as api, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 .*running"):
        api.list("slices")
    with Api(shared.hub.url, other_ca, "x") as api, pytest.raises(UnavailableError, match="certificate"):
        api.list("slices")


@pytest.mark.parametrize(
    ("expect", "fits"),
    [
        ("slicer://node/a/n1", True),
        ("slicer://node/*/n1", True),
        ("slicer://node/", True),
        ("slicer://node/a/", True),
        ("slicer://node/*/n2", False),
        ("slicer://node/b/n1", False),
        ("slicer://node/a", False),
        ("slicer://dns/", False),
        ("slicer://no/", False),
    ],
)
def test_an_identity_is_compared_part_by_part(expect, fits):
    """`*` stands for one part, a trailing `/` for all below; a part is never matched by its beginning."""
    assert is_expected("slicer://node/a/n1", expect) is fits
