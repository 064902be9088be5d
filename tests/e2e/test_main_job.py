"""The main job: chosen pods of two clusters talk by name over a private network of their own.

cluster a                                             cluster b
client (red), outsider, client-blue (blue)            web (red), web-blue (blue)
     |______________ red and blue: the same prefix ________|
"""

from __future__ import annotations

import pytest

from slicer.lab.capture import listening

pytestmark = pytest.mark.root
MARKER = "the-marker-text-of-this-test"


@pytest.fixture
def shop(lab, scope):
    """Two slices with the same prefix, a web server and a client on each, and a pod that did not opt in."""
    red = scope.slice(prefix="10.200.0.0/16")
    blue = scope.slice(prefix="10.200.0.0/16")
    (scope.web,) = scope.example("web-red.yaml", "b", red)
    (scope.web_blue,) = scope.example("web-blue.yaml", "b", blue)
    (scope.client,) = scope.example("client-red.yaml", "a", red)
    (scope.client_blue,) = scope.example("client-blue.yaml", "a", blue)
    (scope.outsider,) = scope.example("outsider.yaml", "a")
    scope.name = scope.export(red, "web", "--selector", "app=web", "--port", "http:80")
    scope.name_blue = scope.export(blue, "web-blue", "--selector", "app=web-blue", "--port", "http:80")
    return scope


@pytest.fixture
def address(lab, until):
    """The first address of a pod's net1."""
    return lambda pod: lab.addresses(pod)["net1"][0]


def http(lab, pod, name, path="/"):
    """The body of one HTTP request from a pod."""
    code = f"import urllib.request as u; print(u.urlopen('http://{name}{path}', timeout=5).read().decode())"
    return lab.exec(pod, "python3", "-c", code).stdout.strip()


def test_pods_of_two_clusters_talk_by_name_and_isolated(lab, shop, until, address):
    """Members resolve and reach each other with real addresses; nobody else does; equal prefixes do not meet."""
    assert until(lambda: lab.lookup(shop.client, shop.name)[1], "the name of web") == [address(shop.web)]
    assert until(lambda: lab.lookup(shop.client_blue, shop.name_blue)[1], "the name of web-blue")
    assert lab.reaches(shop.client, shop.name)

    answer = http(lab, shop.client, shop.name, "/hello")
    assert answer == f"hello {address(shop.client)}, this is web: /hello"

    assert lab.addresses(shop.outsider).keys() == {"eth0"}
    assert lab.lookup(shop.outsider, shop.name)[1] == []
    assert not lab.reaches(shop.outsider, address(shop.web))
    assert lab.lookup(shop.client_blue, shop.name)[1] == []
    assert "this is web-blue" in http(lab, shop.client_blue, shop.name_blue)

    with listening(lab.netns_of(shop.web_blue), "net1") as heard:
        assert lab.reaches(shop.client, address(shop.web))
    assert heard.lost == 0
    assert heard.packets() == []


def test_the_wire_between_the_clusters_shows_nothing_readable(lab, shop, until, address):
    """Between the clusters there is nothing but WireGuard, without the text that the pods exchange."""
    until(lambda: lab.lookup(shop.client, shop.name)[1], "the name of web")
    internet = f"/proc/{lab.pid('internet')}/ns/net"

    with listening(internet) as wire, listening(lab.netns_of(shop.web), "net1") as pod:
        assert MARKER in http(lab, shop.client, shop.name, f"/{MARKER}")

    between = wire.packets(
        lambda p: (
            {str(p.source)[:9], str(p.destination)[:9]} == {"198.18.1.", "198.18.2."}
            or {str(p.source)[:15], str(p.destination)[:15]} == {"fd00:198:18:1::", "fd00:198:18:2::"}
        )
    )
    assert wire.lost == 0
    assert len(between) >= 10
    assert [p for p in between if not p.is_wireguard] == []
    assert not any(MARKER.encode() in p.payload for p in between)
    assert pod.holding(MARKER.encode()) >= 1


def test_endpoints_follow_pods(lab, shop, until):
    """A name answers with the pods that are there now: a new one is added, a deleted one is gone."""
    until(lambda: len(lab.lookup(shop.client, shop.name)[1]) == 1, "one address")

    second = shop.pod("a", "web-2", shop.slices[0], labels={"app": "web"})
    until(lambda: len(lab.lookup(shop.client, shop.name)[1]) == 2, "the second pod's address")
    shop.delete(second)

    until(lambda: len(lab.lookup(shop.client, shop.name)[1]) == 1, "the second pod's address is gone")
