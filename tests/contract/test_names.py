"""The real slicer-dns at a real member: from an agent's report to an answer, and on when all controllers are dead."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import Any

import dns.rcode

from tests.conformance_dns.running import NOBODY, RED, addresses, ask, ask_until, running
from tests.contract.test_control_plane import WEB, two_clusters

NAME = "web.shop.svc.red.slice.local."


def test_names_follow_pods_and_outlive_controllers(plane: Any, make_attachment: Any, tmp_path: Path) -> None:
    """A pod's address is answered to members as soon as it is attached, also when hub and members are dead."""
    a, b = two_clusters(plane)
    token = tmp_path / "dns.token"
    token.write_text(plane.members["a"].token("dns", "dns1"))
    asker = (ipaddress.ip_address(RED),)
    a.report(dataclasses.replace(make_attachment("a", "a-n1", "web-0", "10.7.4.5"), primary_addresses=asker))
    with plane.hub.api() as api:
        api.create("exports", WEB)
    state = ("--state", str(tmp_path / "dns"), "--join-token-file", str(token))
    with running("--listen", "127.0.0.1:0", *state) as server:
        port = server.port()
        ask_until(lambda answer: addresses(answer) == {"10.7.4.5"}, port, NAME)
        b.report(make_attachment("b", "b-n1", "web-1", "10.7.8.5"))
        ask_until(lambda answer: addresses(answer) == {"10.7.4.5", "10.7.8.5"}, port, NAME)
        for controller in (plane.hub, *plane.members.values()):
            controller.kill()
        server.event("view lost")

        assert addresses(ask(port, NAME)) == {"10.7.4.5", "10.7.8.5"}
        assert ask(port, NAME, asker=NOBODY).rcode() == dns.rcode.NXDOMAIN
        assert server.end() == 0
    with running("--listen", "127.0.0.1:0", *state) as again:
        port = again.port()
        again.event("zones_swapped")

        assert addresses(ask(port, NAME)) == {"10.7.4.5", "10.7.8.5"}
        assert again.end() == 0
