"""Planned work with the real programs: drained gateways, rotated keys, killed processes; no packet is lost."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
LONG_S = 90.0
"""A rotation takes about a quarter of a minute on a quiet machine, most of it waiting for late packets."""
QUICK = 0.005
"""Seconds between two requests of a ping."""


@pytest.fixture
def pair(lab, pair, until):
    """The pods' nodes are gateways, as all four are, and all tunnels are up."""
    until(lambda: set(states(lab).values()) == {"active"} and len(states(lab)) == 4, "four gateways", LONG_S)
    until(lambda: all_up(lab), "all tunnels are up", LONG_S)
    return pair


@pytest.fixture
def undrained(lab):
    """Takes drains back, also those of a failed test."""
    yield
    for one in listed(lab, "drains"):
        lab.ctl("gateway", "undrain", one["metadata"]["name"])


def listed(lab, collection):
    """What the hub lists."""
    with lab.api() as api:
        return api.list(collection)


def all_up(lab):
    """Whether probes pass through all tunnels."""
    return all(one["spec"].get("up") for one in listed(lab, "tunnels"))


def states(lab):
    """State of each gateway slot of tunnel set 0, by cluster/node."""
    gateways = [one["spec"] for one in listed(lab, "gateways") if one["spec"]["tunnel_set"] == 0]
    return {f"{one['cluster']}/{one['node']}": one["state"] for one in gateways}


def generations(lab):
    """Generations of all WireGuard devices that gateways have in tunnel set 0."""
    gateways = [one["spec"] for one in listed(lab, "gateways") if one["spec"]["tunnel_set"] == 0]
    return {tunnel["generation"] for one in gateways for tunnel in one["tunnels"]}


def keys(lab, node):
    """Files of private keys of tunnel set 0 on a node."""
    return sorted(lab.exec(node, "sh", "-c", "cd /var/lib/slicer/keys && ls | grep ^0-").stdout.split())


@pytest.mark.counts_losses
def test_a_drained_gateway_costs_no_packet(lab, pair, undrained, pinging, until):
    """The pod's own node is drained, with its controllers killed meanwhile, and comes back: nothing is lost."""
    with pinging(lab, pair.here, pair.target, QUICK) as counts:
        lab.ctl("gateway", "drain", "a-n1", "--reason", "new kernel")
        for what in ("a-cp/member", "hub/hub"):
            lab.ctl("lab", "restart", "--kill", what)
        until(lambda: "a/a-n1" not in states(lab), "a-n1 is no gateway", LONG_S)
        assert "drained, and so no gateway: a/a-n1" in lab.try_("get", "gateways").stderr
        until(lambda: not keys(lab, "a-n1"), "its keys are deleted", LONG_S)
        message = lab.refused(5, "gateway", "drain", "a-n2")
        assert "'a-n2' is the last gateway of cluster 'a'" in message
        assert pair.red in message
        lab.ctl("gateway", "undrain", "a-n1")
        until(lambda: states(lab).get("a/a-n1") == "active", "a-n1 is a gateway again", LONG_S)
        until(lambda: all_up(lab), "its tunnels are up", LONG_S)

    assert counts["lost"] == 0, counts
    assert counts["sent"] > 500


def test_keys_rotate_through_kills(lab, pair, pinging, until):
    """Agents on both sides, a member and the hub are killed while keys rotate: it goes on, and so do the pods."""
    before = keys(lab, "a-n1")
    with pinging(lab, pair.here, pair.target, QUICK) as counts:
        said = lab.try_("rotate-keys", "--tunnel-set", "0", "--reason", "test").stderr
        assert "keys of tunnel set 0 become generation" in said
        for what in ("a-n1/agent", "b-n1/agent", "b-cp/member", "hub/hub"):
            lab.ctl("lab", "restart", "--kill", what)
        until(lambda: finished(lab), "the rotation is over", LONG_S)

    assert counts["lost"] == 0, counts
    assert counts["sent"] > 500
    assert len(generations(lab)) == 1
    until(lambda: len(keys(lab, "a-n1")) == len(before) and not set(keys(lab, "a-n1")) & set(before), "only new keys")


def finished(lab):
    """Whether all rotations are over."""
    return all(one["status"]["finished_at_s"] for one in listed(lab, "rotations"))


REFUSED = [
    (4, ("gateway", "drain", "a-n9"), "there is no node 'a-n9'"),
    (4, ("gateway", "undrain", "a-n1"), "there is no drained node 'a-n1'"),
    (2, ("gateway", "drain", "a/a-n1", "--cluster", "b"), "lies in cluster a"),
    (4, ("rotate-keys", "--tunnel-set", "200"), "no tunnel set 200"),
    (4, ("rotate-keys", "--slice", "nowhere"), "no slice 'nowhere'"),
    (2, ("rotate-keys", "--slice", "x", "--tunnel-set", "0"), "not both"),
    (4, ("rotate-keys", "--tunnel-set", "0", "--cancel"), "no rotation runs"),
]


@pytest.mark.parametrize(("code", "words", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(lab, code, words, message):
    """By its name, with the exit code of its kind."""
    assert message in lab.refused(code, *words)
