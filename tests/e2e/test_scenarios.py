"""The scenarios, in the lab."""

from __future__ import annotations

import itertools

import pytest

from tests.e2e.scenario import Play, find_step, read_scenarios, run_scenario, step_text
from tests.e2e.steps import STEPS
from tests.e2e.world import LabWorld

pytestmark = pytest.mark.root
HERE = [scenario for scenario in read_scenarios() if scenario.only in ("", LabWorld.kind)]
_numbers = itertools.count(1)


def test_there_are_scenarios():
    """Both worlds have scenarios to play, and every line of all of them is one that is known."""
    assert len(HERE) >= 5
    for scenario in read_scenarios():
        for _, line in scenario.steps:
            find_step(step_text(line), STEPS)


@pytest.mark.parametrize("scenario", HERE, ids=lambda scenario: scenario.name)
def test_scenario(lab, scenario):
    """What the first line of the text says."""
    run_scenario(scenario, STEPS, Play(world=LabWorld(lab), number=next(_numbers)))
