"""Plays one experiment: flows first, then the fault, then the repair, whatever happens; then what it all was.

before ── fault ── hold ── repair ── back ── settled
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from slicer.lab.chaos import journal, steps
from slicer.lab.chaos.choosing import Stage
from slicer.lab.chaos.experiments import Choice, Experiment, Scene, Strength, machines_for
from slicer.lab.chaos.judging import Figures, Limits, Opinion, Times, figures, judge
from slicer.lab.chaos.opinion import MET, Listener
from slicer.lab.chaos.steps import Kind, Step
from slicer.lab.chaos.talking import FLOWS, SPACING_S, Flows, flowing
from slicer.lab.layout import Layout
from slicer.model.errors import InvalidError, UnavailableError

BEFORE_S = 1.0
"""How long flows run undisturbed first."""
START_S = 20.0
"""How long flows may take to run before anything is done."""
RETURN_S = 30.0
"""How long they may take to run again after the repair."""
SETTLED_S = 1.5
"""How long is measured after the time that a flow may be silent after the repair."""
MET_S = 30.0
"""How long the objectives may take to be met again: the loss of the last hundred probes is that of ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one experiment showed."""

    experiment: str
    machines: tuple[str, ...]
    limits: Limits
    times: Times
    figures: tuple[Figures, ...]
    opinion: Opinion
    reasons: tuple[str, ...]
    """Why the slice failed; empty if it stood it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How all experiments of one call are played."""

    cluster: str
    node: str
    hold_s: float
    silence_s: float | None
    """None: what the experiment itself allows."""
    strength: Strength


Say = Callable[[str], None]


def play(layout: Layout, stage: Stage, experiment: Experiment, terms: Terms, say: Say) -> Outcome:
    """Play one experiment; errors if it could not be played. The lab is repaired when this returns or raises."""
    wanted = plan(layout, stage, experiment, terms)
    limits = limits_of(stage, experiment, terms)
    with flowing(layout, stage.source, stage.target) as flows, Listener(layout, stage) as listener:
        _begin(flows, listener, say)
        times = _disturb(layout, wanted, terms.hold_s, say)
        _settle(flows, times.repaired_at, limits, say)
        times = replace(times, ended_at=time.monotonic())
        found = tuple(figures(one, times, limits) for one in flows.directions())
        opinion = _conclude(listener, times, say)
    return Outcome(
        experiment=experiment.name,
        machines=tuple(dict.fromkeys(step.machine for step in wanted)),
        limits=limits,
        times=times,
        figures=found,
        opinion=opinion,
        reasons=judge(experiment.hold, limits, found, opinion),
    )


def limits_of(stage: Stage, experiment: Experiment, terms: Terms) -> Limits:
    """What is wanted: of the user, else of the experiment; and of the slice."""
    silence_s = experiment.silence_s if terms.silence_s is None else terms.silence_s
    return Limits(silence_s=silence_s, objectives=stage.objectives)


def plan(layout: Layout, stage: Stage, experiment: Experiment, terms: Terms) -> tuple[Step, ...]:
    """What will be done, in order; InvalidError if there is nothing that it could be done to."""
    source, target = stage.source, stage.target
    cluster = (layout.machine(terms.node).cluster if terms.node else terms.cluster) or source.cluster
    if cluster not in {source.cluster, target.cluster}:
        raise InvalidError(f"the flows run between {source.cluster} and {target.cluster}, not through {cluster!r}")
    choice = Choice(
        layout=layout,
        cluster=cluster,
        gateways=stage.gateways.get(cluster, ()),
        busy=(source.node, target.node),
        node=terms.node,
    )
    found = machines_for(experiment, choice)
    other = target.cluster if cluster == source.cluster else source.cluster
    scene = Scene(layout=layout, machines=found, cluster=cluster, other=other, strength=terms.strength)
    return tuple(_with_pods(layout, step) for step in experiment.steps(scene))


def _with_pods(layout: Layout, step: Step) -> Step:
    """What is needed to start the very machine that was killed, with what ran there."""
    if step.kind is not Kind.MACHINE:
        return step
    return replace(step, pods=steps.pods_on(layout, step.machine), detail=steps.life_of(layout, step.machine))


def _begin(flows: Flows, listener: Listener, say: Say) -> None:
    """Let the flows run undisturbed; UnavailableError if no packets flow, since then nothing could be learnt."""
    if not flows.wait_until_all_run(START_S):
        raise UnavailableError(f"packets do not flow, and nothing was done yet (waited {START_S:.0f} s)")
    if not listener.wait_until_met(MET_S):
        say("the objectives are not met, and nothing was done yet")
    say(f"{FLOWS} flows run each way, a packet each {SPACING_S * 1000:g} ms")
    time.sleep(BEFORE_S)


def _disturb(layout: Layout, wanted: Sequence[Step], hold_s: float, say: Say) -> Times:
    """The fault, as long as it is wanted, and its repair, whatever happens."""
    journal.arm(layout, wanted)
    fault_at = time.monotonic()
    try:
        for step in sorted(wanted, key=lambda step: step.after):
            _sleep_until(fault_at + step.after * hold_s)
            steps.do(layout, step)
            say(step.said)
        _sleep_until(fault_at + hold_s)
    finally:
        repair_at = time.monotonic()
        journal.repair(layout, lambda what: say(f"{what}: repaired"))
    now = time.monotonic()
    return Times(started=fault_at - BEFORE_S, fault_at=fault_at, repair_at=repair_at, repaired_at=now, ended_at=now)


def _settle(flows: Flows, repaired_at: float, limits: Limits, say: Say) -> None:
    """Until all flows run again, and long enough to judge them."""
    if not flows.wait_until_all_run(RETURN_S):
        say(f"packets do not flow again, {RETURN_S:.0f} s after the repair")
    _sleep_until(repaired_at + limits.silence_s + SETTLED_S)


def _conclude(listener: Listener, times: Times, say: Say) -> Opinion:
    opinion = listener.opinion(times.fault_at, times.repair_at)
    if opinion.before == MET:
        met = listener.wait_until_met(MET_S)
        say("the objectives are met" if met else f"the objectives are not met again within {MET_S:.0f} s")
    return listener.opinion(times.fault_at, times.repair_at)


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))
