"""`slicectl install` on a cluster that is a dictionary: what it remembers, and what a dry run leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slicer.cli.commands import installing as command
from slicer.cli.install import installing
from slicer.model.errors import InvalidError, NotFoundError
from tests.unit.ship.cluster import FakeCluster

BALANCED = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}


@pytest.fixture
def slicectl(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`slicectl(options)` is `slicectl install` in the cluster."""
    monkeypatch.setattr(command, "KubernetesCluster", lambda *_: cluster)
    monkeypatch.setenv("SLICER_CONFIG", str(tmp_path / "config.yaml"))
    return lambda **options: command.install(**{"timeout": "1s", **options})


def told(cluster: FakeCluster) -> str:
    """Where other clusters reach the hub, as it is told."""
    return str(cluster.get("ConfigMap", "slicer", "slicer-system")["data"]["advertise"])


@pytest.mark.parametrize("options", [{}, {"hub_service": "load-balancer", "hub_address": "hub.example.org"}])
def test_a_dry_run_changes_nothing(
    cluster: FakeCluster, slicectl: Any, options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints the objects, with the hub's URL."""
    slicectl(hub=True, dry_run=True, **options)

    assert cluster.calls == []
    assert f"advertise: https://{options.get('hub_address', '192.0.2.11')}:" in capsys.readouterr().out


def test_a_dry_run_makes_no_load_balancer(cluster: FakeCluster, slicectl: Any) -> None:
    """It looks for the Service's address; where there is none it says so, at once."""
    with pytest.raises(NotFoundError, match="Service slicer-hub of cluster a has no address yet") as error:
        slicectl(hub=True, hub_service="load-balancer", dry_run=True)

    assert "--hub-address" in "\n".join(error.value.__notes__)
    assert cluster.calls == []


def test_a_dry_run_finds_the_load_balancer_that_is_there(
    cluster: FakeCluster, slicectl: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its address is in what is printed."""
    cluster.put("Service", "slicer-hub", "slicer-system", spec={}, status=BALANCED)
    slicectl(hub=True, hub_service="load-balancer", dry_run=True)

    assert cluster.calls == []
    assert "advertise: https://203.0.113.7:7443" in capsys.readouterr().out


@pytest.mark.parametrize("again", [{"hub": True}, {}])
def test_a_hub_stays_where_its_members_dial(cluster: FakeCluster, slicectl: Any, again: dict[str, bool]) -> None:
    """Run again, or upgraded, it keeps Service and URL, although another node would be chosen now."""
    slicectl(hub=True, hub_service="none", hub_address="https://vpn.example.org:7443")
    slicectl(**again)
    assert (installing.installed(cluster).service, told(cluster)) == ("none", "https://vpn.example.org:7443")

    slicectl(hub=True, hub_service="node-port", hub_port=30500)
    assert told(cluster) == "https://192.0.2.11:30500"

    addresses = [{"type": "ExternalIP", "address": "203.0.113.9"}]
    cluster.put("Node", "n0", status={"addresses": addresses})
    slicectl(**again)
    assert told(cluster) == "https://192.0.2.11:30500"
    assert cluster.get("Service", "slicer-hub", "slicer-system")["spec"]["ports"][0]["nodePort"] == 30500

    slicectl(hub_address="hub.example.org", **again)
    assert told(cluster) == "https://hub.example.org:30500"


def test_a_load_balancer_stays_one(cluster: FakeCluster, slicectl: Any) -> None:
    """Also when the command is run again without saying so."""
    apply = cluster.apply
    cluster.apply = lambda wanted: apply({**wanted, "status": BALANCED})  # type: ignore[method-assign]
    slicectl(hub=True, hub_service="load-balancer")
    slicectl(hub=True)

    assert installing.installed(cluster).service == "load-balancer"
    assert told(cluster) == "https://203.0.113.7:7443"


@pytest.mark.parametrize("option", [{"hub_service": "none"}, {"hub_address": "x"}, {"hub_port": 30500}])
def test_a_member_is_told_nothing_of_hubs(cluster: FakeCluster, slicectl: Any, option: dict[str, Any]) -> None:
    """How a hub is reached is refused for a cluster that joins one."""
    installing.apply(cluster, installing.member_wish("a"), None, 0.05, lambda _: None)
    cluster.calls.clear()

    with pytest.raises(InvalidError, match="'a' is a member"):
        slicectl(**option)

    assert cluster.calls == []


def test_what_was_found_is_not_remembered(cluster: FakeCluster, slicectl: Any) -> None:
    """The memory of an installation has what was given, and the URL that members dial."""
    slicectl(hub=True)
    head = cluster.get("ConfigMap", "slicer", "slicer-system")["metadata"]
    memory = json.loads(head["annotations"]["slicer.io/installation"])

    assert memory["cidrs"] == []
    assert memory["resolvers"] == []
    assert "found_cidrs" not in memory
    assert memory["advertise"] == "https://192.0.2.11:30443"
