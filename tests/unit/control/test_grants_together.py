"""Member and nodes together, with views and reports that are late: no address is ever given twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from slicer.model.attachments import AddressGrant, AddressWish, AddressYield, Attachment
from slicer.model.documents import Document, key_of
from slicer.model.errors import ConflictError, ExhaustedError, SlicerError, UnavailableError
from slicer.plan.attach import Situation
from slicer.plan.granted import plan_yields
from slicer.plan.grants import STATEFUL_LABEL, Claims, plan_grants
from tests.unit.control.granting import (
    BLOCKS,
    CLUSTER_BLOCK,
    FREE,
    NODES,
    situation,
    start,
    wish,
)


@dataclass
class World:
    """One member and three nodes; what one says the other hears later, in order."""

    grants: dict[str, AddressGrant] = field(default_factory=dict)
    heard: dict[str, list[Document]] = field(default_factory=dict)
    views: dict[str, list[dict[str, Document]]] = field(default_factory=lambda: {node: [] for node in BLOCKS})
    known: dict[str, dict[str, Document]] = field(default_factory=lambda: {node: {} for node in BLOCKS})
    running: dict[str, Attachment] = field(default_factory=dict)
    """By container; pods of the same name may run on two nodes for a moment."""
    asking: dict[tuple[str, str], AddressWish] = field(default_factory=dict)
    reports: dict[str, list[list[Document]]] = field(default_factory=lambda: {node: [] for node in BLOCKS})
    count: int = 0

    def here(self, node: str) -> Situation:
        mine = tuple(a for a in self.running.values() if a.node == node)
        return situation(node, *self.known[node].values(), attachments=mine)

    def run(self, node: str, pod: str, address: str) -> None:
        """A pod starts; `address` may be empty. A StatefulSet's pod starts only when it runs nowhere."""
        if any(a.pod == pod for a in self.running.values()):
            return
        self.count += 1
        container = f"c{self.count}"
        try:
            made = start(self.here(node), pod, *filter(None, [address]), container=container)
        except (UnavailableError, ConflictError, ExhaustedError) as error:
            if isinstance(error, SlicerError) and error.reason == "NotGranted" and address:
                self.asking[node, pod] = wish(pod, address, node=node)
        else:
            self.asking.pop((node, pod), None)
            labels = ((STATEFUL_LABEL, pod),) if pod.startswith("db") else ()
            self.running[container] = replace(made, labels=labels)
        self.tell(node)

    def retry(self) -> None:
        """The kubelets try again what could not be started."""
        for (node, pod), asked in sorted(self.asking.items()):
            self.run(node, pod, str(asked.addresses[0]))

    def end(self) -> None:
        """The oldest pod ends."""
        if self.running:
            gone = self.running.pop(min(self.running, key=lambda container: int(container[1:])))
            self.tell(gone.node)

    def restart(self, pod: str, node: str) -> list[Any]:
        """The pod ends wherever it is, and starts on `node`, with time enough between; its addresses."""
        for container in [container for container, a in self.running.items() if a.pod == pod]:
            self.tell(self.running.pop(container).node)
        self.settle()
        self.run(node, pod, "")
        self.settle()
        return [a.addresses for a in self.running.values() if a.pod == pod]

    def tell(self, node: str) -> None:
        here = self.here(node)
        yields = plan_yields(here.grants, here.own_blocks(), here.attachments, {})
        asked = [one for (where, _), one in self.asking.items() if where == node]
        self.reports[node].append([*here.attachments, *yields, *asked])

    def do(self, what: tuple[Any, ...], up_to_date: tuple[str, ...]) -> None:
        """One step; then some nodes hear what the member says, and it hears them, the others lag behind."""
        getattr(self, what[0])(*what[1:])
        self.settle(up_to_date)

    def hear(self, node: str) -> None:
        """The member hears the oldest report that it has not heard, and grants."""
        self.heard[node] = self.reports[node].pop(0)
        self.grant()

    def see(self, node: str) -> None:
        """The node hears the oldest view that it has not seen, and tells what it yields."""
        self.known[node] = self.views[node].pop(0)
        self.tell(node)

    def claims(self, **more: Any) -> Claims:
        told = [document for documents in self.heard.values() for document in documents]
        pick = lambda kind: tuple(d for d in told if isinstance(d, kind))  # noqa: E731
        return Claims(
            slice="red",
            cluster="a",
            blocks=(CLUSTER_BLOCK,),
            nodes=NODES,
            held=tuple(self.grants.values()),
            attachments=pick(Attachment),
            wishes=pick(AddressWish),
            yields=pick(AddressYield),
            **more,
        )

    def grant(self, **more: Any) -> None:
        found = {key_of(one): one for one in plan_grants(self.claims(**more))[0]}
        if found != self.grants:
            self.grants = found
            for queue in self.views.values():
                queue.append(dict(found))

    def settle(self, nodes: tuple[str, ...] = tuple(BLOCKS)) -> None:
        """These nodes and the member hear everything from each other."""
        while any(self.reports[node] or self.views[node] for node in nodes):
            for node in nodes:
                if self.reports[node]:
                    self.hear(node)
                elif self.views[node]:
                    self.see(node)

    def rest(self) -> None:
        """So much time passes that what nobody uses ends, in the two steps that the member makes of it."""
        self.asking.clear()
        for node in BLOCKS:
            self.tell(node)
        self.settle()
        vacant = frozenset(plan_grants(self.claims())[1])
        self.grant(ending=vacant)
        self.settle()
        self.grant(expired=vacant & plan_grants(self.claims())[1])

    def check(self) -> None:
        """No address has two pods, and none is a node's own."""
        users = Counter(address for a in self.running.values() for address in a.addresses)
        assert [address for address, count in users.items() if count > 1] == []
        assert not users.keys() & {router for node in NODES for router in node.router_addresses()}


NODE = st.sampled_from(["n1", "n2"])
POD = st.sampled_from(["db-0", "web", "api"])
ADDRESS = st.sampled_from(["", "10.22.4.2", FREE])
LATE = st.sampled_from([(), ("n1",), ("n2",), ("n1", "n2")])
"""The nodes that hear and are heard after a step; the others lag behind."""
DO = st.one_of(
    st.tuples(st.just("run"), NODE, POD, ADDRESS),
    st.sampled_from([("retry",), ("retry",), ("end",), ("rest",)]),
)
STEPS = st.lists(st.tuples(DO, LATE), max_size=12)
"""A small world, so that pods do meet: two nodes, three pods, two addresses."""


@settings(max_examples=200)
@example([(("run", "n2", "web", "10.22.4.2"), ("n2",)), (("run", "n1", "api", ""), ()), (("retry",), ())])
@given(STEPS)
def test_no_address_ever_has_two_pods(steps: list[Any]):
    """Whatever starts, ends and moves while views and reports are late."""
    world = World()
    for step in steps:
        world.do(*step)
        world.check()


@given(STEPS, NODE, NODE)
def test_a_stateful_pod_comes_back_with_its_address(steps: list[Any], first: str, second: str):
    """After anything, once everybody has heard everything and wishes nothing: on whichever node it starts again."""
    world = World()
    for step in steps:
        world.do(*step)
    world.rest()
    had = world.restart("db-0", first)

    assert len(had) == 1
    assert world.restart("db-0", second) == had
