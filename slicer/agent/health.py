"""Finds dead gateways and tunnels by probes and takes them out of the node's groups: one thread, no controller.

    probes, replies, news, link events ─▶ lines ─▶ health ─▶ groups, at once ─▶ a reconcile, which agrees
                                            └────▶ what this gateway announces, pushed when it changes

What is decided lies in `slicer.plan.probing` and `slicer.plan.probe_targets`; here are clock, sockets and order. A
gateway answers nothing before a reconcile has read its data path back, and a tunnel whose device went away stays down
until a reconcile that began after that has.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from slicer.agent import log
from slicer.agent.sizing import Sizes
from slicer.kernel.dataplane import DataPlane, Outcome
from slicer.kernel.polling import Watched
from slicer.kernel.probe_sockets import LinkEvents, ProbeSocket, Sockets
from slicer.model.attachments import LostCluster, TunnelHealth
from slicer.model.documents import Documents
from slicer.model.names import Address
from slicer.plan.dataplane import Health, LocalState
from slicer.plan.lanes import lane_letter
from slicer.plan.probe_targets import (
    GONE_S,
    ProbePlan,
    Spot,
    Target,
    TunnelTarget,
    assumed,
    by_address,
    concerned,
    ends_of,
    judge,
    lost,
    passed_on,
    plan_probes,
    reached,
    told_of,
)
from slicer.plan.probing import SIZED, Kind, Line, Message, Pace, decode, digest, encode, encode_sized, statistics

FOLLOW_S = 1.0
"""How often missing sockets are tried again."""
ASKER_S = 10.0
"""A node that probed within this time is told news."""
RTT_MAX_S = 5.0
"""An answer that comes later is none."""
NICENESS = -10
"""Of this thread: it needs little, but a node that is busy with other things must not look dead to the others."""


@dataclass(frozen=True, slots=True)
class _Situation:
    """A reconcile, as it ended."""

    view: Documents
    local: LocalState
    settled: bool
    began_at: float


@dataclass(frozen=True, slots=True)
class _Announcement:
    """What this gateway says of itself in one tunnel set."""

    heard_inside: bool
    reached: frozenset[bytes]
    lost: frozenset[bytes]


class HealthProber:
    """`run_forever` in a thread of its own; `reconciled` and `health` from any thread."""

    def __init__(
        self, *, dataplane: DataPlane, changed: Callable[[], None], pace: Pace | None = None, acting: bool = True
    ) -> None:
        """One that is not `acting` probes, answers and tells as others do, and leaves the groups as they are."""
        self._dataplane, self._changed, self._pace, self._acting = dataplane, changed, pace or Pace(), acting
        dataplane.probed = acting
        self._sockets = Sockets()
        self._wake, self._awake = socket.socketpair()
        for end in (self._wake, self._awake):
            end.setblocking(False)
        self._watched: Watched[ProbeSocket | LinkEvents | socket.socket] = Watched([self._awake])
        self._next: deque[_Situation] = deque(maxlen=1)
        self._now: _Situation | None = None
        self._plan = ProbePlan()
        self._by_address: dict[tuple[Spot, Address], Target] = {}
        self._lines: dict[Target, Line] = {}
        self._sizes = Sizes(self._pace)
        self._due: dict[Target, float] = {}
        self._gone: dict[Target, float] = {}
        """Tunnels whose device went away, and when: down until a reconcile has read them back."""
        self._ready = False
        self._asked_at: dict[int, float] = {}
        self._askers: dict[tuple[Spot, Address], float] = {}
        self._announced: dict[int, _Announcement] = {}
        self._reached: dict[int, frozenset[bytes]] = {}
        self._news = False
        self._follow_at = self._look_at = 0.0
        self._late_at = -GONE_S
        """When a probe was last sent much later than it should have been."""
        self.health = Health()

    def reconciled(self, view: Documents, local: LocalState, outcome: Outcome, began_at: float) -> None:
        """A reconcile that began at `began_at` (monotonic) has ended like this."""
        self._next.append(_Situation(view, local, outcome.settled, began_at))
        with suppress(BlockingIOError):  # then it is awake already
            self._wake.send(b"!")

    def told(self, tunnels: Iterable[TunnelHealth]) -> tuple[TunnelHealth, ...]:
        """The tunnels with what the probes say of them."""
        known = self._lines.copy().items()
        lines = {target.name: line for target, line in known if isinstance(target, TunnelTarget)}
        sizes = {target.name: size for target, size in self._sizes.found().items()}
        keys = [(one, (one.tunnel_set, one.remote_cluster, one.index, one.generation, one.lane)) for one in tunnels]
        return tuple(replace(self._with_line(one, lines.get(key)), path_mtu=sizes.get(key)) for one, key in keys)

    def _with_line(self, tunnel: TunnelHealth, line: Line | None) -> TunnelHealth:
        if line is None:
            return tunnel
        found = statistics(line, self._pace)
        return replace(
            tunnel,
            up=line.up and line.heard_inside,
            rtt_us=found.rtt_us,
            rtt_p99_us=found.rtt_p99_us,
            jitter_us=found.jitter_us,
            loss_percent=found.loss_percent,
        )

    def gone(self, cluster: str, node: str) -> tuple[LostCluster, ...]:
        """What this node, where it is a gateway, has to say of clusters that nobody here reaches."""
        carried = {number for number, _ in self._plan.slots}
        return tuple(
            LostCluster(cluster=cluster, node=node, tunnel_set=number, remote_cluster=remote)
            for number, remote in sorted(self.health.gone)
            if number in carried
        )

    def run_forever(self) -> None:
        """Probe, listen and judge for ever."""
        with suppress(OSError):  # without CAP_SYS_NICE it runs as everything else does
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        said = log.Repeated()
        while True:
            try:
                self.step()
                said.event("health.failed", "loop", "")
            except Exception as error:  # whatever it is: without this thread dead gateways stay in use
                said.event("health.failed", "loop", f"{type(error).__name__}: {error}")
                time.sleep(self._pace.interval_s)

    def step(self) -> None:
        """Listen until the next probe is due, then send it, judge and tell. What has arrived is read before judging."""
        self._adopt()
        self._listen(self._wait_s())
        now = time.monotonic()
        for target in [target for target, due in self._due.items() if due <= now]:
            self._probe(target, now)
        self._news |= self._sizes.step(self._lines, self._ask_size, now)
        self._act()

    def close(self) -> None:
        """Let go of all sockets."""
        self._sockets.close()

    def _adopt(self) -> None:
        situation = self._next.pop() if self._next else None
        now = time.monotonic()
        if situation is not None:
            self._take(situation, now)
        if situation is not None or now >= self._follow_at:
            tunnels = {t.spot.ns for t in self._plan.targets if isinstance(t, TunnelTarget)}
            self._sockets.follow(self._plan.spots, tunnels)
            self._watched = Watched((*self._sockets.all(), self._awake))
            self._follow_at = now + FOLLOW_S

    def _take(self, situation: _Situation, now: float) -> None:
        first = self._now is None
        self._now = situation
        if first and self._dataplane.health is not None:
            self.health = self._dataplane.health
        if situation.settled:
            self._ready = True
            self._gone = {target: at for target, at in self._gone.items() if at >= situation.began_at}
        plan = plan_probes(situation.view, situation.local)
        if plan == self._plan:
            return
        self._plan, self._news = plan, True
        self._by_address = by_address(plan.targets)
        new = {target: assumed(target, plan, self.health) if first else Line(up=False) for target in plan.targets}
        self._lines = {target: self._lines.get(target, new[target]) for target in plan.targets}
        self._due = {target: self._due.get(target, now) for target in plan.targets}
        self._sizes.follow(plan.targets, plan.tunnel_mtu, now)
        self._gone = {target: at for target, at in self._gone.items() if target in self._lines}
        for number in plan.asked:
            self._asked_at.setdefault(number, now)

    def _wait_s(self) -> float:
        due = min(self._due.values(), default=self._follow_at)
        return max(0.0, min(due, self._follow_at) - time.monotonic())

    def _listen(self, wait_s: float) -> None:
        for held in self._watched.readable(wait_s):
            if isinstance(held, ProbeSocket):
                self._hear(held)
            elif isinstance(held, LinkEvents):
                self._lose(held.ns, held.lost())
            else:
                held.recv(4096)

    def _hear(self, heard: ProbeSocket) -> None:
        for data, sender in heard.receive():
            message = decode(data)
            target = self._by_address.get((heard.spot, sender))
            if message is None:
                continue
            if message.kind is Kind.PROBE:
                self._answer(heard, sender, message)
            if message.kind is Kind.BROKEN:
                self._pass_on(heard.spot.tunnel_set, message)
            elif target is not None and target not in self._gone:
                self._learn(target, message)

    def _learn(self, target: Target, message: Message) -> None:
        if message.kind is Kind.REPLY and message.sequence & SIZED:
            if isinstance(target, TunnelTarget):
                self._news |= self._sizes.heard(target, message.sequence, time.monotonic())
        elif message.kind is Kind.REPLY:
            rtt_s = (time.monotonic_ns() - message.sent_ns) / 1e9
            if 0 <= rtt_s < RTT_MAX_S:
                self._note(target, self._lines[target].heard(self._pace, message, rtt_s))
        elif message.kind is Kind.NEWS or isinstance(target, TunnelTarget):
            self._note(target, self._lines[target].told(message))

    def _pass_on(self, number: int, message: Message) -> None:
        """Leave own tunnels that have ended at the other side; tell the far ends of the others."""
        for ends in message.broken:
            own = concerned(self._plan, number, ends)
            other = passed_on(self._plan, number, ends)
            if own is not None:
                self._note(own, self._lines[own].cut(time.monotonic()))
            elif other is not None:
                self._send(other, Message(kind=Kind.BROKEN, broken=(ends,)))

    def _answer(self, heard: ProbeSocket, sender: Address, message: Message) -> None:
        if not heard.spot.ns.startswith("t-"):
            now = time.monotonic()
            self._asked_at[heard.spot.tunnel_set] = now
            self._askers[heard.spot, sender] = now
        if self._ready:
            reply = self._message(heard.spot.tunnel_set, Kind.REPLY, message.sequence, message.sent_ns)
            heard.send(encode(reply), sender)

    def _message(self, number: int, kind: Kind, sequence: int = 0, sent_ns: int = 0) -> Message:
        said = self._said(number)
        return Message(
            kind=kind,
            sequence=sequence,
            sent_ns=sent_ns,
            heard_inside=said.heard_inside,
            reached=said.reached,
            lost=said.lost,
        )

    def _said(self, number: int) -> _Announcement:
        """What was announced last; at first what an earlier prober has found gone."""
        said = self._announced.get(number)
        if said is not None:
            return said
        gone = frozenset(digest(cluster) for of_set, cluster in self.health.gone if of_set == number)
        return _Announcement(heard_inside=True, reached=frozenset(), lost=gone)

    def _lose(self, ns: str, devices: set[str]) -> None:
        """Others are told before anything else: each millisecond costs packets that they send here."""
        now = time.monotonic()
        for target in self._plan.targets:
            if isinstance(target, TunnelTarget) and target.spot.ns == ns and target.device in devices:
                word = Message(kind=Kind.BROKEN, broken=(ends_of(self._plan, target),))
                for other in told_of(self._plan, target):
                    self._send(other, word)
                self._note(target, self._lines[target].cut(now))
                self._gone[target] = now

    def _probe(self, target: Target, now: float) -> None:
        late_s = now - self._due[target]
        if self._pace.is_late(late_s):
            self._late_at = now
        line = self._lines[target].sending(self._pace, now, late_s)
        self._note(target, line)
        self._due[target] = now + self._pace.interval_s * (0.9 + secrets.randbelow(201) / 1000)
        probe = self._message(target.spot.tunnel_set, Kind.PROBE, line.sent % SIZED, time.monotonic_ns())
        self._send(target, probe)

    def _ask_size(self, target: TunnelTarget, size: int) -> None:
        sending = self._sockets.at(target.spot)
        if sending is not None:
            probe = self._message(target.spot.tunnel_set, Kind.PROBE)
            sending.send(encode_sized(probe, size), target.address)

    def _send(self, target: Target, message: Message) -> None:
        sending = self._sockets.at(target.spot)
        if sending is not None:
            sending.send(encode(message), target.address)

    def _note(self, target: Target, line: Line) -> None:
        self._news |= _verdict(line) != _verdict(self._lines[target])
        self._lines[target] = line

    def _act(self) -> None:
        """What works no more is announced first, then own groups change, then what works again is announced.

        Without news only time can make anything silent or lost: that is looked at once an interval.
        """
        now = time.monotonic()
        if not self._news and now < self._look_at:
            return
        self._look_at = now + self._pace.interval_s
        if self._news:
            self._news = False
            found = {n: reached(self._plan, self._lines, n) for n in self._gateway_of()}
            self._reached = {n: found[n] & self._reached.get(n, frozenset()) for n in found}
            self._announce(now)
            self._switch()
            self._reached = found
        self._announce(now)

    def _gateway_of(self) -> set[int]:
        return {target.spot.tunnel_set for target in self._plan.targets if isinstance(target, TunnelTarget)}

    def _switch(self) -> None:
        lost_here = {number: said.lost for number, said in self._announced.items()}
        sizes = self._sizes.found()
        health = judge(self._plan, self._lines, self.health, lost_here, sizes) if self._acting else self.health
        if health != self.health and self._now is not None:
            before, self.health = self.health, health
            local = replace(self._now.local, attachments=())
            refused = self._dataplane.avoid(
                self._now.view, replace(local, health=before), replace(local, health=health)
            )
            log.event("health.changed", **_in_words(health), refused=list(refused))
            self._changed()

    def _announce(self, now: float) -> None:
        for number, found in self._reached.items():
            silent = number in self._plan.asked and now - self._asked_at[number] >= self._pace.silence_s
            known = self._said(number).lost
            deaf = silent or now - self._late_at < GONE_S
            gone = lost(self._plan, self._lines, number, now, pace=self._pace, known=known if deaf else None)
            said = _Announcement(heard_inside=not silent, reached=found, lost=gone)
            if said != self._announced.get(number):
                self._news |= gone != known
                self._announced[number] = said
                self._push(number, now)

    def _push(self, number: int, now: float) -> None:
        if not self._ready:
            return
        self._askers = {asker: at for asker, at in self._askers.items() if now - at < ASKER_S}
        far = [(t.spot, t.address) for t in self._plan.targets if isinstance(t, TunnelTarget)]
        data = encode(self._message(number, Kind.NEWS))
        for spot, address in (*far, *self._askers):
            sending = self._sockets.at(spot) if spot.tunnel_set == number else None
            if sending is not None:
                sending.send(data, address)


def _verdict(line: Line) -> tuple[object, ...]:
    """What a judgement depends on."""
    return (line.up, line.proved, line.answered_ever, line.heard_inside, line.reached, line.lost)


def _in_words(health: Health) -> dict[str, list[str]]:
    return {
        "avoided_gateways": [f"{node} towards {c} (set {s})" for s, c, node in sorted(health.avoided_gateways)],
        "avoided_tunnels": [
            f"{index}{lane_letter(lane)} of generation {generation} towards {c} (set {s})"
            for s, c, index, generation, lane in sorted(health.avoided_tunnels)
        ],
        "cut_off": [f"from {c} (set {s})" for s, c in sorted(health.cut_off)],
        "gone": [f"{c} (set {s})" for s, c in sorted(health.gone)],
        "path_mtus": [f"{size} towards {c} (set {s})" for s, c, size in sorted(health.path_mtus)],
    }
