"""The scenarios, on two real clusters that Slicer was installed into by two commands."""

from __future__ import annotations

import itertools

import pytest

from tests.e2e.scenario import Play, read_scenarios, run_scenario
from tests.e2e.steps import STEPS
from tests.kubernetes.world import KubernetesWorld

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
HERE = [scenario for scenario in read_scenarios() if scenario.only in ("", KubernetesWorld.kind)]
_numbers = itertools.count(1)


@pytest.mark.parametrize("scenario", HERE, ids=lambda scenario: scenario.name)
def test_scenario(world, scenario):
    """What the first line of the text says."""
    run_scenario(scenario, STEPS, Play(world=world, number=next(_numbers)))
