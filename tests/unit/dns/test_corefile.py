"""The stanza in CoreDNS's Corefile: put in, taken out, and everything else untouched."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.model.errors import ConflictError, InvalidError
from slicer.plan.corefile import BEGIN, END, ServerBlock, add_stanza, parse_blocks, remove_stanza

SERVER = (ipaddress.ip_address("10.96.0.77"),)
KUBEADM = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
"""
NODE_LOCAL = """cluster.local:53 {
    errors
    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
}
.:53 {
    errors
    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__ # both
    forward . __PILLAR__UPSTREAM__SERVERS__
}
"""
OPENSHIFT = """(common) {
    prometheus 127.0.0.1:9153
}
import /etc/coredns/custom/*.server
.:5353, example.org:5353 {
    import common
    template IN A "bad {" {
        answer "}"
    }
}
tls://.:853 {
    whoami
}
"""
ALL = pytest.mark.parametrize("corefile", [KUBEADM, NODE_LOCAL, OPENSHIFT, KUBEADM.rstrip(), "", "# nothing yet"])


@ALL
def test_putting_in_and_taking_out_changes_no_byte(corefile: str):
    """Also when the file does not end with a newline, and however often it is done."""
    once = add_stanza(corefile, SERVER)

    assert once.endswith(corefile)
    assert add_stanza(once, SERVER) == once
    assert remove_stanza(once) == corefile
    assert remove_stanza(corefile) == corefile


def test_a_stanza_that_was_moved_is_replaced():
    """Whoever sorted the file by hand keeps his order for all but our own lines."""
    once = add_stanza(KUBEADM, SERVER)
    stanza = once.removesuffix(KUBEADM)
    moved = KUBEADM + stanza + "example.org {\n whoami\n}\n"

    assert remove_stanza(moved) == KUBEADM + "example.org {\n whoami\n}\n"
    assert add_stanza(moved, SERVER).count(BEGIN) == 1


def test_the_stanza_asks_in_the_askers_name_and_keeps_nothing():
    """Who asks is added in full length; nothing is cached, because what one may know another may not."""
    stanza = add_stanza(KUBEADM, SERVER).removesuffix(KUBEADM)

    assert stanza == (
        f"{BEGIN}\n"
        "slice.local:53 {\n"
        "    errors\n"
        "    rewrite edns0 subnet set 32 128\n"
        "    forward . 10.96.0.77\n"
        "}\n"
        f"{END}\n"
    )


@pytest.mark.parametrize(
    ("corefile", "line"),
    [
        (KUBEADM, "slice.local:53 {"),
        (OPENSHIFT, "slice.local:5353 {"),
        (NODE_LOCAL, "    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__"),
        (". {\n whoami\n}\n.:54 {\n whoami\n}\n", "slice.local:53 slice.local:54 {"),
        ("", "slice.local:53 {"),
    ],
)
def test_the_stanza_serves_where_the_other_names_are_served(corefile: str, line: str):
    """Port and address are those of the block for all names; other transports' ports are not used."""
    assert line in add_stanza(corefile, SERVER).splitlines()


def test_ipv6_servers_have_brackets():
    """CoreDNS would take the last group for a port."""
    servers = (*SERVER, ipaddress.ip_address("fd00::77"))

    assert "    forward . 10.96.0.77 [fd00::77]:53\n" in add_stanza(KUBEADM, servers)


@pytest.mark.parametrize(
    "key", ["slice.local", "slice.local:53", "SLICE.local.:53", "dns://slice.local:53", "x:53,slice.local:53"]
)
def test_a_zone_that_is_served_already_is_refused(key: str):
    """CoreDNS would not start with two blocks for one zone; the message names the block."""
    with pytest.raises(ConflictError, match=r"zone 'slice\.local' itself"):
        add_stanza(KUBEADM + f"{key} {{\n    whoami\n}}\n", SERVER)


@pytest.mark.parametrize("zone", ["my-slice.local", "red.slice.local", "local"])
def test_other_zones_may_be_there(zone: str):
    """Only the same zone is in the way."""
    assert BEGIN in add_stanza(f"{zone}:53 {{\n whoami\n}}\n", SERVER)


@pytest.mark.parametrize("half", [f"{BEGIN}\n{KUBEADM}", f"{KUBEADM}{END}\n", f"{END}\n{BEGIN}\n"])
def test_half_a_stanza_is_left_to_the_user(half: str):
    """Nobody can know what of the file is ours then."""
    for do in (remove_stanza, lambda text: add_stanza(text, SERVER)):
        with pytest.raises(InvalidError, match="without its other half"):
            do(half)


@pytest.mark.parametrize("broken", [".:53 {\n", "}\n", ".:53 {\n health {\n }\n", ".\nwhoami\n"])
def test_a_file_that_cannot_be_read_is_refused(broken: str):
    """Its braces do not fit; CoreDNS does not start with it either."""
    with pytest.raises(InvalidError, match="block"):
        add_stanza(broken, SERVER)


def test_the_stanza_needs_a_server():
    """An empty list is a mistake of the caller."""
    with pytest.raises(InvalidError, match="at least one"):
        add_stanza(KUBEADM, ())


def test_blocks_are_read_as_coredns_reads_them():
    """Keys by space and comma; comments, quoted braces, snippets and imports are none."""
    blocks = parse_blocks(OPENSHIFT)

    assert [block.keys for block in blocks] == [(".:5353", "example.org:5353"), ("tls://.:853",)]
    assert blocks[1] == ServerBlock(keys=("tls://.:853",), lines=(("whoami",),))


@given(
    st.lists(st.sampled_from([".:53 {", "}", " health {", " }", "# {", "", '"x }"', "import y", BEGIN[2:]]), max_size=9)
)
def test_any_text_comes_back_or_is_refused(lines: list[str]):
    """Nothing else happens to a file that nobody foresaw."""
    text = "\n".join(lines)
    try:
        changed = add_stanza(text, SERVER)
    except (InvalidError, ConflictError):
        return

    assert remove_stanza(changed) == text
