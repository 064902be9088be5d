"""A slice's objectives against the probes of a running lab."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


def test_objectives_are_judged_by_what_the_tunnels_measured(lab, scope, until):
    """A second and a half of patience is met, with figures; the condition says so, and goes with the objectives."""
    red = scope.slice()
    scope.pod("a", "near", red)
    scope.pod("b", "far", red)
    lab.ctl("objectives", "set", red, "--latency", "1500ms", "--loss", "99")

    until(lambda: conditions(lab, red).get("Objectives") == "Met", "the objectives are met")
    (pair,) = status(lab, red)["objectives"]
    lab.ctl("objectives", "set", red, "--clear")

    assert (pair["clusters"], pair["state"]) == (["a", "b"], "Met")
    assert 0 < pair["latency_us"] <= 1_500_000
    assert "Objectives" not in conditions(lab, red)


def status(lab, name):
    """What the hub says of the slice."""
    with lab.api() as api:
        return api.get("slices", name)["status"]


def conditions(lab, name):
    """Reason of each condition."""
    return {one["type"]: one["reason"] for one in status(lab, name)["conditions"]}
