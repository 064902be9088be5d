"""The experiments: what each does to which machines, and what must hold meanwhile. Pure.

A new one is one entry of EXPERIMENTS. Callers: the runner, the command line and its list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slicer.lab.chaos import faults
from slicer.lab.chaos.steps import Kind, Step
from slicer.lab.layout import Layout, Role
from slicer.model.errors import InvalidError
from slicer.model.names import check_range

SILENCE_S = 1.0
"""What a slice needs at most, as a rule, to find another way."""
MTU_SILENCE_S = 3.0
"""A smaller path is looked for once a second, and believed after three losses."""


class Target(StrEnum):
    """Which machines an experiment is for."""

    GATEWAY = "a gateway"
    FREE_GATEWAY = "a gateway on whose machine neither pod runs"
    GATEWAYS = "all gateways of the cluster"
    MEMBER = "the cluster's control plane"
    HUB = "the hub"
    CLUSTER = "all nodes of the cluster"


class Hold(StrEnum):
    """What must hold while the fault is there; after the repair everything must. The words stand in the list."""

    UNHARMED = "no flow stands still"
    HEALS = "packets soon flow again"
    NOTHING = "nothing; back soon after the repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How bad a fault is, where that can be chosen."""

    loss_percent: int = 5
    delay_ms: int = 50
    size: int = 1400

    def __post_init__(self) -> None:
        check_range("loss in per cent", self.loss_percent, 1, 100)
        check_range("delay in milliseconds", self.delay_ms, 1, 5000)
        check_range("size in bytes", self.size, 100, 1500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where an experiment takes place."""

    layout: Layout
    machines: tuple[str, ...]
    """The target's."""
    cluster: str
    """Where they are."""
    other: str
    """The cluster at the other end of the flows."""
    strength: Strength = Strength()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What there is to choose an experiment's machines from."""

    layout: Layout
    cluster: str
    gateways: tuple[str, ...]
    """Of the slice in that cluster."""
    busy: tuple[str, ...] = ()
    """The machines on which the flows' pods run."""
    node: str = ""
    """The user's choice of one gateway; empty where it is ours to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One thing that can happen."""

    name: str
    summary: str
    target: Target
    hold: Hold
    steps: Callable[[Scene], Sequence[Step]]
    silence_s: float = SILENCE_S
    """How long a flow may be silent after something happened, where the user does not say."""


def _rules(text: str, said: str) -> Callable[[Scene], Sequence[Step]]:
    return lambda scene: [
        Step(kind=Kind.RULES, machine=machine, detail=text, said=f"{machine}: {said}") for machine in scene.machines
    ]


def _program(name: str) -> Callable[[Scene], Sequence[Step]]:
    return lambda scene: [
        Step(kind=Kind.PROGRAM, machine=machine, detail=name, said=f"{machine}: {name} is killed and stays away")
        for machine in scene.machines
    ]


def _plug(scene: Scene) -> Sequence[Step]:
    return [Step(kind=Kind.MACHINE, machine=m, said=f"{m}: the plug is pulled") for m in scene.machines]


def _wireguard(scene: Scene) -> Sequence[Step]:
    said = "every wireguard-go is killed; the agent starts them again"
    return [Step(kind=Kind.PROCESS, machine=m, detail="wireguard-go", said=f"{m}: {said}") for m in scene.machines]


def _loss(scene: Scene) -> Sequence[Step]:
    percent = scene.strength.loss_percent
    return _rules(faults.lossy(percent), f"{percent} % of packets between clusters are lost, each way")(scene)


def _narrow(scene: Scene) -> Sequence[Step]:
    size = scene.strength.size
    return _rules(faults.narrow(size), f"packets between clusters of more than {size} bytes are lost")(scene)


def _delay(scene: Scene) -> Sequence[Step]:
    wait_ms = str(scene.strength.delay_ms)
    said = f"packets between clusters take {wait_ms} ms longer, each way"
    return [Step(kind=Kind.DELAY, machine=m, detail=wait_ms, said=f"{m}: {said}") for m in scene.machines]


def _partition(scene: Scene) -> Sequence[Step]:
    others = [address for machine in scene.layout.of_cluster(scene.other) for address in machine.addresses]
    return _rules(faults.apart(others), f"nothing passes to or from cluster {scene.other}")(scene)


def _rebind(scene: Scene) -> Sequence[Step]:
    said = ("is behind a NAT from now on", "the NAT forgets everything and takes new ports")
    return [
        Step(kind=Kind.RULES, machine=m, detail=faults.translated(n), said=f"{m}: {said[n]}", after=n / 2)
        for n in range(2)
        for m in scene.machines
    ]


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        name="kill-gateway",
        summary="pull the plug of a gateway's machine",
        target=Target.FREE_GATEWAY,
        hold=Hold.HEALS,
        steps=_plug,
    ),
    Experiment(
        name="kill-wireguard",
        summary="kill a gateway's wireguard-go",
        target=Target.GATEWAY,
        hold=Hold.HEALS,
        steps=_wireguard,
    ),
    Experiment(
        name="kill-agent",
        summary="kill a gateway's agent and keep it away",
        target=Target.GATEWAY,
        hold=Hold.UNHARMED,
        steps=_program("agent"),
    ),
    Experiment(
        name="stop-member",
        summary="kill a cluster's controller and keep it away",
        target=Target.MEMBER,
        hold=Hold.UNHARMED,
        steps=_program("member"),
    ),
    Experiment(
        name="stop-hub",
        summary="kill the hub and keep it away",
        target=Target.HUB,
        hold=Hold.UNHARMED,
        steps=_program("hub"),
    ),
    Experiment(
        name="cut-outside",
        summary="cut a gateway's way to other clusters",
        target=Target.GATEWAY,
        hold=Hold.HEALS,
        steps=_rules(faults.outside(), "its way to other clusters is cut"),
    ),
    Experiment(
        name="cut-inside",
        summary="cut a gateway's way to the nodes of its cluster",
        target=Target.FREE_GATEWAY,
        hold=Hold.HEALS,
        steps=_rules(faults.inside(), "its way to the nodes of its cluster is cut"),
    ),
    Experiment(
        name="silence",
        summary="drop every packet of a gateway, and tell nobody",
        target=Target.FREE_GATEWAY,
        hold=Hold.HEALS,
        steps=_rules(faults.everything(), "it falls silent"),
    ),
    Experiment(
        name="one-way",
        summary="lose what comes in from other clusters at a gateway; what goes out arrives",
        target=Target.GATEWAY,
        hold=Hold.HEALS,
        steps=_rules(faults.deaf(), "what comes in from other clusters is lost"),
    ),
    Experiment(
        name="partition",
        summary="cut two clusters off from each other",
        target=Target.CLUSTER,
        hold=Hold.NOTHING,
        steps=_partition,
    ),
    Experiment(
        name="loss",
        summary="lose packets between clusters by chance (--loss PERCENT)",
        target=Target.GATEWAYS,
        hold=Hold.HEALS,
        steps=_loss,
    ),
    Experiment(
        name="delay",
        summary="hold back every packet between clusters (--delay DURATION)",
        target=Target.GATEWAYS,
        hold=Hold.HEALS,
        steps=_delay,
    ),
    Experiment(
        name="mtu",
        summary="lose packets between clusters that are larger than --size BYTES, and tell nobody",
        target=Target.GATEWAYS,
        hold=Hold.HEALS,
        steps=_narrow,
        silence_s=MTU_SILENCE_S,
    ),
    Experiment(
        name="nat-rebind",
        summary="put the gateways behind a NAT, which then forgets what it knew",
        target=Target.GATEWAYS,
        hold=Hold.HEALS,
        steps=_rebind,
    ),
)


BENCH = ("kill-gateway", "kill-wireguard", "cut-outside", "cut-inside", "silence", "one-way")
"""What a slice heals by itself: `slicectl bench failover` says how soon."""


def find(name: str) -> tuple[Experiment, ...]:
    """The experiment of that name, or `all` of them; InvalidError lists those that there are."""
    found = tuple(one for one in EXPERIMENTS if name in {one.name, "all"})
    if not found:
        raise InvalidError(f"there is no experiment {name!r}; there are {', '.join(e.name for e in EXPERIMENTS)}, all")
    return found


def machines_for(experiment: Experiment, choice: Choice) -> tuple[str, ...]:
    """The machines that the experiment is done to; InvalidError if there is none that it can be done to."""
    match experiment.target:
        case Target.HUB:
            return (Role.HUB.value,)
        case Target.MEMBER:
            return (choice.layout.of_cluster(choice.cluster)[0].name,)
        case Target.CLUSTER:
            return tuple(machine.name for machine in choice.layout.nodes_of(choice.cluster))
        case _:
            return _gateways_for(experiment, choice)


def _gateways_for(experiment: Experiment, choice: Choice) -> tuple[str, ...]:
    node, gateways, where = choice.node, choice.gateways, f"cluster {choice.cluster}"
    if node and node not in gateways:
        raise InvalidError(f"{node!r} is no gateway of the slice in {where}; those are {', '.join(gateways) or 'none'}")
    if not gateways:
        raise InvalidError(f"the slice has no gateway in {where}")
    meant = (node,) if node else gateways
    if experiment.target is Target.GATEWAYS:
        return meant
    free = tuple(gateway for gateway in meant if gateway not in choice.busy)
    if experiment.target is Target.FREE_GATEWAY and not free:
        found = f"gateway {node}" if node else f"every gateway of {where} ({', '.join(gateways)})"
        raise InvalidError(f"{experiment.name}: a pod of the flows runs on {found}; take another with --from or --to")
    return (*free, *meant)[:1]
