"""One controller leads, others wait: by a Lease on a real API server; and what it does while that is away."""

from __future__ import annotations

import dataclasses
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.client.identity import load_or_join
from slicer.client.kube_api import Api
from slicer.model.errors import UnavailableError
from slicer_controller.kube.client import load_configuration
from slicer_controller.kube.lease import Lease, Place, Timing
from slicer_controller.kube.naming import SLICE
from tests.contract.conftest import Agent, Controller, free_port, node
from tests.kubernetes.control.test_crds import declare
from tests.kubernetes.control.waiting import records, wait_for
from tests.kubernetes.control.world import InCluster, running

QUICK = Timing(duration_s=2.0, deadline_s=1.5, retry_s=0.1)


def candidate(api: Api, namespace: str, identity: str) -> Lease:
    return Lease(api, Place(namespace=namespace, name="test", identity=identity), timing=QUICK)


def test_one_leads_and_the_next_takes_over_at_once(api: Api, namespace: str) -> None:
    """Given back, the lease is free; while it is held, nobody else gets it."""
    first, second = candidate(api, namespace, "one"), candidate(api, namespace, "two")
    never = threading.Event()
    assert first.acquire(never)
    first.keep(never.set)
    taken = threading.Event()
    waiting = threading.Thread(target=lambda: second.acquire(never) and taken.set())
    waiting.start()

    assert not taken.wait(QUICK.duration_s + 0.5)
    assert first.held
    first.release()

    assert taken.wait(20)
    assert second.held
    assert not first.held
    waiting.join()
    second.release()


def test_a_leader_that_died_is_followed(api: Api, namespace: str) -> None:
    """Its lease is taken over when it has not been renewed for its time, and not before."""
    first, second = candidate(api, namespace, "one"), candidate(api, namespace, "two")
    assert first.acquire(threading.Event())

    assert second.acquire(threading.Event())

    assert second.held
    assert not first.held
    second.release()


def test_a_leader_that_cannot_renew_does_not_write(server: Any, namespace: str) -> None:
    """The API server away for longer than the deadline: not held; back, and nobody came in between: held again."""
    api = Api(load_configuration(server.kubeconfig))
    lease = candidate(api, namespace, "one")
    lost = threading.Event()
    assert lease.acquire(threading.Event())
    lease.keep(lost.set)
    server.stop("apiserver")
    try:
        wait_for(lambda: not lease.held)
    finally:
        server.start()
    wait_for(lambda: lease.held)

    assert not lost.is_set()
    lease.release()
    api.close()


def test_a_leader_whose_lease_another_has_is_told(api: Api, namespace: str) -> None:
    """Once, and it is not held from then on."""
    first, second = candidate(api, namespace, "one"), candidate(api, namespace, "two")
    lost = threading.Event()
    assert first.acquire(threading.Event())
    assert second.acquire(threading.Event())

    first.keep(lost.set)

    assert lost.wait(20)
    assert not first.held
    first.release()
    assert second.held
    second.release()


def test_waiting_ends_when_it_is_told_to(api: Api, namespace: str) -> None:
    """SIGTERM on standby."""
    first, second = candidate(api, namespace, "one"), candidate(api, namespace, "two")
    assert first.acquire(threading.Event())
    stopping = threading.Event()
    stopping.set()

    assert not second.acquire(stopping)
    first.release()


@pytest.fixture
def cluster(server: Any, tmp_path: Path) -> Iterator[InCluster]:
    """A controller that leads."""
    with running(server, tmp_path / "leader") as made:
        yield made


class Standby(Controller):
    """Starts and is not waited for."""

    def wait_log(self, event: str) -> dict[str, Any]:
        """What shows that it is there."""
        return super().wait_log("standing by" if event == "serving" else event)

    def wait_serving(self) -> None:
        """Until it leads and serves."""
        super().wait_log("serving")


def probe(port: int, path: str) -> int:
    try:
        return int(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_standby_takes_over_with_everything(cluster: InCluster, server: Any, tmp_path: Path) -> None:
    """Alive but not ready while it waits; after SIGTERM to the leader it has its CA, its slices and its clients."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    probes = free_port()
    arguments = (*cluster.process.arguments, "--probe-listen", f"127.0.0.1:{probes}")
    standby = Standby(tmp_path / "standby", free_port(), *arguments)
    try:
        assert (probe(probes, "/healthz"), probe(probes, "/readyz")) == (200, 503)

        assert cluster.process.stop() == 0
        standby.wait_serving()

        wait_for(lambda: probe(probes, "/readyz") == 200)
        ca = (cluster.process.directory / "ca.pem").read_text()
        assert (standby.directory / "ca.pem").read_text() == ca
        with standby.api() as rest:
            assert rest.get("slices", "red")["spec"]["prefixes"] == ["10.22.0.0/16"]
    finally:
        standby.kill()


def test_nothing_stands_still_while_the_api_server_is_away(cluster: InCluster, server: Any, tmp_path: Path) -> None:
    """Agents hear of each other on; no view loses a document; what needs a promise waits, and comes afterwards."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    cluster.wait_condition(SLICE, "red", "Valid", "Accepted")
    one, two = (member_agent(cluster, tmp_path, name) for name in ("n1", "n2"))
    kept = {"slice/red", "nodeblock/red/a/n1", "nodeblock/red/a/n2"}
    before = two.wait(lambda view: kept <= view.keys())
    told = len(two.told)

    server.stop("apiserver")
    cluster.process.wait_log("lease not held: writes wait")
    one.report(dataclasses.replace(node("a", "n1"), version="new"))
    two.wait(lambda view: view["node/a/n1"].version == "new")
    with cluster.rest() as rest, pytest.raises(UnavailableError):
        rest.create("slices", {"name": "green", "prefixes": ["10.24.0.0/16"]})
    server.start()
    cluster.process.wait_log("lease held again")
    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.23.0.0/16"]})
    after = two.wait(lambda view: "nodeblock/blue/a/n2" in view)

    assert cluster.process.process.poll() is None
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert all(kept <= view.keys() for view in two.told[told:])
    assert "slice/green" not in after
    one.stop()
    two.stop()


def test_a_restart_takes_no_document_from_a_view(cluster: InCluster, tmp_path: Path) -> None:
    """kill -9 and an empty state directory: same memory, same view, also what only agents had reported."""
    declare(cluster.api, SLICE, "red", {"prefixes": ["10.22.0.0/16"]})
    one, two = (member_agent(cluster, tmp_path, name) for name in ("n1", "n2"))
    kept = {"slice/red", "nodeblock/red/a/n1", "nodeblock/red/a/n2", "node/a/n1"}
    two.wait(lambda view: kept <= view.keys())
    wait_for(lambda: {"node/a/n1", "node/a/n2"} <= records(cluster.api, cluster.namespace).keys())
    one.stop()
    told = len(two.told)

    cluster.process.kill()
    cluster.process.directory = tmp_path / "empty"
    cluster.process.start()
    declare(cluster.api, SLICE, "blue", {"prefixes": ["10.23.0.0/16"]})
    two.wait(lambda view: "nodeblock/blue/a/n1" in view)

    assert all(kept <= view.keys() for view in two.told[told:])
    two.stop()


def member_agent(cluster: InCluster, directory: Path, name: str) -> Agent:
    """An agent that follows and has reported its node."""
    identity = load_or_join(directory / name, cluster.process.token("node", name))
    agent = Agent(identity, directory / name)
    agent.report(node("a", name))
    return agent
