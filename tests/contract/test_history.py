"""`GET /v1/tunnel-history` of real controllers: a hub with a fed clock, and hub and member as processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slicer.client.codec import encode_documents
from slicer.client.identity import Identity, http_client, load_or_join
from slicer.client.rest import Api, ask
from slicer.model.attachments import TunnelHealth
from slicer.model.documents import key_of
from slicer.model.errors import InvalidError, UnauthenticatedError
from slicer_controller import history
from slicer_controller.running import Controller
from tests.contract.conftest import WAIT_S, free_port
from tests.unit.cli.hub import until

START = 1_800_000_000
MINUTES = 5
TUNNEL = TunnelHealth(
    cluster="a", node="a-n1", tunnel_set=0, index=0, remote_cluster="b", remote_node="b-n1", up=True, rtt_us=400,
    rtt_p99_us=900, jitter_us=50, loss_percent=0,
)  # fmt: skip


class Life:
    """One hub in this process, from its start to its end, with a clock that the test moves."""

    def __init__(self, directory: Path, now_s: int) -> None:
        self.directory, self.now_s = directory, now_s

    def live(self, do: Callable[[Life], Any]) -> tuple[Any, list[str]]:
        """What `do` (called in a thread) returns, and the tasks that outlive the hub."""
        return asyncio.run(self._live(do))

    async def _live(self, do: Callable[[Life], Any]) -> tuple[Any, list[str]]:
        port = free_port()
        self.url = f"https://127.0.0.1:{port}"
        self.controller = Controller(
            roles=frozenset({"hub"}), directory=self.directory, host="127.0.0.1", port=port, advertise=self.url,
            cluster="", cidrs=(), identity=None, clock=lambda: float(self.now_s),
        )  # fmt: skip
        running = asyncio.create_task(self.controller.run())
        await asyncio.to_thread(until, lambda: self.controller._server.started)
        try:
            found = await asyncio.to_thread(do, self)
        finally:
            self.controller.stop()
            await asyncio.wait_for(running, WAIT_S)
        # A task that was cancelled ends in the loop's next round.
        await asyncio.sleep(0)
        return found, [str(task) for task in asyncio.all_tasks() if "Recorder" in str(task)]

    def api(self) -> Api:
        """The administrator's client."""
        return Api(self.url, self.directory / "ca.pem", (self.directory / "admin.token").read_text().strip())

    def join(self) -> Identity:
        """Cluster a's identity."""
        with self.api() as api:
            made = api.create("join-tokens", {"kind": "cluster", "name": "a", "ttl_s": 600})
        return load_or_join(self.directory / "a", made["status"]["token"])

    def has_sampled(self, rtt_us: int) -> bool:
        """Whether the hub's own sampler has seen it in the minute that runs; an answer shows the present as well."""
        lines = self.controller._context.history._kept.lines.values()
        return any(sample.rtt_us == rtt_us for line in lines for sample in line.samples)


def report_minutes(life: Life) -> list[dict[str, Any]]:
    """As cluster a, one report a minute, each until it was sampled; then what the hub shows."""
    with http_client(life.join()) as client:
        for number in range(MINUTES):
            life.now_s = START + 60 * number
            seen = replace(TUNNEL, rtt_us=400 + number)
            ask(client, "PUT", "/v1/reports/cluster", json={"documents": encode_documents({key_of(seen): seen})})
            until(lambda wanted=seen.rtt_us: life.has_sampled(wanted))
    return shown(life)


def shown(life: Life) -> list[dict[str, Any]]:
    """What the hub lists."""
    with life.api() as api:
        return api.list("tunnel-history")


def test_minutes_are_kept_until_the_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler ends with the hub; the next one knows the tunnels from its disk, and nothing of their past."""
    monkeypatch.setattr(history, "SAMPLE_S", 0.001)
    (found, left) = Life(tmp_path, START).live(report_minutes)
    ((again, tunnels), left_again) = Life(tmp_path, START + 300).live(
        lambda life: (shown(life), life.api().list("tunnels"))
    )

    assert [(m["start_s"], m["rtt_us"], m["up_percent"]) for m in found[0]["spec"]["minutes"]] == [
        (START + 60 * n, 400 + n, 100) for n in range(MINUTES)
    ]
    assert (len(found), again, len(tunnels)) == (1, [], 1)
    assert left == left_again == []


def test_hub_and_member_show_what_an_agent_reports(plane: Any) -> None:
    """To whoever shows the right token, and asks for what there is; and both end as asked."""
    member = plane.member("a")
    plane.agent("a", "a-n1").report(TUNNEL)
    for controller in (plane.hub, member):
        with controller.api() as api:
            for line in api.watch("tunnels"):
                if line["type"] == "put":
                    break
            (found,) = api.list("tunnel-history", cluster="a")

            assert found["metadata"]["name"] == "a/a-n1/b/b-n1/0/0/0"
            assert found["spec"]["minutes"][-1]["rtt_p99_us"] == 900
            assert api.list("tunnel-history", cluster="b") == []
            with pytest.raises(InvalidError, match="no such parameter"):
                api.page("tunnel-history", watch="true")
        for token in ("wrong", ""):
            with controller.api(token) as api, pytest.raises(UnauthenticatedError):
                api.list("tunnel-history")

    assert (member.stop(), plane.hub.stop()) == (0, 0)
