"""Where an experiment takes place: the slice, the two pods between which flows run, the machines it is done to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.client.codec import decode
from slicer.lab import rest
from slicer.lab.layout import Layout, Role
from slicer.model.errors import InvalidError, NotFoundError, SlicerError
from slicer.model.slices import Objectives, Slice

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user said; empty where it is ours to choose."""

    slice: str = ""
    source: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One end of the flows."""

    cluster: str
    namespace: str
    name: str
    node: str
    address: str
    """On the slice."""

    @property
    def full_name(self) -> str:
        """`cluster/namespace/pod`, as `slicectl lab` takes it."""
        return f"{self.cluster}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all experiments of one call share."""

    slice: str
    objectives: Objectives | None
    gateways: dict[str, tuple[str, ...]]
    """Nodes that are gateways of the slice, by cluster."""
    source: Pod
    target: Pod


def choose(layout: Layout, wish: Wish) -> Stage:
    """The stage; errors name what there is to choose from."""
    with rest.opened(layout, layout.machine(Role.HUB.value)) as api:
        slices = api.list("slices")
        name = choose_slice([one["metadata"]["name"] for one in slices], wish.slice)
        attachments = api.list("attachments", slice=name)
    (found,) = [one for one in slices if one["metadata"]["name"] == name]
    source, target = choose_pods([one["spec"] for one in attachments], decode(Slice, found["spec"]), wish)
    return Stage(
        slice=name,
        objectives=objectives_of(found),
        gateways={one["name"]: tuple(one["gateways"]) for one in found["status"]["clusters"]},
        source=source,
        target=target,
    )


def choose_slice(names: Sequence[str], wanted: str) -> str:
    """The slice that is meant: the one named, or the only one."""
    if wanted and wanted not in names:
        raise NotFoundError(f"there is no slice {wanted!r}; there are {', '.join(names) or 'none'}")
    if wanted or len(names) == 1:
        return wanted or names[0]
    if not names:
        raise NotFoundError("there is no slice; make one: slicectl create-slice red --prefix 10.22.0.0/16 --wait")
    raise InvalidError(f"which slice? --slice, one of {', '.join(names)}")


def choose_pods(attachments: Iterable[Json], slice_: Slice, wish: Wish) -> tuple[Pod, Pod]:
    """Two attached pods in two clusters that are linked: those that are named, or the first ones."""
    pods = sorted((_pod(one) for one in attachments if one["state"] == "attached"), key=lambda pod: pod.full_name)
    for text, option in ((wish.source, "--from"), (wish.target, "--to")):
        if text and not any(_is(pod, text) for pod in pods):
            there = ", ".join(pod.full_name for pod in pods) or "none"
            raise NotFoundError(f"{option} {text}: no such pod on slice {slice_.name}; there are {there}")
    for source in (pod for pod in pods if not wish.source or _is(pod, wish.source)):
        for target in (pod for pod in pods if not wish.target or _is(pod, wish.target)):
            if slice_.is_linked(source.cluster, target.cluster):
                return source, target
    raise SlicerError(f"slice {slice_.name} has no two such pods in two linked clusters; flows run between such two")


def objectives_of(found: Json) -> Objectives | None:
    """The slice's objectives; None where it has none."""
    value = found["spec"].get("objectives")
    return None if value is None else decode(Objectives, value)


def _is(pod: Pod, text: str) -> bool:
    words = text.split("/")
    return pod.full_name.split("/")[-len(words) :] == words


def _pod(value: Json) -> Pod:
    return Pod(
        cluster=value["cluster"],
        namespace=value["namespace"],
        name=value["pod"],
        node=value["node"],
        address=value["addresses"][0],
    )
