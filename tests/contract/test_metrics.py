"""`GET /metrics` of real controllers."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

RED = {"name": "red", "prefixes": ["10.7.0.0/16"]}


def test_metrics_are_for_those_with_the_token(plane: Any, make_attachment: Any) -> None:
    """Prometheus' own parser reads the page, of the hub and of a member; without a token there is none."""
    plane.member("a")
    with plane.hub.api() as api:
        api.create("slices", RED)
    plane.agent("a", "a-n1").report(make_attachment("a", "a-n1", "web-0", "10.7.4.5"))
    for controller in (plane.hub, plane.members["a"]):
        with controller.api() as api:
            wait_for_pod(api)
        answer = controller.metrics()
        samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]

        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        place = {"slice": "red", "cluster": "a", "state": "attached"}
        assert [s.value for s in samples if s.name == "slicer_slice_attachments" and s.labels == place] == [1]
        assert controller.metrics("wrong").status_code == 401


def test_a_member_answers_while_the_hub_is_away(plane: Any, make_attachment: Any) -> None:
    """With what it knows of its own cluster, also after a restart without the hub."""
    plane.member("a")
    with plane.hub.api() as api:
        api.create("slices", RED)
    plane.agent("a", "a-n1").report(make_attachment("a", "a-n1", "web-0", "10.7.4.5"))
    with plane.members["a"].api() as api:
        wait_for_pod(api)
    plane.hub.kill()
    member = plane.members["a"]
    member.kill()
    member.start()
    answer = member.metrics()
    names = {s.name for family in text_string_to_metric_families(answer.text) for s in family.samples if s.labels}

    assert answer.status_code == 200
    assert "slicer_slice_attachments" in names


def wait_for_pod(api: Any) -> None:
    """Until an attachment was reported."""
    for line in api.watch("attachments"):
        if line["type"] == "put":
            return
