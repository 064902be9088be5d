"""What is known of the API server's objects, where lists and watches meet."""

from __future__ import annotations

from typing import Any

from slicer_controller.kube.objects import Objects

Json = dict[str, Any]


def made(name: str, version: int) -> Json:
    return {"metadata": {"namespace": "shop", "name": name, "uid": f"u-{name}", "resourceVersion": str(version)}}


def names(objects: Objects) -> list[str]:
    return [one["metadata"]["name"] for one in objects.all("pods")]


def test_a_list_undoes_nothing_that_was_heard_while_it_was_read() -> None:
    """What came meanwhile is not in the list and stays; what went meanwhile is in it and stays away."""
    objects = Objects()
    objects.replace("pods", [made("old", 1), made("going", 2)])

    objects.expect_list("pods")
    objects.learn("pods", made("new", 5))
    objects.forget("pods", made("going", 2))
    objects.learn("pods", made("old", 6))
    objects.replace("pods", [made("going", 2), made("old", 1)])

    assert names(objects) == ["new", "old"]
    assert objects.get("pods", "old", "shop") == made("old", 6)


def test_the_next_list_says_what_is_gone() -> None:
    """What a watch missed is found by a list that began after it."""
    objects = Objects()
    objects.learn("pods", made("gone", 3))
    objects.learn("pods", made("stays", 4))

    objects.expect_list("pods")
    objects.replace("pods", [made("stays", 7), made("came", 8)])

    assert names(objects) == ["came", "stays"]
    assert objects.get("pods", "stays", "shop") == made("stays", 7)
