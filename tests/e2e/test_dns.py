"""Names of a slice: what a member's resolver must answer, and what nobody may learn."""

from __future__ import annotations

import pytest

from slicer.lab.chaos import faults
from slicer.lab.chaos.steps import put_rules

pytestmark = pytest.mark.root


@pytest.fixture
def names(lab, scope, until):
    """A server in b behind an exported name, a member and an outsider in a."""
    scope.red = scope.slice()
    scope.server = scope.pod("b", "server", scope.red)
    scope.member = scope.pod("a", "member", scope.red)
    scope.outsider = scope.pod("a", "outsider")
    scope.name = scope.export(scope.red, "server", "--selector", "app=server", "--port", "http:80")
    scope.address = lab.addresses(scope.server)["net1"][0]
    until(lambda: lab.lookup(scope.member, scope.name) == ("NOERROR", [scope.address]), "the name")
    return scope


def test_a_member_gets_every_kind_of_record(lab, names):
    """A, SRV, PTR, the name without the slice, and the pod's own name."""
    short = f"server.{names.namespace}.svc.slice.local"
    reverse = ".".join(reversed(names.address.split("."))) + ".in-addr.arpa"

    assert lab.lookup(names.member, short) == ("NOERROR", [names.address])
    assert lab.lookup(names.member, f"server.b.{names.name}") == ("NOERROR", [names.address])
    assert lab.lookup(names.member, names.name.upper()) == ("NOERROR", [names.address])
    code, services = lab.lookup(names.member, f"_http._tcp.{names.name}", "SRV")
    assert code == "NOERROR"
    assert [service.split()[2] for service in services] == ["80"]
    code, pointers = lab.lookup(names.member, reverse, "PTR")
    assert code == "NOERROR"
    assert all(f".{names.red}.slice.local." in pointer for pointer in pointers)
    assert pointers


def test_what_does_not_exist_is_said_rightly(lab, names):
    """Unknown names are NXDOMAIN; a known name without that type is NOERROR and empty."""
    assert lab.lookup(names.member, f"nobody.{names.namespace}.svc.{names.red}.slice.local") == ("NXDOMAIN", [])
    assert lab.lookup(names.member, names.name, "AAAA") == ("NOERROR", [])


def test_an_outsider_learns_nothing(lab, names):
    """A pod that is not in the slice cannot tell a name that exists from one that does not."""
    unknown = f"nobody.{names.namespace}.svc.{names.red}.slice.local"

    assert lab.lookup(names.outsider, names.name)[1] == []
    assert lab.lookup(names.outsider, names.name)[0] == lab.lookup(names.outsider, unknown)[0] != "NOERROR"


def test_unexport_takes_the_name_away(lab, names, until):
    """After `unexport` the name does not exist any more."""
    lab.ctl("unexport", names.red, f"{names.namespace}/server")
    names.exports.clear()

    until(lambda: lab.lookup(names.member, names.name) == ("NXDOMAIN", []), "the name is gone")


def test_a_cluster_that_is_gone_is_left_out_and_comes_back(lab, names, until):
    """No tunnel to b passes: a's server leaves out b's pods, and a pod of a is told that they are unreachable."""
    try:
        for node in ("b-n1", "b-n2"):
            put_rules(lab.layout, node, faults.outside())
        until(lambda: not lab.lookup(names.member, names.name)[1], "the name has no address any more")
        told = lab.exec(names.member, "ping", "-n", "-c", "1", "-W", "5", names.address).stdout
    finally:
        for node in ("b-n1", "b-n2"):
            put_rules(lab.layout, node, faults.REPAIR)
    until(lambda: lab.lookup(names.member, names.name) == ("NOERROR", [names.address]), "the name is back")

    assert "+1 errors" in told
    until(lambda: lab.reaches(names.member, names.address), "the way is back")
